"""From a trained network to a folder that Paddle Inference serves, checked against the network.

`export_model` is loaded on first use: importing the package needs no Paddle.
"""

from typing import TYPE_CHECKING

from ..base.lazy import attach

if TYPE_CHECKING:
    from .export import export_model as export_model
else:
    __getattr__, __dir__, __all__ = attach(__name__, {"export": ["export_model"]})
