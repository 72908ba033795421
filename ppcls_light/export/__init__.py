"""From a trained network to a folder that Paddle Inference serves, checked against the network.

`export_model` is loaded on first use: importing the package needs no Paddle.
"""

__all__ = ["export_model"]


def __getattr__(name):
    if name == "export_model":
        from .export import export_model

        return export_model
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
