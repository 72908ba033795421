"""Exported folders as classifiers; no training code, and Paddle only once a `Predictor` is made."""

from .predictor import Predictor

__all__ = ["Predictor"]
