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
from ..models.features import LOGITS

# Logits of one network; or of several by name, or of each its outputs by name, of which "logits" is one.
Outputs = Union[Tensor, Dict[str, Union[Tensor, Dict[str, Tensor]]]]
Loss = Callable[[Outputs, Tensor], Tuple[Tensor, Dict[str, Tensor]]]


def build_loss(
    specs: Iterable[Any],
    student: str | None = None,
    teachers: Iterable[str] = (),
    tag_shares: np.ndarray | None = None,
) -> Loss:
    """Return a function of a batch that sums the losses of `specs`, each times its weight.

    The function takes logits (N, K), or those of several networks by name, and labels, class indices int64
    (N,), -1 for images without a label, or class shares float (N, K) as Mixup and CutMix make them; or tags float
    (N, K): 1, 0, between them where images are mixed, and -1 where not known. It returns
    (total, parts): a scalar tensor, and the scalar tensors by the name of the loss (weighted, so that the parts add
    up) and `loss` (the total). Half-precision logits are computed in float32.

    `specs` are `config.losses.CELoss` and the distillation losses beside it. `student` is the network that `CELoss` is
    about, and whose logits may be given without a name; `teachers` are the others whose logits will be given.
    `tag_shares`, float (K,), are the shares of images that have each tag, for losses with `weight_ratio`.
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
        parts: dict[str, Tensor] = {}
        for spec in specs:
            name = type(spec).__name__
            key = getattr(spec, "key", None)
            if type(spec) in _OF_LABELS:
                networks = getattr(spec, "model_names", [student or ""])
                of_labels = _OF_LABELS[type(spec)]
                value = sum(
                    of_labels(spec, _output(outputs[name], key), labels, tag_shares) for name in networks
                )
            else:
                pairs = [(_learner(spec, *pair), pair[1]) for pair in spec.model_name_pairs]
                value = sum(
                    _OF_A_PAIR[type(spec)](
                        spec, *(_output(outputs[name], key) for name in pair), labels, tag_shares
                    )
                    for pair in pairs
                )
            parts[name] = parts.get(name, 0.0) + spec.weight * value
        total = sum(parts.values())
        return total, {**parts, "loss": total}

    return loss


def _check_names(spec: Any, known: Sequence[str]) -> None:
    pairs = getattr(spec, "model_name_pairs", [])
    names = [*getattr(spec, "model_names", []), *(name for pair in pairs for name in pair)]
    if not names and (hasattr(spec, "model_names") or hasattr(spec, "model_name_pairs")):
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


def _output(outputs: Tensor | dict[str, Tensor], key: str | None) -> Tensor:
    """Return the output `key` of a network, by default its logits, in float32."""
    output = outputs[key or LOGITS] if isinstance(outputs, dict) else outputs
    return output.astype("float32") if output.dtype in (paddle.float16, paddle.bfloat16) else output


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


def multilabel_loss(
    spec: specified.MultiLabelLoss, logits: Tensor, tags: Tensor, shares: np.ndarray | None
) -> Tensor:
    """Binary cross entropy of sigmoid(logits), float (N, K), with tags (N, K); see `config.losses.MultiLabelLoss`.

    The mean is over images and, unless `size_sum`, over all K tags, those that are not known among them.
    """
    known = (tags >= 0).astype(logits.dtype)
    target = tags.clip(min=0).astype(logits.dtype)
    weights = known
    if spec.weight_ratio:
        weights = weights * tag_weights(target, shares)
    if spec.epsilon:
        target = (1.0 - spec.epsilon) * target + spec.epsilon / logits.shape[1]
    losses = F.binary_cross_entropy_with_logits(logits, target, reduction="none") * weights
    return losses.sum(axis=1).mean() if spec.size_sum else losses.mean()


def tag_weights(tags: Tensor, shares: np.ndarray | None) -> Tensor:
    """Return e^(1 - r) where an image has a tag (if mixed, more than half) and e^r where not, r in `shares` (K,)."""
    assert shares is not None
    ratio = paddle.to_tensor(shares, tags.dtype)
    has = (tags > 0.5).astype(tags.dtype)
    return paddle.exp(has * (1.0 - ratio) + (1.0 - has) * ratio)


def asymmetric_loss(
    spec: specified.MultiLabelAsymmetricLoss, logits: Tensor, tags: Tensor, _: np.ndarray | None
) -> Tensor:
    """Asymmetric loss of logits (N, K) with tags (N, K); see `config.losses.MultiLabelAsymmetricLoss`."""
    known, target = (tags >= 0).astype(logits.dtype), tags.clip(min=0).astype(logits.dtype)
    positive = F.sigmoid(logits)
    negative = (1.0 - positive + spec.clip).clip(max=1.0)
    right = positive * target + negative * (1.0 - target)
    # At 0 a root has no gradient; other values of 1 - right are 6e-8 or more in single precision.
    focus = (1.0 - right).clip(min=1e-12) ** (spec.gamma_pos * target + spec.gamma_neg * (1.0 - target))
    if spec.disable_focal_loss_grad:
        focus = focus.detach()
    return getattr(-paddle.log(right.clip(min=spec.epsilon)) * focus * known, spec.reduction)()


def _labelled(spec: specified.CELoss, logits: Tensor, labels: Tensor, _: np.ndarray | None) -> Tensor:
    weights: Any = spec.class_weights  # numbers, see `weigh_classes`
    return cross_entropy(logits, labels, spec.epsilon or 0.0, spec.reduction, weights)


def _each_labelled(
    spec: specified.DistillationGTCELoss, logits: Tensor, labels: Tensor, _: np.ndarray | None
) -> Tensor:
    return cross_entropy(logits, labels, spec.epsilon or 0.0)


def _teacher_labels(spec: specified.DistillationCELoss, learner: Tensor, teacher: Tensor, *_: Any) -> Tensor:
    return cross_entropy(learner, teacher.argmax(axis=1) if spec.hard_label else F.softmax(teacher))


def _softened(spec: specified.DistillationKLDivLoss, learner: Tensor, teacher: Tensor, *_: Any) -> Tensor:
    return kl_divergence(teacher / spec.temperature, learner / spec.temperature) * spec.temperature**2


def _mutual(
    spec: specified.DistillationDMLLoss,
    one: Tensor,
    other: Tensor,
    labels: Tensor,
    shares: np.ndarray | None,
) -> Tensor:
    log = F.log_sigmoid if spec.act == "sigmoid" else F.log_softmax
    log_p, log_q = log(one), log(other)
    # The sum of both divergences: p log(p / q) + q log(q / p).
    terms = (log_p.exp() - log_q.exp()) * (log_p - log_q) / 2
    if spec.weight_ratio:
        terms = terms * tag_weights(labels.clip(min=0), shares) * (labels >= 0).astype(terms.dtype)
    divergence = terms.sum(axis=1).mean()
    return divergence * one.shape[1] if spec.sum_across_class_dim else divergence


def kl_divergence(logits: Tensor, other: Tensor) -> Tensor:
    """Return the mean over the images of KL(softmax(logits) || softmax(other)), both (N, K), in nats."""
    log_p, log_q = F.log_softmax(logits), F.log_softmax(other)
    return (log_p.exp() * (log_p - log_q)).sum(axis=1).mean()


def _learner(spec: Any, first: str, second: str) -> str:
    """Return the name of the outputs that are to come near those of the network `second`."""
    return mapped_name(first, second) if isinstance(spec, specified.DistillationFeatureLoss) else first


def _embedding_distance(
    spec: specified.DistillationFeatureLoss, mapped: Tensor, embeddings: Tensor, *_: Any
) -> Tensor:
    return F.mse_loss(mapped, embeddings)


def _distance(spec: specified.DistillationDistanceLoss, one: Tensor, other: Tensor, *_: Any) -> Tensor:
    if spec.act is not None:
        act = F.sigmoid if spec.act == "sigmoid" else F.softmax
        one, other = act(one), act(other)
    return _DISTANCES[spec.mode](one, other)


_DISTANCES: Dict[str, Callable[..., Tensor]] = {
    "l1": F.l1_loss,
    "l2": F.mse_loss,
    "smooth_l1": F.smooth_l1_loss,
}
_OF_LABELS: Dict[type, Callable[..., Tensor]] = {
    specified.CELoss: _labelled,
    specified.MultiLabelLoss: multilabel_loss,
    specified.MultiLabelAsymmetricLoss: asymmetric_loss,
    specified.DistillationGTCELoss: _each_labelled,
    specified.DistillationMultiLabelLoss: multilabel_loss,
}
_OF_A_PAIR: Dict[type, Callable[..., Tensor]] = {
    specified.DistillationCELoss: _teacher_labels,
    specified.DistillationKLDivLoss: _softened,
    specified.DistillationDMLLoss: _mutual,
    specified.DistillationDistanceLoss: _distance,
    specified.DistillationFeatureLoss: _embedding_distance,
}
