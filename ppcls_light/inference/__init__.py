"""Old name of `ppcls_light.prediction`; its use warns. Import from `ppcls_light` or `ppcls_light.prediction`."""

import warnings

__all__ = ["Predictor"]


def __getattr__(name: str) -> object:
    if name != "Predictor":
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    warnings.warn(
        "ppcls_light.inference.Predictor is called ppcls_light.Predictor now",
        DeprecationWarning,
        stacklevel=2,
    )
    from ..prediction import Predictor

    globals()[name] = Predictor  # one warning is enough
    return Predictor
