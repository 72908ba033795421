"""From a trained network to a folder that Paddle Inference serves, checked against the network.

`export_model` is loaded on first use: reading a folder (`read_bundle`) needs no Paddle.
"""

from .bundle import Bundle, read_bundle

__all__ = ["Bundle", "export_model", "read_bundle"]


def __getattr__(name):
    if name == "export_model":
        from .model import export_model

        return export_model
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
