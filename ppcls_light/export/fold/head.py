"""Dropout, which at inference is nothing or a factor, taken out of the graph."""

from paddle import nn


def fold_dropouts(model):
    """Replace every Dropout of `model` that this is possible for by an Identity.

    In the mode `upscale_in_train` it does nothing in eval mode. In PP-LCNet's `downscale_in_infer` it then
    multiplies by 1 - p, which goes into the weights of the Linear that follows it, directly or after a
    Flatten, in the order in which their parent defines its children.
    """
    for parent in model.sublayers(include_self=True):
        children = list(parent.named_children())
        for i, (name, layer) in enumerate(children):
            if not isinstance(layer, nn.Dropout):
                continue
            if layer.mode == "downscale_in_infer":
                linear = _following_linear(child for _, child in children[i + 1 :])
                if linear is None:
                    continue
                linear.weight.set_value(linear.weight * (1 - layer.p))
            parent.add_sublayer(name, nn.Identity())


def _following_linear(layers):
    for layer in layers:
        if not isinstance(layer, (nn.Flatten, nn.Identity)):
            return layer if isinstance(layer, nn.Linear) else None
    return None
