"""Training and evaluation losses, from the `Loss` lists of a config."""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, Dict, Iterable, List, Sequence, Tuple, Union

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import Tensor

from ..config import losses as specified
from ..errors import ConfigError
from ..models.distillation import mapped_name

Outputs = Union[Tensor, Dict[str, Tensor]]
Loss = Callable[[Outputs, Tensor], Tuple[Tensor, Dict[str, Tensor]]]


def build_loss(specs: Iterable[Any], student: str | None = None, teachers: Iterable[str] = ()) -> Loss:
    """Return a function of a batch that sums the losses of `specs`, each times its weight.

    The function takes logits (N, K), or those of several networks by name, and labels, class indices int64
    (N,), -1 for images without a label, or class shares float (N, K) as Mixup and CutMix make them. It returns
    (total, parts): a scalar tensor, and the scalar tensors by the name of the loss (weighted, so that the parts add
    up) and `loss` (the total). Half-precision logits are computed in float32.

    `specs` are `config.losses.CELoss` and the distillation losses beside it. `student` is the network that `CELoss` is
    about, and whose logits may be given without a name; `teachers` are the others whose logits will be given.
    Raises ConfigError: `specs` is empty, or names a network that is not there.
    """
    specs = list(specs)
    if not specs:
        raise ConfigError(
            "Loss has an empty list; give at least one loss, for example - CELoss: {weight: 1.0}"
        )
    for spec in specs:
        _check_names(spec, [name for name in (student, *teachers) if name])

    def loss(outputs: Outputs, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        if not isinstance(outputs, dict):
            outputs = {student or "": outputs}
        outputs = {name: _full_precision(logits) for name, logits in outputs.items()}
        parts: dict[str, Tensor] = {}
        for spec in specs:
            name = type(spec).__name__
            if isinstance(spec, specified.CELoss):
                weights: Any = spec.class_weights  # numbers, see `weigh_classes`
                own = outputs[student or ""]
                value = cross_entropy(own, labels, spec.epsilon or 0.0, spec.reduction, weights)
            elif isinstance(spec, specified.DistillationGTCELoss):
                value = sum(
                    cross_entropy(outputs[name], labels, spec.epsilon or 0.0) for name in spec.model_names
                )
            else:
                pairs = ((outputs[_learner(spec, *pair)], outputs[pair[1]]) for pair in spec.model_name_pairs)
                value = sum(_OF_A_PAIR[type(spec)](spec, *pair) for pair in pairs)
            parts[name] = parts.get(name, 0.0) + spec.weight * value
        total = sum(parts.values())
        return total, {**parts, "loss": total}

    return loss


def _check_names(spec: Any, known: Sequence[str]) -> None:
    pairs = getattr(spec, "model_name_pairs", [])
    names = [*getattr(spec, "model_names", []), *(name for pair in pairs for name in pair)]
    if not names and not isinstance(spec, specified.CELoss):
        raise ConfigError(
            f"Loss: {type(spec).__name__}: it names no network, so it teaches nothing; name some, or leave it out"
        )
    for name in names:
        if name not in known:
            raise ConfigError(
                f"Loss: {type(spec).__name__}: there are no logits of '{name}' here, "
                + (
                    f"but those of {', '.join(known)}; an evaluation has those of the student alone"
                    if known
                    else "for it takes Arch.name: DistillationModel with models of that name; or use CELoss"
                )
            )


def _full_precision(logits: Tensor) -> Tensor:
    return logits.astype("float32") if logits.dtype in (paddle.float16, paddle.bfloat16) else logits


def weigh_classes(losses: List[Any], labels: np.ndarray, class_num: int) -> list[Any]:
    """Return `losses` with the numbers that their `class_weights: balanced` stand for.

    The weight of class c is n / (class_num * count(c)), n images in all (King and Zeng, "Logistic regression in rare
    events data", 2001; scikit-learn's "balanced"): the weights of the images average 1. `labels`, int (n,), are those
    of the training images. Raises ConfigError: a class has no image.
    """
    if not any(getattr(loss, "class_weights", None) == "balanced" for loss in losses):
        return losses
    counts = np.bincount(labels, minlength=class_num)
    if not counts.all():
        raise ConfigError(
            f"Loss.Train: class_weights: balanced: class {int(counts.argmin())} has no training image; lower "
            f"Arch.class_num, or write {class_num} numbers"
        )
    weights = (len(labels) / (class_num * counts)).tolist()
    return [
        dataclasses.replace(loss, class_weights=weights)
        if isinstance(loss, specified.CELoss) and loss.class_weights == "balanced"
        else loss
        for loss in losses
    ]


def cross_entropy(
    logits: Tensor,
    labels: Tensor,
    epsilon: float = 0.0,
    reduction: str = "mean",
    class_weights: Sequence[float] | None = None,
) -> Tensor:
    """Cross entropy of softmax(logits), float (N, K), with labels int64 (N,) or soft float (N, K).

    `epsilon` > 0 mixes the uniform distribution into the labels, hard or soft:
    (1 - epsilon) * label + epsilon / K (Szegedy et al., arXiv 1512.00567, section 7).
    `class_weights` (K numbers) multiply the classes' terms: the loss of an image with shares t is
    -sum_c w_c t_c log p_c.
    `reduction` over the images: "mean" or "sum". The mean is over the images, not over their weights: so it is
    the same however a batch is divided among processes or over `Global.update_freq`. An image with label -1 is one of
    them, and its loss is 0.
    """
    soft = labels.ndim == 2
    known = None if soft else (labels >= 0).astype(logits.dtype)
    labels = labels if soft else labels.clip(min=0)
    if not soft and not epsilon and class_weights is None:
        losses = F.cross_entropy(logits, labels, reduction="none")
    else:
        classes = logits.shape[1]
        target = labels.astype(logits.dtype) if soft else F.one_hot(labels, classes).astype(logits.dtype)
        if epsilon:
            target = (1.0 - epsilon) * target + epsilon / classes
        if class_weights is None:
            losses = F.cross_entropy(logits, target, soft_label=True, reduction="none")
        else:
            weights = paddle.to_tensor(class_weights, logits.dtype)
            losses = -(target * F.log_softmax(logits) * weights).sum(axis=1)
    losses = losses if known is None else losses.flatten() * known
    # Here and not in F.cross_entropy, which waits for the device in Paddle 2 to count ignored labels.
    return getattr(losses, reduction)()


def _teacher_labels(spec: specified.DistillationCELoss, learner: Tensor, teacher: Tensor) -> Tensor:
    return cross_entropy(learner, teacher.argmax(axis=1) if spec.hard_label else F.softmax(teacher))


def _softened(spec: specified.DistillationKLDivLoss, learner: Tensor, teacher: Tensor) -> Tensor:
    return kl_divergence(teacher / spec.temperature, learner / spec.temperature) * spec.temperature**2


def _mutual(spec: specified.DistillationDMLLoss, one: Tensor, other: Tensor) -> Tensor:
    return (kl_divergence(one, other) + kl_divergence(other, one)) / 2


def kl_divergence(logits: Tensor, other: Tensor) -> Tensor:
    """Return the mean over the images of KL(softmax(logits) || softmax(other)), both (N, K), in nats."""
    log_p, log_q = F.log_softmax(logits), F.log_softmax(other)
    return (log_p.exp() * (log_p - log_q)).sum(axis=1).mean()


def _learner(spec: Any, first: str, second: str) -> str:
    """Return the name of the outputs that are to come near those of the network `second`."""
    return mapped_name(first, second) if isinstance(spec, specified.DistillationFeatureLoss) else first


def _distance(spec: specified.DistillationFeatureLoss, mapped: Tensor, embeddings: Tensor) -> Tensor:
    return F.mse_loss(mapped, embeddings)


_OF_A_PAIR: Dict[type, Callable[..., Tensor]] = {
    specified.DistillationCELoss: _teacher_labels,
    specified.DistillationKLDivLoss: _softened,
    specified.DistillationDMLLoss: _mutual,
    specified.DistillationFeatureLoss: _distance,
}
