"""Verification of an exported folder: its probabilities against those of the trained network."""

from __future__ import annotations

import os
from typing import Any, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

import numpy as np
import paddle
from paddle import nn

from ..base.call import call_in_process
from ..base.files import StrPath
from ..base.machine import instruction_set, processor_name
from ..bundle.folder import PLAN_FILE, Ops, split_decode
from ..config.bind import located
from ..config.types import Op
from ..data.decode import read_bytes
from ..data.transforms.compose import build_transforms
from ..errors import ExportError
from ..prediction.served import answers
from .preprocess import GREY_LEVELS, Preprocessing
from .static import WithProbabilities
from .targets.convert import served
from .web.export import WebExport

# Largest difference of a probability, and the share of the images that has to keep to it. The int8 kernels round
# sums where the training's fake quantization did not, which can tip an image that is nearly two classes.
# Of photos that a graph prepares, single values may round the other way in another engine: photos; and more of them
# than in the transforms, and in converted files: pixels.
# Other runtimes sum in other orders: converted; fp16 rounds weights, and in some runtimes what they compute.
TOLERANCES = {
    "fp32": (1e-5, 1.0),
    "int8": (0.1, 0.75),
    "photos": (1e-4, 1.0),
    "pixels": (0.02, 1.0),
    "converted": (1e-4, 1.0),
    "fp16": (0.05, 1.0),
}
ONNX_TOLERANCE = 1e-4
# Largest difference of a further output of an image, relative to its length (L2), and the share of the images. In int8
# it is what the rounding of all layers comes to, and only finds what is broken.
FURTHER_TOLERANCES = {
    "fp32": (1e-3, 1.0),
    "int8": (0.5, 0.75),
    "photos": (1e-3, 1.0),
    "converted": (1e-3, 1.0),
    "pixels": (0.02, 1.0),
    "fp16": (0.1, 1.0),
}
ENGINE_NAMES = {
    "paddle": "Paddle Inference",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "native": "the engine native",
}


def verify(
    folder: str,
    model: nn.Layer,
    transform_ops: Ops,
    image_shape: Sequence[int],
    images: Sequence[StrPath],
    precision: str = "fp32",
    onnx: bool = False,
    further: Sequence[str] = (),
    multilabel: bool = False,
    preprocessing: Optional[Preprocessing] = None,
    converted: Sequence[Tuple[str, str]] = (),
    page: Optional[WebExport] = None,
) -> Dict[str, Any]:
    """Compare `folder`, opened by Paddle Inference in a new process, with `model` on the same image files.

    An inference.plan in the engine native is compared in the same way. With `onnx` inference.onnx in ONNX Runtime is
    compared with the Paddle graph, at batch 1 and 8. The `converted` files, (format, precision), are compared with
    `model` in the runtimes of their formats, and the graph of a `page` in ONNX Runtime.

    Nothing is shared between the two sides but the files: the exported side decodes, preprocesses and runs
    by what it finds in `folder`, the other by `transform_ops` and `model` as they are here: before any folding, in eval
    mode, images (N, C, H, W) to logits. The `precision` of the graph sets the `TOLERANCES`. The `further` outputs of
    the graph (`bundle.folder.Further`) are compared in the same way, within `FURTHER_TOLERANCES`.

    A graph with `preprocessing` is compared with that and `model`, and its prepared images with those of
    `transform_ops`: they may differ by `GREY_LEVELS`, and by no more than a probability of 0.02 in what comes of it.

    Returned are class_num and the attributes of `ExportReport` from images on; onnx_max_abs_diff with `onnx` only,
    further with `further` only, preprocessing with that only, formats with `converted` only.

    Raises ExportError: on too many images the probabilities or a further output differ by more than the tolerance, or
    the best class differs though it does not tie within it; ONNX Runtime differs from Paddle by more than 1e-4; or one
    side fails.
    """
    inputs = prepared(transform_ops, image_shape, images)
    in_graph: Dict[str, float] = {}
    if preprocessing is not None:
        precision = "photos"
        inputs, in_graph = _compare_pixels(preprocessing, model, list(inputs), images, multilabel)
    expected, others = _dygraph_answers(model, inputs, further, multilabel)
    in_paddle = served_probs(folder, images)
    compared = [_compare("the exported model", in_paddle["probs"], expected, precision)]
    if os.path.exists(os.path.join(folder, PLAN_FILE)):
        native = served_probs(folder, images, "native")
        what = f"{PLAN_FILE} of the exported model (ppcls_light/ops/native)"
        compared.append(_compare(what, native["probs"], expected, precision))
    differences, same, same_class = zip(*compared)
    parity = {
        "images": len(images),
        "max_abs_diff": max(differences),
        "same_top1": all(same),
        "same_class": min(same_class),
        "class_num": expected.shape[1],
        "onednn": bool(in_paddle["onednn"]),
        "processor": processor_name(),
        "instruction_set": instruction_set(),
    }
    if in_graph:
        parity["preprocessing"] = in_graph
    if further:
        parity["further"] = {
            name: _compare_further(name, in_paddle[name], others[name], precision) for name in further
        }
    if onnx:
        in_onnx = served_probs(folder, images, "onnxruntime")
        parity["onnx_max_abs_diff"] = _onnx_difference(in_paddle, in_onnx)
        for name in further:
            for key in (name, f"{name}_of_8"):
                _compare_further(
                    f"{key} of inference.onnx in ONNX Runtime", in_onnx[key], in_paddle[key], "fp32"
                )
    for name, kind in converted:
        in_fp32 = "converted" if preprocessing is None else "pixels"
        what, tolerances = f"{name} in {kind}", in_fp32 if kind == "fp32" else kind
        found = served(folder, name, kind, images)
        difference = _compare_all(what, found, expected, others, tolerances)
        parity.setdefault("formats", {}).setdefault(name, {})[kind] = difference
    if page is not None:
        found = page.answers(folder, images, multilabel)
        what = "web/model.onnx in ONNX Runtime"
        parity["web_max_abs_diff"] = _compare_all(what, found, expected, others, "fp16")
    return parity


@paddle.no_grad()
def _compare_pixels(
    preprocessing: Preprocessing,
    model: nn.Layer,
    expected: List[np.ndarray],
    images: Sequence[StrPath],
    multilabel: bool,
) -> Tuple[List[np.ndarray], Dict[str, float]]:
    """Return what `preprocessing` makes of `images`, and how far that is from `expected`, and the answers to it.

    Raises ExportError: too far.
    """
    photos = (preprocessing.decode(read_bytes(path)) for path in images)
    found = [preprocessing(paddle.to_tensor(photo[None])).numpy()[0] for photo in photos]
    levels = max(preprocessing.grey_levels(*pair) for pair in zip(found, expected))
    if not levels <= GREY_LEVELS:  # true for NaN, too
        raise ExportError(
            f"Global.export_preprocess: the graph's pixels differ from those of the transforms by {levels:.2f} grey "
            f"levels (allowed {GREY_LEVELS}); nothing was exported. Leave it out"
        )
    probs, right = (_dygraph_answers(model, inputs, (), multilabel)[0] for inputs in (found, expected))
    difference, _, _ = _compare("the preprocessing in the graph", probs, right, "pixels")
    return found, {"grey_levels": round(levels, 3), "max_abs_diff": difference}


def _compare(what: str, probs: np.ndarray, expected: np.ndarray, precision: str) -> Tuple[float, bool, int]:
    """Return (largest difference, True if all best classes agree up to ties, number of equal ones)."""
    if probs.shape != expected.shape:
        raise ExportError(f"{what} returns {probs.shape}, the network {expected.shape}")
    tolerance, share = TOLERANCES[precision]
    differences = np.abs(probs - expected).max(axis=1)
    best = expected[np.arange(len(expected)), probs.argmax(axis=1)]
    same = expected.max(axis=1) - best <= 2 * tolerance  # ones tied within the tolerance may swap places
    agree = same & (differences <= tolerance)  # false for NaN, too
    if agree.mean() < share:
        raise ExportError(
            f"{what} differs from the network on {np.sum(~agree)} of {len(expected)} images: probabilities "
            f"by up to {differences.max():.2e} (allowed {tolerance:.0e}), same best class: {same.all()}; nothing was "
            "exported. If the network is new, check that each batch norm is defined right after the one convolution "
            "that feeds it"
        )
    return (
        float(differences.max()),
        bool(same.all()),
        int(np.sum(probs.argmax(axis=1) == expected.argmax(axis=1))),
    )


def _compare_all(
    what: str,
    found: Dict[str, np.ndarray],
    expected: np.ndarray,
    others: Dict[str, np.ndarray],
    precision: str,
) -> float:
    """Compare probabilities, and the `others` by name; return the largest difference of a probability."""
    difference, _, _ = _compare(what, found["probs"], expected, precision)
    for name, values in others.items():
        _compare_further(f"{name} of {what}", found[name], values, precision)
    return difference


def _compare_further(what: str, found: np.ndarray, expected: np.ndarray, precision: str) -> float:
    """Return the largest difference of an image's further output, a share of its length (L2)."""
    if found.shape != expected.shape:
        raise ExportError(f"{what}: the exported model returns {found.shape}, the network {expected.shape}")
    tolerance, share = FURTHER_TOLERANCES[precision]
    lengths = np.maximum(np.linalg.norm(expected, axis=1), 1e-12)
    differences = np.linalg.norm(found - expected, axis=1) / lengths
    if (differences <= tolerance).mean() < share:  # false for NaN, too
        raise ExportError(
            f"{what}: the exported model differs from the network by {differences.max():.2e} of the length (allowed "
            f"{tolerance:.0e}); nothing was exported. Export without Global.embedding"
        )
    return float(differences.max())


def _onnx_difference(paddle_served: Dict[str, np.ndarray], onnx_served: Dict[str, np.ndarray]) -> float:
    largest = 0.0
    for batch, key in ((1, "probs"), (8, "probs_of_8")):
        difference = float(np.abs(onnx_served[key] - paddle_served[key]).max())
        if not difference <= ONNX_TOLERANCE:  # true for NaN, too
            raise ExportError(
                f"inference.onnx in ONNX Runtime differs from Paddle Inference by {difference:.2e} at batch {batch} "
                f"(allowed {ONNX_TOLERANCE:.0e}); nothing was exported. Export with --format paddle"
            )
        largest = max(largest, difference)
    return largest


def prepared(
    transform_ops: Ops, image_shape: Sequence[int], images: Sequence[StrPath]
) -> Iterator[np.ndarray]:
    """Yield each of `images` (paths) as the network takes it, float32 `image_shape` (C, H, W).

    Raises DataError: an image cannot be read. ExportError: the transforms give another shape.
    """
    decode, ops = split_decode(transform_ops)
    prepare = build_transforms([*(decode or [Op("DecodeImage", {})]), *ops])
    for path in images:
        with located(os.fspath(path), "image to compare on"):
            image = prepare(read_bytes(path))
        if list(image.shape) != list(image_shape):
            raise ExportError(
                f"the transforms give {list(image.shape)} for {path}, but Global.image_shape is "
                f"{list(image_shape)}; use -o Global.image_shape={str(list(image.shape)).replace(' ', '')}, or other "
                "transforms"
            )
        yield image


@paddle.no_grad()
def _dygraph_answers(
    model: nn.Layer, images: Iterable[np.ndarray], further: Sequence[str], multilabel: bool
) -> Tuple[np.ndarray, Dict[str, np.ndarray]]:
    """Return probabilities (N, class_num) and the `further` outputs by name."""
    network = WithProbabilities(model, further, multilabel)
    found = [network(paddle.to_tensor(image[None])) for image in images]
    if not further:
        return paddle.concat(found).numpy(), {}
    probs, *others = (paddle.concat(list(outputs)).numpy() for outputs in zip(*found))
    return probs, dict(zip(further, others))


def served_probs(
    folder: str, images: Sequence[StrPath], engine: str = "paddle", precision: str = "fp32"
) -> Dict[str, np.ndarray]:
    """Return the `answers` to `images` in a new process.

    Raises:
        DataError: an image cannot be read. ExportError: the folder cannot be run.
    """
    paths, task = list(map(os.path.abspath, images)), f"{ENGINE_NAMES[engine]} cannot run the exported model"
    return call_in_process(answers, os.path.abspath(folder), paths, engine, precision, task=task)
