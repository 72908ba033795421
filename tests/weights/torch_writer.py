"""The two layouts of torch.save, written by hand, so that tests can write what torch never would.

What these functions write of plain tensors, torch 2.13 reads (checked when this was written).
"""

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from typing import NamedTuple

import numpy as np


class Global(NamedTuple):
    """Pickled as the name of something in a module that need not exist here."""

    module: str
    name: str

    def __call__(self):
        raise AssertionError("only its name is wanted")


class Storage:
    def __init__(self, array, kind="FloatStorage", numel=None, view=None):
        self.data, self.kind, self.view = array.tobytes(), kind, view
        self.numel = array.size if numel is None else numel


class Tensor:
    rebuild = Global("torch._utils", "_rebuild_tensor_v2")

    def __init__(self, storage, offset, shape, strides):
        self.storage, self.layout = storage, (offset, shape, strides)

    def __reduce__(self):
        return self.rebuild, (self.storage, *self.layout, False, OrderedDict())


def tensor(array):
    """Return the contiguous Tensor of a float32 or int64 array."""
    array = np.ascontiguousarray(array)
    storage = Storage(array, {"f": "FloatStorage", "i": "LongStorage"}[array.dtype.kind])
    return Tensor(storage, 0, array.shape, tuple(step // array.itemsize for step in array.strides))


class _Pickler(pickle._Pickler):
    def __init__(self, file, persistent_id):
        super().__init__(file, protocol=2)
        self.persistent_id = persistent_id

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Global):
            self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        else:
            super().save(obj, save_persistent_id)


def _dumps(obj, persistent_id=lambda obj: None):
    file = io.BytesIO()
    _Pickler(file, persistent_id).dump(obj)
    return file.getvalue()


def _key(storages, storage):
    if storage not in storages:
        storages.append(storage)
    return str(storages.index(storage))


def zip_bytes(obj, root="archive", compression=zipfile.ZIP_STORED, **entries):
    """Return `obj` as torch 1.6 and later save it; `entries` are further records ({name: bytes})."""
    storages = []

    def reference(obj):
        if isinstance(obj, Storage):
            return "storage", Global("torch", obj.kind), _key(storages, obj), "cpu", obj.numel
        return None

    entries = {"data.pkl": _dumps(obj, reference), "version": b"3\n", **entries}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(f"{root}/{name}", content)
        for key, storage in enumerate(storages):
            archive.writestr(f"{root}/data/{key}", storage.data)
    return file.getvalue()


def stacked_bytes(obj, little_endian=True):
    """Return `obj` as torch 0.1.10 to 1.5 save it."""
    storages = []

    def reference(obj):
        if isinstance(obj, Storage):
            kind = Global("torch", obj.kind)
            return "storage", kind, _key(storages, obj), "cuda:0", obj.numel, obj.view
        return None

    head = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": little_endian}]
    content = b"".join(map(_dumps, head)) + _dumps(obj, reference)
    content += _dumps([str(key) for key in range(len(storages))])
    return content + b"".join(struct.pack("<q", storage.numel) + storage.data for storage in storages)
