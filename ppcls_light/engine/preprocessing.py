"""Warnings when the preprocessing of training, evaluation and export differs, or from that of a published top-1."""

from __future__ import annotations

import contextlib
from typing import Iterable, Sequence

import numpy as np

from ..config import Config
from ..config.dataloader import AnyDataset
from ..config.types import Op
from ..data.decode import read_bytes
from ..data.transforms.compose import Compose, build_transforms
from ..data.transforms.core import DecodeImage
from ..errors import UserError
from ..weights.published import training, training_names
from .log import LOGGER
from .readers import Reader, inference_transforms

# Ops that map pixel values; all others of a training are random, or about sizes.
_VALUE_OPS = ("NormalizeImage", "Normalize", "ToTensor", "ToCHWImage")
_PIXELS = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]], np.uint8)
_TRIED = 8  # images, of which the first ones may be damaged


def check_pixels(config: Config) -> None:
    """Warn when DataLoader.Train and DataLoader.Eval, if both are there, give a network different pixels."""
    if config.DataLoader.Train and config.DataLoader.Eval:
        _compare_values(config)
        _compare_interpolation(config)


def _compare_values(config: Config) -> None:
    """Warn when a black, red, green, blue or white pixel reaches the network as other numbers."""
    first, second = (
        _values(build_transforms(getattr(config.DataLoader, split).dataset.transform_ops))
        for split in ("Train", "Eval")
    )
    if first is None or second is None or first.shape != second.shape:
        return
    if np.allclose(first, second, rtol=1e-3, atol=1e-3):
        return
    pixel = int(np.abs(first - second).max(axis=1).argmax())
    LOGGER.warning(
        "DataLoader.Train and DataLoader.Eval give the network different colours: an RGB pixel %s becomes %s in Train "
        "and %s in Eval; make DecodeImage.to_rgb and the mean, std and scale of NormalizeImage the same",
        *(_PIXELS[pixel].tolist(), _rounded(first[pixel]), _rounded(second[pixel])),
    )


def _values(transforms: Compose) -> np.ndarray | None:
    """Return float (5, C): `_PIXELS` after the ops; None where these cannot tell."""
    decode = next((op for op in transforms.ops if isinstance(op, DecodeImage)), None)
    if decode is None:
        return None
    value_ops = [op for op in transforms.ops if type(op).__name__ in _VALUE_OPS]
    pixels, results = _PIXELS if decode.to_rgb else _PIXELS[:, ::-1], []
    for pixel in pixels:
        image = np.tile(pixel, (4, 4, 1))
        image = image.transpose(2, 0, 1) if decode.makes_chw else image
        try:
            for op in value_ops:
                image = np.asarray(op(image))
        except (UserError, ValueError):  # wrong ops, which the first image tells of
            return None
        results.append(image[0, 0] if image.shape[:2] == (4, 4) else image[:, 0, 0])
    return np.stack(results).astype("float64")


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), 2) for value in values]


def _compare_interpolation(config: Config) -> None:
    ways = [_interpolations(getattr(config.DataLoader, split).dataset) for split in ("Train", "Eval")]
    if all(ways) and not ways[0] & ways[1] and not any("random" in way for way in ways[0] | ways[1]):
        LOGGER.warning(
            "DataLoader.Train resizes with %s, DataLoader.Eval with %s; make interpolation and backend the same",
            *(", ".join(sorted(way)) for way in ways),
        )


def _interpolations(dataset: AnyDataset) -> set[str]:
    """Return the resizing methods of the ops of a dataset, for example {"bilinear (cv2)"}."""
    return {
        f"{op.params.get('interpolation') or 'bilinear'} ({op.params.get('backend') or 'cv2'})".lower()
        for op in dataset.transform_ops
        if op.name in ("ResizeImage", "RandCropImage", "RandCropImageV2")
    }


def check_sizes(config: Config, train: Reader) -> None:
    """Warn when images for evaluation and export, or for training, have not the size of Global.image_shape."""
    wanted, dataset = list(config.Global.image_shape), train.loader.dataset
    if not (config.Infer.transforms or config.DataLoader.Eval):
        return
    prepare = build_transforms(inference_transforms(config))
    for index in range(min(_TRIED, len(dataset))):
        try:
            exported, trained = prepare(dataset.read(index)), dataset.sample(index)[0]
        except UserError:  # a damaged image, which has its own message
            continue
        scored = "Infer.transforms" if config.Infer.transforms else "DataLoader.Eval"
        for source, image in ((scored, exported), ("DataLoader.Train", trained)):
            if list(image.shape) != wanted:
                LOGGER.warning(
                    "%s gives images of %s (C, H, W), but Global.image_shape, the size that is exported, is %s; make "
                    "its crop and image_shape the same if that is not meant",
                    *(source, list(image.shape), wanted),
                )
        return


def exported_shape(config: Config, ops: Sequence[Op], images: Iterable[str]) -> list[int]:
    """Return the (C, H, W) that is exported: `Global.image_shape`, or the one shape that `ops` give all `images`.

    PaddleClas does not compare the two, and some of its files have an `image_shape` that no image ever has.
    """
    wanted, prepare, shapes = list(config.Global.image_shape), build_transforms(ops), set()
    for path in images:
        with contextlib.suppress(UserError):  # of a damaged image, which is named where it is compared
            shapes.add(prepare(read_bytes(path)).shape)
    if len(shapes) != 1 or (found := list(shapes.pop())) == wanted:
        return wanted
    LOGGER.warning(
        "%s is %s, and the transforms give images of %s, which is exported; make the two equal",
        *(config.place("Global.image_shape"), wanted, found),
    )
    return found


def check_published(config: Config, network: str, weights: str | bool | None) -> None:
    """Log in what DataLoader.Eval differs from the evaluation behind the top-1 of published `weights` of `network`."""
    dataset = config.DataLoader.Eval and config.DataLoader.Eval.dataset
    if not dataset or not weights or not (weights is True or weights in training_names()):
        return
    row = training(network, None if weights is True else str(weights))
    published, own = {**vars(row.evaluation), "crop": row.evaluation.size}, _evaluation(dataset)
    differing = [key for key, value in own.items() if published[key] != value]
    if differing:
        top1 = "was scored" if row.top1 is None else f"has its published {row.top1:g} %"
        LOGGER.info(
            "%s %s %s with %s; DataLoader.Eval has %s",
            *(row.network, row.name, top1),
            *(", ".join(f"{key} {_shown(facts[key])}" for key in differing) for facts in (published, own)),
        )


def _evaluation(dataset: AnyDataset) -> dict[str, object]:
    """Return the facts of `Evaluation` that the ops of a dataset show, and "crop", the size of the result."""
    facts: dict[str, object] = {}
    for op in dataset.transform_ops:
        if op.name == "ResizeImage":
            facts["crop"], facts["resize"] = op.params.get("size"), op.params.get("resize_short")
            facts["interpolation"] = op.params.get("interpolation") or "bilinear"
        elif op.name == "CropImage":
            facts["crop"] = op.params.get("size")
        elif op.name == "NormalizeImage":
            facts.update({key: tuple(op.params[key]) for key in ("mean", "std") if op.params.get(key)})
    return facts


def _shown(value: object) -> object:
    return list(value) if isinstance(value, tuple) else "none" if value is None else value
