"""Heat maps of anything that gives probabilities, a checkpoint or an exported folder; without Paddle."""

from __future__ import annotations

from typing import Callable

import numpy as np

from ..errors import ConfigError
from ..registry import nearest
from .lime import lime
from .occlusion import occlusion
from .overlay import finished

Probabilities = Callable[[np.ndarray], np.ndarray]  # images float32 (N, C, H, W) to probabilities (N, K)

BLACK_BOX: dict[str, Callable[[Probabilities, np.ndarray, np.ndarray], np.ndarray]] = {
    "occlusion": occlusion,
    "lime": lime,
}
METHODS = ("layercam", "gradcam", "scorecam", "smoothgrad", *BLACK_BOX)  # those of `heat_maps`, too


def require_known(method: str) -> None:
    """Raise ConfigError for a `method` that is none of `METHODS`."""
    if method not in METHODS:
        hint = nearest(method, METHODS) or f"; use {', '.join(METHODS)}"
        raise ConfigError(f"there is no method '{method}'{hint}")


def heat_maps_of(
    probabilities: Probabilities, images: np.ndarray, classes: np.ndarray, method: str = "occlusion"
) -> np.ndarray:
    """Return maps float32 (N, H, W), as `heat_maps.heat_maps` does, of the classes (N,) in images (N, C, H, W).

    `probabilities` is a function such as `Predictor.run`.

    Raises ConfigError: unknown method, or it has to look inside the network. UserError: a package is missing.
    """
    require_known(method)
    if method not in BLACK_BOX:
        raise ConfigError(
            f"method {method} looks inside the network, and an exported folder gives probabilities alone; use "
            f"{' or '.join(BLACK_BOX)}, or the checkpoint"
        )
    return finished(BLACK_BOX[method](probabilities, images, classes), images)
