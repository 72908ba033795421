"""Everything that need not be computed for each image, computed once at export, on a copy of the network."""

import copy

from ...errors import ConfigError
from .edgenext import fold_edgenext
from .fasternet import fold_layer_scale, fold_pconv
from .head import fold_dropouts
from .micronet import fold_micronet
from .norms import fold_batch_norms, fold_batch_norms_before

# In this order; each takes the copy and changes it so that what it computes in eval mode stays the same.
STEPS = {
    "batch_norm": fold_batch_norms,
    "batch_norm_before": fold_batch_norms_before,
    "dropout": fold_dropouts,
    "micronet": fold_micronet,
    "edgenext": fold_edgenext,
    "pconv": fold_pconv,
    "layer_scale": fold_layer_scale,
}


def fold(model, steps=tuple(STEPS)):
    """Return a deep copy of `model` in eval mode that computes the same with less work.

    Args:
        model: Layer; it is not touched.
        steps: names of `STEPS`; whatever their order here, they are taken in that of `STEPS`. "micronet" folds
            the batch norms of a MicroNet by itself.

    Raises:
        ConfigError: an unknown step.

    `export_model` compares the outputs afterwards.
    """
    unknown = [name for name in steps if name not in STEPS]
    if unknown:
        raise ConfigError(f"Global.fold: no step '{unknown[0]}'; there are: {', '.join(STEPS)}")
    folded = copy.deepcopy(model)
    for name, step in STEPS.items():
        if name in steps:
            step(folded)
    folded.eval()
    return folded
