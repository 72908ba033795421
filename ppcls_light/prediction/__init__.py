"""Classification with an exported folder: `Predictor`; without training code, Paddle imported on use.

The name is loaded on first use: the server, whose workers classify, reads rows without it.
"""

from typing import TYPE_CHECKING

from ..base.lazy import attach

if TYPE_CHECKING:
    from .predictor import Predictor as Predictor
else:
    __getattr__, __dir__, __all__ = attach(__name__, {"predictor": ["Predictor"]})
