"""Everything that need not be computed for each image, computed once at export, on a copy of the network."""

import copy

from .fold_norms import fold_batch_norms

# In this order; each takes the copy and changes it so that what it computes in eval mode stays the same.
STEPS = {
    "batch_norm": fold_batch_norms,
}


def fold(model, steps=tuple(STEPS)):
    """Return a deep copy of `model` in eval mode that computes the same with less work.

    Args:
        model: Layer; it is not touched.
        steps: names of `STEPS`; whatever their order here, they are taken in that of `STEPS`.

    `export_model` compares the outputs afterwards.
    """
    folded = copy.deepcopy(model)
    for name, step in STEPS.items():
        if name in steps:
            step(folded)
    folded.eval()
    return folded
