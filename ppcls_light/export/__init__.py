"""Export of a trained network to a folder for Paddle Inference, with verification against the network.

`export_model` is loaded on first use: importing the package needs no Paddle.
"""

from ..base.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, {"export": ["export_model"]})
