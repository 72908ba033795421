"""Classification with an exported folder: `Predictor`; without training code, Paddle imported on use."""

from .predictor import Predictor

__all__ = ["Predictor"]
