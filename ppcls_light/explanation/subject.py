"""`Subject`, a classifier that is explained, and `Explanation`, what one of its answers rests on."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any, Callable, NamedTuple

import numpy as np
from PIL import Image

from ..base.fonts import Fonts
from ..base.html import picture, thumbnail
from ..config.postprocess import PostProcess, Topk
from ..data.classes import ClassNames
from ..errors import ConfigError, DataError, UserError
from ..prediction.postprocess import PostProcessor
from ..prediction.predictor import Predictor
from ..prediction.results import Row
from ..registry import nearest
from .black_box import heat_maps_of
from .overlay import enlarged
from .panel import SIZE, Answer, draw_panel


class Subject(NamedTuple):
    """A classifier that is explained: a checkpoint's network, or an exported folder."""

    prepare: Callable[[Any], np.ndarray]  # image, or content of a file, to float32 (C, H, W) for the network
    seen: Callable[[Any], np.ndarray]  # the same to RGB uint8 (H, W, 3), as the network sees it
    probabilities: Callable[[np.ndarray], np.ndarray]  # float32 (N, C, H, W) to (N, K)
    heat_maps: Callable[[np.ndarray, np.ndarray], np.ndarray]  # images and classes (N,) to maps (N, H, W)
    method: str  # of the maps
    kind: PostProcess
    names: ClassNames | None

    @property
    def rows(self) -> PostProcessor:
        """The best classes or tags, whatever the kind of answer is: a map is of one of them."""
        kind = self.kind if isinstance(self.kind, Topk) else Topk()
        return PostProcessor(kind, self.names)


def asked(predictor: Predictor, method: str) -> Subject:
    """Return `predictor` as a Subject by a `method` that asks for probabilities alone, see `black_box`."""

    def heat_maps(images: np.ndarray, classes: np.ndarray) -> np.ndarray:
        return heat_maps_of(predictor.run, images, classes, method)

    return of_predictor(predictor, heat_maps, method)


def of_predictor(
    predictor: Predictor, heat_maps: Callable[[np.ndarray, np.ndarray], np.ndarray], method: str
) -> Subject:
    """Return `predictor` as a Subject with `heat_maps` by a `method`.

    Raises ConfigError: its graph takes whole photos, not the parts that are shown to it.
    """
    if predictor.bundle.photos is not None:
        raise ConfigError(
            f"{predictor.bundle.folder}: heat maps need the images that the network sees, and this graph prepares "
            "photos itself; export without Global.export_preprocess"
        )
    return Subject(
        *(predictor.preprocess, predictor.seen, predictor.run, heat_maps, method),
        *(predictor.postprocess, predictor.class_names),
    )


@dataclass(frozen=True, eq=False)
class Explanation:
    """Parts of an image that speak for a class.

    Attributes:
        row: of the image, {class_ids, scores, file_name, label_names}, the most probable class first.
        image: as the network sees it, RGB uint8 (H, W, 3).
        heat: the map, float32 (H, W) in [0, 1]: 1 speaks most for the class; zeros where nothing does.
        class_id: the class that is explained.
        label_name: its name, None where nothing names the classes.
        score: its probability.
        method: of the map.
    """

    row: Row
    image: np.ndarray
    heat: np.ndarray
    class_id: int
    label_name: str | None
    score: float
    method: str

    @property
    def file_name(self) -> str | None:
        """Path of the image, None where it has none."""
        return self.row["file_name"]

    @property
    def picture(self) -> Image.Image:
        """The image, its map and both mixed, beside the classes. Raises UserError: matplotlib is not installed."""
        return self.draw(Fonts(SIZE, "the picture of a heat map"))

    def draw(self, fonts: Fonts) -> Image.Image:
        """Return `picture`, with letters of `fonts`."""
        names = self.row["label_names"] or [None] * len(self.row["class_ids"])
        answers = [Answer(*answer) for answer in zip(self.row["class_ids"], names, self.row["scores"])]
        title = self.method if self.heat.any() else f"{self.method}, nothing speaks for it"
        explained = Answer(self.class_id, self.label_name, self.score)
        return draw_panel(self.image, self.heat, explained, answers, title, fonts)

    def _repr_html_(self) -> str | None:
        """Return the picture for a notebook, None where it cannot be drawn."""
        try:
            pixels = np.asarray(self.picture)
        except UserError:
            return None
        return picture(thumbnail(pixels, max(pixels.shape), 90), repr(self), self.label_name)

    def __repr__(self) -> str:
        name = f"class {self.class_id}" if self.label_name is None else self.label_name
        return f"Explanation of {name} ({self.score:.4f}) in {self.file_name or 'an image'} by {self.method}"


def explained(
    subject: Subject, image: Any, name: str | None, label: str | int | None = None, key: str = "label"
) -> Explanation:
    """Return the Explanation of one image called `name`, as `subject` takes it.

    `label` is the class that is explained, by name or number, None: the most probable one; `key` names it in messages.

    Raises DataError: the image cannot be used, or the network's answer is no number. ConfigError: unknown class.
    """
    ready, seen = subject.prepare(image)[None], subject.seen(image)
    probabilities = subject.probabilities(ready)
    (row,) = subject.rows(probabilities, [name])
    if "error" in row:
        raise DataError(row["error"])
    names, best = subject.names, row["class_ids"][0]
    number = best if label is None else class_number(label, names, probabilities.shape[1], key)
    heat = subject.heat_maps(ready, np.array([number]))[0]
    heat = enlarged(heat, *seen.shape[:2]) if heat.shape != seen.shape[:2] else heat
    named = None if names is None else names[number]
    return Explanation(row, seen, heat, number, named, float(probabilities[0, number]), subject.method)


def class_number(label: str | int, names: ClassNames | None, class_num: int, key: str = "label") -> int:
    """Return the class that a text names, or else numbers. Raises ConfigError: neither, or the name of two classes."""
    text = str(label)
    name = unicodedata.normalize("NFC", text)
    named = names is not None and isinstance(label, str)
    found = [number for number, known in enumerate(names or ()) if named and known == name]
    if len(found) > 1:
        raise ConfigError(f"{key} {text}: the name of classes {found[0]} and {found[1]}; give the number")
    if found:
        return found[0]
    if text.isdecimal() and int(text) < class_num:
        return int(text)
    hint = "" if names is None else nearest(text, names)
    raise ConfigError(
        f"{key} {text}: no such class{hint or f'; give a name, or a number from 0 to {class_num - 1}'}"
    )
