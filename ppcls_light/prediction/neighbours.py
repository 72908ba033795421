"""Exact search among embeddings by cosine similarity, and classification by the nearest ones; numpy alone.

    index = Index.read("photos.npz")
    ids, cosines = index.search(queries, 5)      # of embeddings float32 (Q, D)
    names, labels = index.classes()              # of class folders
    scores = votes(labels[ids], cosines, len(names))   # (Q, classes)

The file is a .npz of embeddings float32 (N, D), the names of the images, the folder that they are relative to, and the
checksum of the network that they are of: `embeddings`, `names` (bytes, one NUL behind each), `root`, `network`.
"""

from __future__ import annotations

import importlib.util
import os
import zipfile
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..base.files import atomic_path
from ..base.hints import command
from ..errors import DataError
from .results import least

MANY = 100_000  # images from which on faiss searches, where it is installed
BLOCK = 8192  # images of the index that are compared at once
QUERIES = 256  # with so many others: 8 MiB of similarities
TEMPERATURE = 0.07  # of a neighbour's vote


@dataclass(frozen=True)
class Index:
    """Embeddings of images that are searched.

    Attributes:
        embeddings: float32 (N, D), as the network gives them.
        names: of the images, relative to `root` with "/" between folders.
        root: absolute path of their folder.
        network: checksum of the network and its preprocessing, `network_checksum` of a `Predictor`.
    """

    embeddings: np.ndarray
    names: list[str]
    root: str
    network: str

    def path(self, index: int) -> str:
        """Return the path of an image."""
        return os.path.join(self.root, self.names[index])

    def write(self, path: str) -> None:
        """Write the file `path`, whole or not at all. Raises DataError: it cannot be written."""
        names = b"".join(os.fsencode(name) + b"\0" for name in self.names)
        texts = {
            "names": names,
            "root": os.fsencode(self.root),
            "network": self.network.encode(),
        }
        with atomic_path(path, DataError) as temporary, open(temporary, "wb") as file:
            np.savez(
                file,
                embeddings=self.embeddings,
                **{key: np.frombuffer(text, np.uint8) for key, text in texts.items()},
            )

    @classmethod
    def read(cls, path: str) -> Index:
        """Read a file that `write` wrote. Raises DataError: it is missing, damaged or something else."""
        fix = f"write it again: {command('similar')} index"
        try:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
                if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.zip.infolist()):
                    raise ValueError("compressed")
                embeddings = archive["embeddings"]
                names, root, network = (archive[key].tobytes() for key in ("names", "root", "network"))
            listed = [os.fsdecode(name) for name in names.split(b"\0")[:-1]]
            if embeddings.dtype != np.float32 or embeddings.ndim != 2 or len(listed) != len(embeddings):
                raise ValueError(
                    f"{len(listed)} names for embeddings {list(embeddings.shape)} of {embeddings.dtype}"
                )
            if not (len(listed) and np.isfinite(embeddings).all()):
                raise ValueError("no images, or embeddings that are no numbers")
            return cls(embeddings, listed, os.fsdecode(root), network.decode())
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror or error}; {fix}") from None
        # A file of one array is no archive, and has no such method: TypeError, AttributeError.
        except (
            *(ValueError, KeyError, EOFError, TypeError, AttributeError, MemoryError),
            *(zipfile.BadZipFile, NotImplementedError, RuntimeError),  # of an encrypted member
        ) as error:
            raise DataError(f"{path}: damaged, or no index ({error}); {fix}") from None

    def search(self, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the `count` most similar images of each query, all when there are fewer, best first.

        From `MANY` images on faiss searches where it is installed, exactly, too (its IndexFlatIP). Else numpy compares
        blocks, so that memory does not grow with the number of queries or images.

        Args:
            queries: (Q, D).

        Returns:
            Their places in the index, int (Q, count), and the cosines, float32 (Q, count). The cosine with an embedding
            of zeros is 0.

        Raises DataError: queries of another length D.
        """
        if queries.shape[1:] != self.embeddings.shape[1:]:
            raise DataError(
                f"embeddings of {queries.shape[1]} numbers are compared with an index of "
                f"{self.embeddings.shape[1]}; index the images with the same network"
            )
        count, queries = min(count, len(self.names)), unit(queries)
        if len(self.names) >= MANY and importlib.util.find_spec("faiss") is not None:
            cosines, ids = self._faiss.search(queries, count)
            return ids, cosines
        found = [
            self._nearest(queries[start : start + QUERIES], count)
            for start in range(0, len(queries), QUERIES)
        ]
        ids, cosines = zip(*found) if found else ([np.zeros((0, count), int)], [np.zeros((0, count), "f")])
        return np.concatenate(ids), np.concatenate(cosines)

    @cached_property
    def _lengths(self) -> np.ndarray:
        return _lengths(self.embeddings)

    def _nearest(self, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return what `search` does for some `queries` of length 1."""
        ids, cosines = np.zeros((len(queries), 0), int), np.zeros((len(queries), 0), np.float32)
        for start in range(0, len(self.embeddings), BLOCK):
            block = slice(start, start + BLOCK)
            similar = queries @ self.embeddings[block].T / self._lengths[block]
            cosines = np.concatenate([cosines, similar], axis=1)
            places = np.arange(start, start + similar.shape[1])
            ids = np.concatenate([ids, np.broadcast_to(places, similar.shape)], axis=1)
            best = np.stack([least(-row, count) for row in cosines])
            ids, cosines = (np.take_along_axis(values, best, axis=1) for values in (ids, cosines))
        return ids, cosines

    @cached_property
    def _faiss(self) -> Any:
        import faiss

        searched = faiss.IndexFlatIP(self.embeddings.shape[1])
        for start in range(0, len(self.embeddings), BLOCK):
            searched.add(unit(self.embeddings[start : start + BLOCK]))
        return searched

    def classes(self) -> tuple[list[str], np.ndarray]:
        """Return the names of the class folders, sorted, and the label of each image, int (N,).

        Raises DataError: an image is in no folder of `root`, or there is one folder.
        """
        loose = next((name for name in self.names if "/" not in name), None)
        if loose is not None:
            raise DataError(
                f"{os.path.join(self.root, loose)}: in no class folder; index a folder with one folder per class"
            )
        folders = [name.split("/", 1)[0] for name in self.names]
        classes = sorted(set(folders))
        if len(classes) < 2:
            raise DataError(
                f"{self.root}: the one class {classes[0]} is here; index a folder of several class folders"
            )
        number = {name: label for label, name in enumerate(classes)}
        return classes, np.array([number[folder] for folder in folders])


def votes(labels: np.ndarray, cosines: np.ndarray, class_num: int) -> np.ndarray:
    """Return the class scores of images by their neighbours, float64 (Q, class_num), which sum to 1.

    A neighbour of the class `labels` (Q, k) votes for it with exp(cosine / 0.07) (Wu et al., arXiv 1805.01978, section
    3.4): of few photos per class the near ones count, and those of other classes among the k do not.
    """
    weights = np.exp((cosines - cosines.max(axis=1, keepdims=True)) / np.float64(TEMPERATURE))
    scores = np.zeros((len(labels), class_num))
    np.add.at(scores, (np.arange(len(labels))[:, None], labels), weights)
    return scores / scores.sum(axis=1, keepdims=True)


def unit(embeddings: np.ndarray) -> np.ndarray:
    """Return embeddings (N, D) of length 1, float32; those of zeros stay zeros."""
    return (embeddings / _lengths(embeddings)[:, None]).astype(np.float32)


def _lengths(embeddings: np.ndarray) -> np.ndarray:
    return np.maximum(np.linalg.norm(embeddings, axis=1), 1e-12)
