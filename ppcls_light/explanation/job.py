"""`explain`: heat maps of image files, each as a picture with the classes, and one table of all."""

from __future__ import annotations

import itertools
import json
import logging
import os
import unicodedata
from typing import Callable, NamedTuple

import numpy as np

from ..base.figures import check_matplotlib
from ..base.files import require_writable, results, write_text
from ..base.fonts import Fonts
from ..config.deploy import EngineName
from ..data.classes import ClassNames
from ..data.decode import read_bytes
from ..data.scan import LeftOut, iter_images
from ..errors import ConfigError, DataError
from ..prediction.predictor import Predictor
from ..prediction.results import Row, Topk
from ..registry import nearest
from .black_box import heat_maps_of
from .overlay import enlarged
from .panel import SIZE, Answer, draw_panel

logger = logging.getLogger(__name__)

TABLE = "explain.json"
LIMIT = 100  # images, by default


class Subject(NamedTuple):
    """A classifier that is explained: a checkpoint's network, or an exported folder."""

    prepare: Callable[[bytes], np.ndarray]  # content of a file to float32 (C, H, W), as the network takes it
    seen: Callable[[bytes], np.ndarray]  # content of a file to RGB uint8 (H, W, 3), as the network sees it
    probabilities: Callable[[np.ndarray], np.ndarray]  # float32 (N, C, H, W) to (N, K)
    heat_maps: Callable[[np.ndarray, np.ndarray], np.ndarray]  # images and classes (N,) to maps (N, H, W)
    method: str  # of the maps
    topk: Topk


def explain(
    subject: Subject, source: str, folder: str, label: str | None = None, limit: int = LIMIT
) -> list[Row]:
    """Explain the images of `source`, a file or a folder: at most `limit` of them, the first in the order of names.

    `label` is the class that is explained, by name or number; None: for each image the one that is most probable.

    `folder` gets a picture NAME.png for each image, and explain.json with the rows that are returned: {file_name,
    class_ids, scores, label_names, class_id, label_name, score, method, picture}, of which class_id to score are of
    the explained class; {file_name, error} for an image that cannot be used. They appear together at the end; those of
    something else that are there are set aside, see `files.results`.

    Raises UserError: no images, not one that can be used, an unknown class, or the folder cannot be written.
    """
    check_matplotlib("the picture of a heat map")
    require_writable(os.path.join(folder, TABLE))
    paths = _first(source, limit)
    fonts, rows, taken = Fonts(SIZE, "the picture of a heat map"), [], set()  # type: ignore[var-annotated]
    with results(folder) as scratch:
        for path in paths:
            row = _explained(subject, path, label, fonts, _picture(path, taken), scratch)
            logger.info(
                "%s", row.get("error") or f"{path}: {row['label_name'] or row['class_id']} {row['score']:.5f}"
            )
            rows.append(row)
        failed = [row for row in rows if "error" in row]
        if len(failed) == len(rows):
            raise DataError(
                f"none of the {len(rows)} images could be explained; the first: {failed[0]['error']}"
            )
        lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
        write_text(os.path.join(scratch, TABLE), f"[\n{lines}\n]\n")
    if failed:
        logger.warning("%d of %d images could not be explained; their rows say why", len(failed), len(rows))
    for problem in fonts.problems():
        logger.warning("%s", problem)
    drawn = len(rows) - len(failed)
    logger.info("%d picture%s and %s in %s", drawn, "" if drawn == 1 else "s", TABLE, folder)
    return rows


def explain_exported(
    model: str,
    source: str,
    folder: str,
    method: str = "occlusion",
    label: str | None = None,
    limit: int = LIMIT,
    engine: EngineName = "paddle",
) -> list[Row]:
    """Explain images as an exported folder `model` classifies them, by a method that asks for probabilities alone.

    See `explain`. Raises UserError: also when the folder cannot be used, or the method looks inside the network.
    """
    predictor = Predictor(model, engine=engine)
    names = predictor.class_names

    def heat_maps(images: np.ndarray, classes: np.ndarray) -> np.ndarray:
        return heat_maps_of(predictor.run, images, classes, method)

    topk = Topk(predictor.topk, names)
    subject = Subject(predictor.preprocess, predictor.seen, predictor.run, heat_maps, method, topk)
    return explain(subject, source, folder, label, limit)


def class_number(text: str, names: ClassNames | None, class_num: int) -> int:
    """Return the class that `text` names, or else numbers. Raises ConfigError: neither, or the name of two classes."""
    name = unicodedata.normalize("NFC", text)
    found = [] if names is None else [label for label, known in enumerate(names) if known == name]
    if len(found) > 1:
        raise ConfigError(f"--class {text}: the name of classes {found[0]} and {found[1]}; give the number")
    if found:
        return found[0]
    if text.isdecimal() and int(text) < class_num:
        return int(text)
    hint = "" if names is None else nearest(text, names)
    raise ConfigError(
        f"--class {text}: no such class{hint or f'; give a name, or a number from 0 to {class_num - 1}'}"
    )


def _first(source: str, limit: int) -> list[str]:
    """Return the first `limit` images of `source`; a line says that there are more."""
    if limit < 1:
        raise ConfigError(f"--limit {limit}: a number of images from 1 on")
    left_out = LeftOut(source)
    paths = list(itertools.islice(iter_images(source, left_out), limit + 1))
    if len(paths) > limit:
        logger.warning("%s: the first %d images are explained; for more give --limit", source, limit)
    else:
        left_out.warn()
    return paths[:limit]


def _picture(path: str, taken: set[str]) -> str:
    """Return the name of the picture of an image, one that is not `taken` yet by another one."""
    stem = (
        os.path.splitext(os.path.basename(path))[0]
        .encode(errors="backslashreplace")[:120]
        .decode(errors="ignore")
    )
    names = itertools.chain([stem], (f"{stem}_{number}" for number in itertools.count(2)))
    name = next(name for name in names if name.lower() not in taken)
    taken.add(name.lower())
    return f"{name}.png"


def _explained(
    subject: Subject, path: str, label: str | None, fonts: Fonts, picture: str, scratch: str
) -> Row:
    """Return the row of an image, and write its picture."""
    try:
        data = read_bytes(path)
        image = subject.prepare(data)[None]
        seen = subject.seen(data)
    except DataError as error:
        reason = str(error)
        return {"file_name": path, "error": reason if reason.startswith(path) else f"{path}: {reason}"}
    probabilities = subject.probabilities(image)
    (row,) = subject.topk(probabilities, [path])
    if "error" in row:
        return row
    names = subject.topk.class_names
    number = row["class_ids"][0] if label is None else class_number(label, names, probabilities.shape[1])
    heat = subject.heat_maps(image, np.array([number]))[0]
    explained = _answer(number, names, float(probabilities[0, number]))
    empty = not heat.any()
    if empty:
        logger.warning("%s: nothing in the image speaks for class %d, by %s", path, number, subject.method)
    heat = enlarged(heat, *seen.shape[:2]) if heat.shape != seen.shape[:2] else heat
    answers = [_answer(id_, names, score) for id_, score in zip(row["class_ids"], row["scores"])]
    title = f"{subject.method}, nothing speaks for it" if empty else subject.method
    draw_panel(seen, heat, explained, answers, title, fonts).save(os.path.join(scratch, picture))
    return {
        **row,
        "class_id": number,
        "label_name": explained.name,
        "score": round(explained.score, 5),
        "method": subject.method,
        "picture": picture,
    }


def _answer(number: int, names: ClassNames | None, score: float) -> Answer:
    return Answer(number, None if names is None else names[number], score)
