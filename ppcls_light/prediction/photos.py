"""Graphs that prepare photos themselves, `bundle.folder.Photos`: what they refuse, and their input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..bundle.folder import Bundle
from ..config.types import Op
from ..errors import ConfigError
from ..runtime.options import EngineOptions


def require_own_transforms(bundle: Bundle, ops: Sequence[Op]) -> None:
    """Raise ConfigError where `ops` are to stand in for those in the graph of `bundle`."""
    if bundle.photos is not None and ops != bundle.transform_ops:
        raise ConfigError(
            f"{bundle.folder}: this graph prepares photos itself, as its training did; leave PreProcess.transform_ops "
            "out, or export without Global.export_preprocess"
        )


def options_of_photos(bundle: Bundle, options: EngineOptions) -> EngineOptions:
    """Return `options` in fp32 where the graph prepares photos itself.

    Raises ConfigError: they ask for what would round the pixels that it resizes.
    """
    if bundle.photos is None:
        return options
    if options.precision not in ("fp32", "auto") or options.use_tensorrt:
        asked = "TensorRT" if options.use_tensorrt else f"precision {options.precision}"
        raise ConfigError(
            f"{bundle.folder}: {asked} would round the pixels that this graph resizes; leave it out, or export without "
            "Global.export_preprocess"
        )
    return replace(options, precision="fp32")


def input_shape(bundle: Bundle, image_shape: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of an image of `image_shape` (C, H, W) as the graph takes it."""
    return tuple(image_shape) if bundle.photos is None else (*image_shape[1:], 3)
