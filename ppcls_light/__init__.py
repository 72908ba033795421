"""Lightweight image classification on PaddlePaddle: small backbones, trained, exported and served.

The names below are loaded on first use, so that importing the package imports neither paddle nor cv2.
"""

import importlib

__version__ = "0.1.0"

_HOME = {
    "create_model": "models",
    "list_models": "models",
    "load_config": "config",
    "Predictor": "predict",
}

__all__ = ["Predictor", "__version__", "create_model", "list_models", "load_config"]


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
