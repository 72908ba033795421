"""Writes CIFAR's python version: a tarball of pickles as Python 2 and its numpy made them.

`official(name, rng)` makes up a small dataset, `pack(path, folder, files)` writes it.
"""

import io
import pickle
import struct
import tarfile

import numpy as np

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
PER_BATCH = 7


class Python2Pickler(pickle._Pickler):
    """Protocol 2 as Python 2 and its numpy wrote it: texts are byte strings, numpy's core has its old name."""

    def __init__(self, file):
        super().__init__(file, protocol=2)

    def save_text(self, value):
        data = value.encode("latin1") if isinstance(value, str) else value
        self.write(pickle.BINSTRING + struct.pack("<i", len(data)) + data)
        self.memoize(value)

    def save_global(self, obj, name=None):
        module = obj.__module__.replace("numpy._core", "numpy.core")
        self.write(pickle.GLOBAL + f"{module}\n{name or obj.__qualname__}\n".encode())
        self.memoize(obj)

    dispatch = {**pickle._Pickler.dispatch, str: save_text, bytes: save_text}  # noqa: RUF012


def pickled(content):
    file = io.BytesIO()
    Python2Pickler(file).dump(content)
    return file.getvalue()


def batch(count, rng, classes=10, keys=("labels",)):
    content = {"batch_label": "a batch", "data": rng.integers(0, 256, (count, 3072), dtype=np.uint8)}
    content.update({key: [int(label) for label in rng.integers(0, classes, count)] for key in keys})
    content["filenames"] = [f"photo_s_{rng.integers(10**6):06d}.png" for _ in range(count)]
    return content


def official(name, rng):
    """Return {file name: content} of "cifar-10" or "cifar-100"."""
    if name == "cifar-10":
        files = {f"data_batch_{i}": batch(PER_BATCH, rng) for i in range(1, 6)}
        files["test_batch"] = batch(4, rng)
        files["batches.meta"] = {"num_cases_per_batch": PER_BATCH, "label_names": CLASSES, "num_vis": 3072}
        return files
    labels = ("coarse_labels", "fine_labels")
    files = {"train": batch(9, rng, 20, labels), "test": batch(3, rng, 20, labels)}
    files["meta"] = {"fine_label_names": [f"class {i}" for i in range(100)], "coarse_label_names": ["c"] * 20}
    return files


def pack(path, folder, files):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            data = content if isinstance(content, bytes) else pickled(content)
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path
