"""`explain`: heat maps of image files, each as a picture with the classes, and one table of all."""

from __future__ import annotations

import itertools
import json
import logging
import os

from ..base.figures import check_matplotlib
from ..base.files import require_writable, results, write_text
from ..base.fonts import Fonts
from ..config.values import EngineName
from ..data.decode import read_bytes
from ..data.scan import LeftOut, iter_images
from ..errors import ConfigError, DataError
from ..prediction.predictor import Predictor
from ..prediction.results import Row
from .panel import SIZE
from .subject import Subject, asked, explained

logger = logging.getLogger(__name__)

TABLE = "explain.json"
LIMIT = 100  # images, by default


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
            row = _row(subject, path, label, fonts, _picture(path, taken), scratch)
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
    engine: EngineName | None = None,
) -> list[Row]:
    """Explain images as an exported folder `model` classifies them, by a method that asks for probabilities alone.

    See `explain`. Raises UserError: also when the folder cannot be used, or the method looks inside the network.
    """
    return explain(asked(Predictor(model, engine=engine), method), source, folder, label, limit)


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


def _row(subject: Subject, path: str, label: str | None, fonts: Fonts, picture: str, scratch: str) -> Row:
    """Return the row of an image, and write its picture."""
    try:
        found = explained(subject, read_bytes(path), path, label, "--class")
    except DataError as error:
        reason = str(error)
        return {"file_name": path, "error": reason if reason.startswith(path) else f"{path}: {reason}"}
    if not found.heat.any():
        logger.warning(
            "%s: nothing in the image speaks for class %d, by %s", path, found.class_id, found.method
        )
    found.draw(fonts).save(os.path.join(scratch, picture))
    return {
        **found.row,
        "class_id": found.class_id,
        "label_name": found.label_name,
        "score": round(found.score, 5),
        "method": found.method,
        "picture": picture,
    }
