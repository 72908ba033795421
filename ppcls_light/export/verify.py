"""The proof that an exported folder answers as the network in training code does."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import paddle

from ..config.check import located
from ..data.decode import read_bytes
from ..data.transforms import build_transforms
from ..errors import ExportError
from .bundle import split_decode

TOLERANCE = 1e-5


def verify(folder, model, transform_ops, image_shape, images):
    """Compare `folder`, opened by Paddle Inference in a new process, with `model` on the same image files.

    Nothing is shared between the two sides but the files: the exported side decodes, preprocesses and runs
    by what it finds in `folder`, the other by `transform_ops` and `model` as they are here.

    Args:
        folder: an exported folder with its inference.yml.
        model: the Layer before any folding, in eval mode, images (N, C, H, W) to logits.
        transform_ops: (name, params) pairs.
        image_shape: (C, H, W) of the graph.
        images: paths of image files.

    Returns:
        dict: images (their number), max_abs_diff (of probabilities), same_top1, class_num, onednn.

    Raises:
        ExportError: the probabilities differ by more than 1e-5, the best class differs, or one side fails.
    """
    expected = _dygraph_probs(model, transform_ops, image_shape, images)
    probs, onednn = _served_probs(folder, images)
    if probs.shape != expected.shape:
        raise ExportError(f"the exported model returns {probs.shape}, the network {expected.shape}")
    difference = float(np.abs(probs - expected).max())
    same_top1 = _same_top1(probs, expected)
    if not difference <= TOLERANCE or not same_top1:  # `not <=` also catches NaN
        raise ExportError(
            f"the exported model differs from the network: probabilities by up to {difference:.2e} (allowed "
            f"{TOLERANCE:.0e}), same best class: {same_top1}; nothing was exported. If the network is new, check "
            "that each batch norm is defined right after the one convolution that feeds it"
        )
    return {
        "images": len(images),
        "max_abs_diff": difference,
        "same_top1": same_top1,
        "class_num": probs.shape[1],
        "onednn": onednn,
    }


def _same_top1(probs, expected):
    """Whether the best classes agree; classes tied within the tolerance may take each other's place."""
    best = expected[np.arange(len(expected)), probs.argmax(axis=1)]
    return bool(np.all(expected.max(axis=1) - best <= 2 * TOLERANCE))


def _dygraph_probs(model, transform_ops, image_shape, images):
    decode, ops = split_decode(transform_ops)
    prepare = build_transforms([*(decode or [("DecodeImage", {})]), *ops])
    rows = []
    for path in images:
        with located(os.fspath(path), "image to compare on"):
            image = prepare(read_bytes(path))
        if list(image.shape) != list(image_shape):
            raise ExportError(
                f"the transforms give {list(image.shape)} for {path}, but Global.image_shape is "
                f"{list(image_shape)}; make them equal"
            )
        with paddle.no_grad():
            logits = model(paddle.to_tensor(image[None]))
            rows.append(paddle.nn.functional.softmax(logits, axis=-1).numpy()[0])
    return np.stack(rows)


def _served_probs(folder, images):
    root = str(Path(__file__).parents[2])  # so that a checkout works without being installed
    search_path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    with tempfile.TemporaryDirectory() as scratch:
        listed, output = os.path.join(scratch, "images.txt"), os.path.join(scratch, "probs.npz")
        with open(listed, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.writelines(f"{os.path.abspath(path)}\n" for path in images)
        command = [sys.executable, "-m", "ppcls_light.inference", os.path.abspath(folder), listed, output]
        done = subprocess.run(
            command,
            env={**os.environ, "PYTHONPATH": search_path},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or ["no message"]
            raise ExportError(
                f"Paddle Inference cannot run the exported model (exit {done.returncode}): {lines[-1]}"
            )
        with np.load(output) as saved:
            return saved["probs"], bool(saved["onednn"])
