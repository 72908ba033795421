"""Look-alikes among photos, and classes by look-alikes without training, by an exported network's embeddings."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator
from typing import NamedTuple, TextIO

import numpy as np

from ..base.files import atomic_path, require_writable
from ..bundle.onnx import checksum
from ..config.postprocess import Topk
from ..data.scan import iter_images
from ..errors import ConfigError, DataError, ExportError
from .columns import CLASSES, Columns
from .job import Progress
from .neighbours import Index, votes
from .pipeline import in_batches
from .postprocess import PostProcessor
from .predictor import Predictor
from .results import Row, format_row
from .rows import Csv, Jsonl, check_output

logger = logging.getLogger(__name__)

VOTERS = 20  # neighbours that vote for a class (Wu et al., arXiv 1805.01978, take up to 200 of 1.3 million)
_CHUNK = 256  # queries that are searched at once


class Outcome(NamedTuple):
    """Images that were embedded, and of these the failed ones."""

    images: int
    failed: int


def network_checksum(predictor: Predictor) -> str:
    """Return the SHA-256 of all that an embedding depends on: weights, preprocessing, and a precision beside fp32."""
    bundle, options = predictor.bundle, predictor.engine_options
    ops = [[op.name, op.params] for op in (*bundle.decode, *(bundle.transform_ops or ()))]
    parts = [bundle.weights or checksum(bundle), ops, bundle.image_shape]
    if options.precision != "fp32":
        parts += [options.engine, options.precision]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def index_folder(predictor: Predictor, folder: str, path: str, progress: TextIO | None = None) -> Outcome:
    """Write the `Index` of the images in `folder`, searched recursively, to the file `path`, which ends in .npz.

    An image that cannot be used is named in the log and left out. `progress` gets a line now and then.

    Raises UserError: there is no image that can be used, the export has no embeddings, or `path` cannot be written.
    """
    if not path.endswith(".npz"):
        raise ConfigError(f"{path}: the name of an index ends in .npz; give another --out")
    if not os.path.isdir(folder):
        raise DataError(f"{folder}: no such folder; name one with photos")
    require_writable(path, ConfigError)
    root = os.path.abspath(folder)
    names: list[str] = []
    numbers = bytearray()  # float32, without a second copy at the end
    failed, shown = 0, Progress(lambda: sum(1 for _ in iter_images(root)), 0, progress)
    for done, row in enumerate(predictor.iter_embed(iter_images(root)), 1):
        if "error" in row:
            failed += 1
            logger.warning("left out: %s", row["error"])
        else:
            names.append(os.path.relpath(row["file_name"], root).replace(os.sep, "/"))
            numbers += row["embedding"].tobytes()
        shown.note(done, failed)
    if not names:
        raise DataError(f"{folder}: no image in it can be used; nothing is written")
    embeddings = np.frombuffer(numbers, np.float32).reshape(len(names), -1)
    Index(embeddings, names, root, network_checksum(predictor)).write(path)
    return Outcome(len(names) + failed, failed)


def find_similar(
    predictor: Predictor,
    index: Index,
    images: str,
    show: Callable[[Row], None],
    count: int = 5,
    classify: bool = False,
    output: str | None = None,
    progress: TextIO | None = None,
) -> Outcome:
    """Find the `count` most similar images of `index` for each image of a file or folder, in the order of the names.

    `show` is called with {file_name, neighbours, cosines}, or {file_name, error}. With `classify` the neighbours' class
    folders vote, see `neighbours.votes`, and the rows are those of `Predictor.predict` with the `count` best classes.
    An image of the index is not its own neighbour. `output` (.jsonl or .csv) gets the rows, too, whole or not at all.

    Raises UserError: no images, an index of another network, one without class folders, or no way to write `output`.
    """
    if output:
        check_output(output)
    if index.network != network_checksum(predictor):
        raise DataError(
            f"{predictor.bundle.folder}: the index was made with another network, preprocessing or precision; take "
            "that --model, or index the photos again with this one"
        )
    answer = _Classes(index, count) if classify else _Neighbours(index, count)
    done = failed = 0
    shown = Progress(lambda: sum(1 for _ in iter_images(images)), 0, progress)
    with _writer(output, answer.csv) if output else contextlib.nullcontext() as write:
        for rows in in_batches(predictor.iter_embed(iter_images(images)), _CHUNK):
            for row in answer(rows):
                show(row)
                if write is not None:
                    write(row)
                done, failed = done + 1, failed + ("error" in row)
                shown.note(done, failed)
    return Outcome(done, failed)


@contextlib.contextmanager
def _writer(path: str, csv: Csv) -> Iterator[Callable[[Row], object]]:
    """Give a function that writes a row to `path`, which appears when the block ends without error."""
    rows = csv if path.lower().endswith(".csv") else Jsonl()
    with atomic_path(path, ExportError) as temporary, open(temporary, "wb") as file:
        file.write(rows.header)
        yield lambda row: file.write(rows.encode(row))


class _Neighbours:
    """Rows of the nearest images, for rows of embeddings; `csv` has their columns."""

    def __init__(self, index: Index, count: int) -> None:
        self._index, self._count = index, count
        self.csv = Csv(Columns(("neighbours", "cosines"), count))

    def __call__(self, rows: list[Row]) -> Iterator[Row]:
        found = self._nearest([row for row in rows if "error" not in row])
        for row in rows:
            yield row if "error" in row else self._row(row["file_name"], *next(found))

    def _nearest(self, rows: list[Row]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the places in the index, and the cosines, of the neighbours of each of `rows`."""
        if not rows:
            return
        found = self._index.search(np.stack([row["embedding"] for row in rows]), self._count + 1)
        for row, ids, cosines in zip(rows, *found):
            path = os.path.realpath(row["file_name"])
            others = np.array([os.path.realpath(self._index.path(place)) != path for place in ids])
            yield ids[others][: self._count], cosines[others][: self._count]

    def _row(self, name: str, ids: np.ndarray, cosines: np.ndarray) -> Row:
        return {
            "file_name": name,
            "neighbours": [self._index.path(place) for place in ids],
            "cosines": np.around(cosines.astype("float64"), 5).tolist(),
        }


class _Classes(_Neighbours):
    """Rows of the classes that the nearest images vote for."""

    def __init__(self, index: Index, count: int) -> None:
        super().__init__(index, VOTERS)
        names, self._labels = index.classes()
        self._class_num, self._topk = len(names), PostProcessor(Topk(topk=count), names)
        self.csv = Csv(Columns(CLASSES, count))

    def _row(self, name: str, ids: np.ndarray, cosines: np.ndarray) -> Row:
        if not len(ids):
            return {
                "file_name": name,
                "error": f"{name}: the index has no image but this one; add some to it",
            }
        scores = votes(self._labels[ids][None], cosines[None], self._class_num)
        return self._topk(scores, [name])[0]


def format_similar(name: str, row: Row) -> str:
    """Return a row as one line for the terminal; `name` is the file's base name."""
    if "neighbours" not in row:
        return format_row(name, row)
    pairs = (f"{cosine:.3f} {path}" for path, cosine in zip(row["neighbours"], row["cosines"]))
    return f"{name}:\t" + "\n\t".join(pairs)
