"""The old name of `ppcls_light.predict`, which warns: import from `ppcls_light` or `ppcls_light.predict`."""

import importlib
import warnings

_HOME = {"Predictor": "..predict"}

__all__ = ["Predictor"]


def __getattr__(name):
    if name not in _HOME:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    warnings.warn(
        f"ppcls_light.inference.{name} is called ppcls_light.{name} now", DeprecationWarning, stacklevel=2
    )
    value = globals()[name] = getattr(
        importlib.import_module(_HOME[name], __name__), name
    )  # one warning is enough
    return value
