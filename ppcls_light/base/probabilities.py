"""`softmax` in numpy."""

import numpy as np


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the softmax of (N, K) over K."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)
