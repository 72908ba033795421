"""What bf16 and int8 cost in top-1 on labelled images."""

import hashlib
import logging
import os
from dataclasses import replace

import numpy as np

from ..base.machine import require, supports
from ..bundle.folder import read_bundle
from ..bundle.onnx import checksum
from ..data.image_list import read_image_list
from ..errors import ConfigError, DeviceError, ExportError
from ..runtime.auto import resolve
from ..runtime.engines import create_engine, missing_library
from ..runtime.int8 import SUFFIXES, in_writable_folder, make, missing_tool
from ..runtime.precisions import GIVE_LABELS, INT8_FOLDER
from .accuracy import MAX_DROP, check_max_drop, part, top1_change

logger = logging.getLogger(__name__)


def settle(bundle, options, image_shape, prepare, labelled, max_drop=MAX_DROP):
    """Return (bundle, options) with which a `Predictor` asked for a precision beside fp32 creates its engine.

    int8 graphs that are missing are made, and top-1 is compared with fp32's. "auto" becomes the fastest engine and
    precision of those that lose no more than `max_drop`.

    Args:
        bundle: a `Bundle`.
        options: `EngineOptions`.
        image_shape: (C, H, W).
        prepare: path -> float32 `image_shape`.
        labelled: (list file with PaddleClas' `path label` lines, folder to which the paths are relative), or None.
        max_drop: percentage points of top-1 that a precision may lose.

    Raises:
        ConfigError: there are no labelled images, or `max_drop` is no number from 0 on.
        DataError: the list is wrong, or has too few images.
        DeviceError: the precision asked for cannot be had here, or loses more.
    """
    if labelled is None:
        raise ConfigError(f"precision {options.precision} is compared with fp32 on images; {GIVE_LABELS}")
    if options.precision == "int8":
        require("int8")
    judge = Judge(bundle, *labelled, prepare, max_drop)
    judge.quantize(options)
    if "auto" in (options.engine, options.precision):
        options = resolve(judge.bundle, options, image_shape, judge.accept, judge.depends_on)
    elif options.precision != "fp32":
        reason, words = judge.accept(options)
        logger.info("%s %s: %s", options.engine, options.precision, words)
        if reason:
            raise DeviceError(
                f"{bundle.folder}: {options.engine} {options.precision} {reason}; use another precision"
            )
    return judge.bundle, options


class Judge:
    """Compares precisions of a network with fp32 on labelled images, part of which calibrate int8.

    Args:
        bundle: a `Bundle`; its `onnx_file` is where int8 graphs are kept, once there are any.
        labels, image_root: the list file and the folder to which its paths are relative.
        prepare, max_drop: as of `settle`.
    """

    def __init__(self, bundle, labels, image_root, prepare, max_drop):
        self.bundle, self._prepare, self._max_drop = bundle, prepare, check_max_drop(max_drop)
        images = read_image_list(labels, image_root, class_num=bundle.class_num)
        if bundle.class_names is not None:
            bundle.class_names.check_list(images)
        self._images = part(images)
        self._references = {}
        with open(labels, "rb") as file:
            self._digest = hashlib.sha256(file.read() + os.path.realpath(image_root).encode()).hexdigest()

    @property
    def depends_on(self):
        """Return what an acceptance depends on beside the network, as JSON holds it."""
        folder = os.path.join(self.bundle.folder, INT8_FOLDER)
        paddle_int8 = checksum(read_bundle(folder)) if os.path.isdir(folder) else None
        return {"labels": self._digest, "max_drop": self._max_drop, "paddle_int8": paddle_int8}

    def quantize(self, options):
        """Make the int8 graphs that `EngineOptions` may need and the folder lacks; what cannot be is a warning."""
        wanted = (
            options.precision in ("int8", "auto")
            and options.device == "cpu"
            and self.bundle.precision != "int8"
        )
        engines = [engine for engine in SUFFIXES if options.engine in ("auto", engine)]
        engines = [engine for engine in engines if not missing_library(engine) and not missing_tool(engine)]
        if not wanted or not engines or not supports("int8"):
            return
        try:
            self.bundle = in_writable_folder(self.bundle)
            for engine in engines:
                make(self.bundle, engine, self._images.calibration, self._prepare)
        except (DeviceError, ExportError) as problem:
            logger.warning("%s", problem)

    def accept(self, options):
        """Return (why a precision cannot be chosen or "", its top-1 in words) for `EngineOptions`."""
        if self.bundle.precision == "int8":
            return "", "the folder is int8, so there is no fp32 to compare with"
        change = self.top1_change(options)
        return change.refusal(self._max_drop), str(change)

    def top1_change(self, options):
        """Return the `Top1Change` of `EngineOptions` from the same engine in fp32."""
        reference = replace(options, precision="fp32")
        if reference not in self._references:
            self._references[reference] = self._answers(reference)
        return top1_change(self._images.labels, self._references[reference], self._answers(options))

    def _answers(self, options):
        engine, paths, size = create_engine(self.bundle, options), self._images.scored, options.batch_size
        batches = (paths[start : start + size] for start in range(0, len(paths), size))
        return np.concatenate(
            [engine.run(np.stack([self._prepare(path) for path in batch])) for batch in batches]
        )
