"""Heat maps of anything that gives probabilities, a checkpoint or an exported folder; without Paddle."""

from __future__ import annotations

from typing import Callable

import numpy as np

from ..errors import ConfigError
from .lime import lime
from .occlusion import occlusion
from .overlay import finished

Probabilities = Callable[[np.ndarray], np.ndarray]  # images float32 (N, C, H, W) to probabilities (N, K)

BLACK_BOX: dict[str, Callable[[Probabilities, np.ndarray, np.ndarray], np.ndarray]] = {
    "occlusion": occlusion,
    "lime": lime,
}


def heat_maps_of(
    probabilities: Probabilities, images: np.ndarray, classes: np.ndarray, method: str = "occlusion"
) -> np.ndarray:
    """Return maps float32 (N, H, W), as `heat_maps.heat_maps` does, of the classes (N,) in images (N, C, H, W).

    `probabilities` is a function such as `Predictor.run`.

    Raises ConfigError: the method has to look inside the network. UserError: it needs a package that is not there.
    """
    if method not in BLACK_BOX:
        raise ConfigError(
            f"method {method} looks inside the network, and an exported folder gives probabilities alone; use "
            f"{' or '.join(BLACK_BOX)}, or the checkpoint"
        )
    return finished(BLACK_BOX[method](probabilities, images, classes), images)
