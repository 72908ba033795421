"""Reader of torch.save files (torch 0.1.10 and later) without torch, by a restricted unpickler.

All of them hold pickles that refer to storages, flat runs of numbers kept beside them:

- a zip archive (torch 1.6 and later): `data.pkl`, and each storage in `data/KEY`;
- pickles one after another, then the storages (0.1.10 to 1.5).

The layouts are those of torch/serialization.py. Tensors are rebuilt here; anything else that a training
checkpoint may hold (argparse.Namespace, a whole module, os.system) becomes an `Unknown`, which remembers
its name and does nothing: no code is imported or called because a file says so.
"""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from contextlib import AbstractContextManager
from typing import Any, BinaryIO, Callable, ClassVar, NoReturn

import numpy as np

from ..base.files import StrPath
from ..base.plain_pickle import PLAIN_GLOBALS, PlainUnpickler, reading
from ..errors import WeightsError
from .io import widened

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C  # the first of the stacked pickles
_PROTOCOL_VERSION = 1001

_STORAGE_DTYPES = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "BFloat16Storage": "u2",  # see `widened`
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}


class _Storage:
    """`numel` numbers of `dtype` in the bytes that `read()` returns, read when first asked for."""

    def __init__(self, dtype: Any, numel: Any, read: Callable[[], Any]) -> None:
        if not isinstance(numel, int) or not isinstance(dtype, np.dtype):
            raise ValueError("a storage without a number of elements or their type")
        self.dtype, self.numel, self._read = dtype, numel, read
        self._array: np.ndarray | None = None

    @property
    def array(self) -> np.ndarray:
        if self._array is None:
            data = self._read()
            if len(data) != self.numel * self.dtype.itemsize:
                raise ValueError(f"a storage of {self.numel} {self.dtype} has {len(data)} bytes")
            self._array = widened(
                np.frombuffer(data, self.dtype).astype(self.dtype.newbyteorder("="), copy=False)
            )
        return self._array

    def view(self, offset: int, numel: int) -> _Storage:
        if not 0 <= offset <= offset + numel <= self.numel:
            raise ValueError(f"a view {offset}..{offset + numel} of a storage of {self.numel}")
        size = self.dtype.itemsize
        part = slice(offset * size, (offset + numel) * size)
        return _Storage(self.dtype, numel, lambda: memoryview(self._read())[part])


class TorchTensor:
    """A tensor in a file: `numpy()` returns a view of its storage, which other tensors may share."""

    def __init__(self, storage: Any, offset: Any, shape: Any, strides: Any, *_: object) -> None:
        if not isinstance(storage, _Storage):
            raise pickle.UnpicklingError(f"a tensor of a {type(storage).__name__}")
        self._storage, self._offset = storage, offset
        self._shape, self._strides = tuple(shape), tuple(strides)

    def numpy(self) -> np.ndarray:
        layout = (self._offset, *self._shape, *self._strides)
        if not all(isinstance(number, int) for number in layout):  # no more of it: nested, it has no end
            raise ValueError("a tensor whose offset, shape and strides are no numbers")
        if len(self._shape) != len(self._strides) or min(layout) < 0:
            raise ValueError(f"no tensor has offset, shape and strides {layout}")
        if 0 in self._shape:
            return np.empty(self._shape, self._storage.array.dtype)
        last = self._offset + sum((size - 1) * step for size, step in zip(self._shape, self._strides))
        array = self._storage.array
        if last >= len(array):
            raise ValueError(f"a tensor reaches number {last} of a storage of {len(array)}")
        steps = [step * array.itemsize for step in self._strides]
        return np.lib.stride_tricks.as_strided(array[self._offset :], self._shape, steps, writeable=False)


class Unknown:
    """Stands for an object of a class that is neither plain data nor a tensor; inert."""

    origin = "?"

    def __new__(cls, *_: object, **__: object) -> Unknown:
        return object.__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def _ignore(self, *_: object) -> None:
        pass

    append = extend = add = __setitem__ = _ignore


def _unwrap(data: Any, *_: object) -> Any:
    return data


_KNOWN: dict[tuple[str, str], Any] = {
    **PLAIN_GLOBALS,
    ("torch._utils", "_rebuild_tensor"): TorchTensor,
    ("torch._utils", "_rebuild_tensor_v2"): TorchTensor,
    ("torch._utils", "_rebuild_parameter"): _unwrap,
    ("torch._utils", "_rebuild_parameter_with_state"): _unwrap,
    ("torch.nn.parameter", "Parameter"): _unwrap,
    ("torch._tensor", "_rebuild_from_type_v2"): lambda rebuild, kind, arguments, state: rebuild(*arguments),
}
for _name, _code in _STORAGE_DTYPES.items():
    for _module in ("torch", "torch.cuda"):
        _KNOWN[_module, _name] = np.dtype(_code)


class _TorchUnpickler(PlainUnpickler):
    """Builds plain data, `TorchTensor` and `Unknown`; `persistent_load` returns the target of a reference."""

    known: ClassVar[dict] = _KNOWN

    def __init__(self, file: BinaryIO, persistent_load: Callable[[Any], Any]) -> None:
        super().__init__(file, encoding="latin1")  # of Python 2's texts
        self._resolve = persistent_load

    def persistent_load(self, reference: Any) -> Any:
        return self._resolve(reference)

    def unknown(self, module: str, name: str) -> Any:
        return type(name, (Unknown,), {"origin": f"{module}.{name}"})

    def load_other_state(self) -> None:
        """Drop it: no tensor and no state dict needs any."""
        self.stack.pop()


def _no_reference(reference: Any) -> NoReturn:
    raise pickle.UnpicklingError(f"a reference to a {type(reference).__name__}")


def _unpickle(file: BinaryIO, persistent_load: Callable[[Any], Any] = _no_reference) -> Any:
    return _TorchUnpickler(file, persistent_load).load()


def reading_torch(path: StrPath) -> AbstractContextManager[None]:
    """Return the context in which a failure of reading the torch file `path` is one line."""
    return reading(path, "file of torch.save")


def load_torch_file(path: StrPath) -> Any:
    """Return the content of the torch file `path`: plain data, `TorchTensor`, `PlainArray` and `Unknown`.

    A tensor's numbers are read when its `numpy()` is called; do this in `reading_torch(path)` too.

    Raises WeightsError: the file is missing, damaged or not written by torch.save.
    """
    with reading_torch(path):
        with open(path, "rb") as file:
            data = file.read()
        if data.startswith(b"PK"):
            return _load_zip(data)
        if data[257:262] == b"ustar":
            raise WeightsError(
                "a tar archive of torch before 0.1.10; load it in a newer torch and save it there again"
            )
        return _load_stacked(data)


def _load_zip(data: bytes) -> Any:
    archive = zipfile.ZipFile(io.BytesIO(data))
    names = set(archive.namelist())
    root = next((name[: -len("data.pkl")] for name in sorted(names) if name.endswith("/data.pkl")), "")
    if f"{root}constants.pkl" in names:
        raise WeightsError("a TorchScript program, not weights; save the state_dict() of its module instead")

    def read(name: str) -> bytes:
        entry = archive.getinfo(root + name)
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:  # torch never does either
            raise ValueError(f"{name} is compressed or encrypted")
        return archive.read(entry)

    big_endian = f"{root}byteorder" in names and read("byteorder") == b"big"
    storages = {}

    def storage(reference: Any) -> Any:
        kind, dtype, key, _, numel = reference
        if kind != "storage" or not isinstance(key, str):
            _no_reference(reference)
        if key not in storages:
            storages[key] = _Storage(_ordered(dtype, big_endian), numel, lambda: read(f"data/{key}"))
        return storages[key]

    return _unpickle(io.BytesIO(read("data.pkl")), storage)


def _load_stacked(data: bytes) -> Any:
    file = io.BytesIO(data)
    if _unpickle(file) != _MAGIC_NUMBER or _unpickle(file) != _PROTOCOL_VERSION:
        raise ValueError("it does not start as one")
    big_endian = not _unpickle(file)["little_endian"]
    storages: dict[str, _Storage] = {}
    bytes_of: dict[str, bytes] = {}

    def storage(reference: Any) -> Any:
        if reference[0] == "module":  # a class with the source of its module
            return reference[1]
        kind, dtype, key, _, numel, view = reference
        if kind != "storage" or not isinstance(key, str):
            _no_reference(reference)
        if key not in storages:
            storages[key] = _Storage(_ordered(dtype, big_endian), numel, lambda: bytes_of[key])
        return storages[key].view(*view[1:]) if view else storages[key]

    content = _unpickle(file, storage)
    for key in _unpickle(file):
        bytes_of[key] = _read_storage(file, storages[key].dtype)
    return content


def _ordered(dtype: np.dtype, big_endian: bool) -> np.dtype:
    return dtype.newbyteorder(">") if big_endian else dtype


def _read_storage(file: BinaryIO, dtype: np.dtype) -> bytes:
    """Return the bytes of a storage, which its number of elements precedes."""
    (numel,) = struct.unpack("<q", file.read(8))
    if numel < 0:
        raise ValueError(f"a storage of {numel} numbers")
    content = file.read(numel * dtype.itemsize)
    if len(content) < numel * dtype.itemsize:
        raise EOFError(f"a storage of {numel} {dtype} has {len(content)} bytes")
    return content
