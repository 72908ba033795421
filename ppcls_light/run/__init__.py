"""Trainings and their results in Python: `train` and `Run`, its folder as an object, and any model by its folder.

The names are loaded on first use; importing it imports no Paddle.
"""

from typing import TYPE_CHECKING

from ..base.lazy import attach

if TYPE_CHECKING:
    from .models import embed as embed
    from .models import explain as explain
    from .models import load as load
    from .models import predict as predict
    from .run import Run as Run
    from .training import train as train
else:
    __getattr__, __dir__, __all__ = attach(
        __name__,
        {"models": ["embed", "explain", "load", "predict"], "run": ["Run"], "training": ["train"]},
    )
