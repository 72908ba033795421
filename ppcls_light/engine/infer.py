"""`infer`: classification of image files with the network before export, one row per file in input order."""

from __future__ import annotations

import itertools
import json
import os
import re
import unicodedata
import zlib
from typing import Any, Callable, Iterable, Iterator, Mapping

from paddle import nn

from ..base.files import read_utf8, write_text
from ..config import Config
from ..config.infer import InferConfig
from ..data.classes import ClassNames
from ..data.decode import read_bytes
from ..data.scan import LeftOut, iter_images
from ..data.transforms.compose import build_transforms
from ..errors import ConfigError, DataError
from ..explanation.heat_maps import probabilities
from ..prediction.postprocess import PostProcessor
from ..prediction.results import classify_batch
from .distributed import Runtime, gather, require_same
from .log import LOGGER
from .readers import inference_transforms

Row = dict[str, Any]

_LABEL = re.compile(r"\d+|-?[01](,-?[01])+")


def infer(model: nn.Layer, config: Config, runtime: Runtime, names: ClassNames | None = None) -> list[Row]:
    """Classify the images of `Infer.infer_imgs` (a file or a folder) or `Infer.infer_list` (one path per line).

    With `Infer.infer_list`, `Infer.infer_imgs` is the folder to which its paths are relative. The processes of a run
    take turns with the batches, which are the same as those of a single one; only the main process logs, writes and
    has rows to return. `model` is put into eval mode.

    Returns:
        rows {class_ids, scores, file_name, label_names}, see `PostProcessor` for those of other kinds of answers;
        {file_name, error} for a file that cannot be used. Each
        batch is logged as PaddleClas does; all rows go to `Infer.save_dir`.json when that is set, and other rows
        that are there are set aside, see `files.set_aside`.

    Raises ConfigError, DataError: nothing to classify, or not one file could be used.
    """
    settings = config.Infer
    paths = _paths(settings, runtime)
    transforms = build_transforms(inference_transforms(config))
    rows_of = PostProcessor(config.postprocess, names)
    model.eval()

    def classify(part: list[str]) -> list[Row]:
        return classify_batch(
            part,
            part,
            lambda path: transforms(read_bytes(path)),
            lambda images: probabilities(model, images, config.multilabel),
            rows_of,
        )

    rows = []
    for batch in _shared(classify, paths, settings, runtime):
        if runtime.is_main:
            LOGGER.info("%s", batch)
            rows.extend(batch)
    if not runtime.is_main:
        return []
    if settings.save_dir:
        write_text(f"{settings.save_dir}.json", json.dumps(rows, ensure_ascii=False), keep=True)
    failed = [row for row in rows if "error" in row]
    if len(failed) == len(rows):
        raise DataError(f"none of the {len(rows)} files could be classified; the first: {failed[0]['error']}")
    if failed:
        LOGGER.warning("%d of %d files could not be classified; their rows say why", len(failed), len(rows))
    return rows


def _paths(settings: InferConfig, runtime: Runtime) -> list[str]:
    if settings.infer_list:
        paths = [path for path, _ in _listed(settings)]
    elif settings.infer_imgs:
        left_out = LeftOut(settings.infer_imgs)
        paths = list(iter_images(settings.infer_imgs, left_out))
        if runtime.is_main:
            left_out.warn()
    else:
        raise ConfigError("nothing to classify; add -o Infer.infer_imgs=FILE_OR_FOLDER")
    if not paths:
        raise DataError("Infer: the list of images is empty; add -o Infer.infer_imgs=FILE_OR_FOLDER")
    return paths


def _shared(
    classify: Callable[[list[str]], list[Row]], paths: list[str], settings: InferConfig, runtime: Runtime
) -> Iterator[list[Row]]:
    """Yield the rows of every batch in order on all processes, which gather them once per round of batches."""
    contents = (len(paths), zlib.crc32(os.fsencode("\n".join(paths))))
    require_same(contents, runtime, "Infer: (number, checksum) of the list of images")
    starts = range(0, len(paths), settings.batch_size)
    for first in range(0, len(starts), runtime.world_size):
        own = starts[first + runtime.rank : first + runtime.rank + 1]
        rows = [classify(paths[start : start + settings.batch_size]) for start in own]
        yield from itertools.chain.from_iterable(gather(rows, runtime))


def _listed(settings: InferConfig) -> Iterator[tuple[str, int | None]]:
    """Yield path and label of each line of `Infer.infer_list`; as in PaddleClas it may be a labelled list or not.

    Of tags, such as 0,1,-1, the label is None.
    """
    root = settings.infer_imgs or ""
    for line in read_utf8(settings.infer_list or "").decode().split("\n"):
        line = line.strip()
        path, *label = line.rsplit(None, 1) or [""]
        if label and _LABEL.fullmatch(label[0]) and not os.path.exists(os.path.join(root, line)):
            yield os.path.join(root, path), int(label[0]) if label[0].isdecimal() else None
        elif line:
            yield os.path.join(root, line), None


def listed_labels(config: Config) -> dict[str, int]:
    """Return {path: label} of the images that have a label in `Infer.infer_list`; {} without a list.

    Raises DataError: a label is none of the classes.
    """
    if not config.Infer.infer_list:
        return {}
    labels = {path: label for path, label in _listed(config.Infer) if label is not None}
    wrong = next((path for path, label in labels.items() if label >= config.Arch.class_num), None)
    if wrong is not None:
        raise DataError(
            f"{config.Infer.infer_list}: {wrong} has the label {labels[wrong]}, and the classes are 0 to "
            f"{config.Arch.class_num - 1}; correct the list, or leave the labels out"
        )
    return labels


def truths(paths: Iterable[str], labels: Mapping[str, int], names: ClassNames | None) -> list[int | None]:
    """Return the class of each image: of its label, else of the folder it is in if that is a class' name, else None."""
    of_folder = {} if names is None else {name: label for label, name in enumerate(names)}
    folders = (unicodedata.normalize("NFC", os.path.basename(os.path.dirname(path))) for path in paths)
    return [labels.get(path, of_folder.get(folder)) for path, folder in zip(paths, folders)]
