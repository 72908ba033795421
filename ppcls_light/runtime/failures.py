"""Errors of an engine as one line that says what to do."""

from __future__ import annotations

import os

import numpy as np

from ..errors import ConfigError, WeightsError


def load_error(path: str, engine: str, error: Exception) -> WeightsError:
    """Return the WeightsError of a network that `engine` (its name and version) cannot load from `path`."""
    # A file made here from the network is kept as long as the network is the same: exported again, too.
    made_here = os.path.basename(path).startswith("inference_")
    fix = "delete this file, and it is made again" if made_here else "copy or export it again"
    return WeightsError(
        f"{path}: {engine} cannot load this model, a file may be damaged or incomplete ({first_line(error)}); {fix}"
    )


def input_error(path: str, images: np.ndarray, error: Exception) -> ConfigError:
    """Return the ConfigError of a network that fails on `images` (N, C, H, W)."""
    return ConfigError(
        f"{path}: the network fails on an input of shape {list(images.shape)} ({first_line(error)}); check "
        "PreProcess.transform_ops"
    )


def first_line(error: Exception) -> str:
    """Return the first line of an exception that says something."""
    lines = (line.strip() for line in str(error).splitlines())
    # OpenVINO names its own source files first
    return next(
        (line for line in lines if line and not line.startswith("Exception from")), type(error).__name__
    )
