"""Lightweight image classification on PaddlePaddle: small backbones, trained, exported and served.

The names below are loaded on first use, so that importing the package imports neither paddle nor cv2.
"""

from typing import TYPE_CHECKING

from .base.lazy import attach
from .base.mkl import switch_mkl
from .base.quiet import quiet_paddle

__version__ = "0.1.0"

# Before the first import of Paddle, whichever name below has it.
quiet_paddle()
switch_mkl()

if TYPE_CHECKING:
    from . import jobs as jobs
    from .config import Config as Config
    from .config import load_config as load_config
    from .datasets import sample_data as sample_data
    from .errors import UserError as UserError
    from .models import create_model as create_model
    from .models import list_models as list_models
    from .prediction import Predictor as Predictor
    from .run import Run as Run
    from .run import embed as embed
    from .run import explain as explain
    from .run import load as load
    from .run import predict as predict
    from .run import train as train
    from .weights import list_pretrained as list_pretrained
else:
    __getattr__, __dir__, __all__ = attach(
        __name__,
        {
            "config": ["Config", "load_config"],
            "datasets": ["sample_data"],
            "errors": ["UserError"],
            "jobs": [],
            "models": ["create_model", "list_models"],
            "prediction": ["Predictor"],
            "run": ["Run", "embed", "explain", "load", "predict", "train"],
            "weights": ["list_pretrained"],
        },
    )
