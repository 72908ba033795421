"""Training and evaluation losses, from the config's `Loss` lists."""

import paddle
import paddle.nn.functional as F

from .errors import ConfigError


def build_loss(specs):
    """Return a function of a batch that sums the losses of `specs` (learning.CELoss), each times its weight.

    The function takes logits (N, K) and labels, class indices int64 (N,) or class shares float (N, K) as
    Mixup and CutMix make them, and returns (total, parts): a scalar tensor, and the scalar tensors by name,
    `CELoss` (weighted, so that the parts add up) and `loss` (the total). Half-precision logits are computed
    in float32.

    Raises:
        ConfigError: `specs` is empty.
    """
    specs = list(specs)
    if not specs:
        raise ConfigError(
            "Loss has an empty list; give at least one loss, for example - CELoss: {weight: 1.0}"
        )

    def loss(logits, labels):
        if logits.dtype in (paddle.float16, paddle.bfloat16):
            logits = logits.astype("float32")
        parts = {}
        for spec in specs:
            name = type(spec).__name__
            value = spec.weight * cross_entropy(logits, labels, spec.epsilon or 0.0, spec.reduction)
            parts[name] = parts[name] + value if name in parts else value
        total = sum(parts.values())
        return total, {**parts, "loss": total}

    return loss


def cross_entropy(logits, labels, epsilon=0.0, reduction="mean"):
    """Cross entropy of softmax(logits), float (N, K), with labels int64 (N,) or soft float (N, K).

    `epsilon` > 0 mixes the uniform distribution into the labels, hard or soft:
    (1 - epsilon) * label + epsilon / K (Szegedy et al., arXiv 1512.00567, section 7).
    `reduction` over the images: "mean" or "sum".
    """
    soft = labels.ndim == 2
    if not soft and not epsilon:
        return F.cross_entropy(logits, labels, reduction=reduction)
    classes = logits.shape[1]
    target = labels.astype(logits.dtype) if soft else F.one_hot(labels, classes).astype(logits.dtype)
    if epsilon:
        target = (1.0 - epsilon) * target + epsilon / classes
    return F.cross_entropy(logits, target, soft_label=True, reduction=reduction)
