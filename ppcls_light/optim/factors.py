"""Factors of the learning rate by stage of a network."""

from __future__ import annotations

import logging

from paddle import nn

from ..config import optim
from ..errors import ConfigError
from ..models.stages import Stages

logger = logging.getLogger(__name__)


def set_factors(lr: optim.LearningRate, model: nn.Layer) -> None:
    """Multiply the learning-rate factors of the parameters of `model`, of `create_model`, as `lr` says; log them.

    With `layer_decay` d the classifier has factor 1, the last of S stages d, the one before d^2, and the stem d^(S + 1)
    (BEiT, arXiv 2106.08254, and timm, by stage); `stage_factors` are those of the stem and of each stage. What comes
    between the last stage and the classifier learns like that stage. `head_factor` is the classifier's. They multiply
    factors that the network has of its own, as PP-LCNet by `lr_mult_list`.

    Raises ConfigError: the network has another number of stages than there are factors.
    """
    stages = Stages(model)
    factors = _factors(lr, stages, model.model_name)
    found: dict[int, float] = {}
    for key, parameter in model.named_parameters():
        number = stages.number(key)
        own = parameter.optimize_attr
        factor = factors[min(number, stages.count) if number != stages.head else -1] * own["learning_rate"]
        parameter.optimize_attr = {**own, "learning_rate": factor}
        found.setdefault(number, factor)
    if any(factor != 1.0 for factor in found.values()):
        names = {0: "stem ", 1: "stages ", stages.neck: "neck ", stages.head: "head "}
        shown = ", ".join(f"{names.get(number, '')}{found[number]:.4g}" for number in sorted(found))
        logger.info("learning rate factors of %s: %s", model.model_name, shown)
    if 0.0 in found.values():
        logger.warning(
            "a learning rate factor of 0 still computes gradients and lets the statistics of batch norms move; "
            "Arch.freeze does neither"
        )


def _factors(lr: optim.LearningRate, stages: Stages, name: str) -> list[float]:
    """Return the factors of the stem, of each stage and of the classifier."""
    head = 1.0 if lr.head_factor is None else lr.head_factor
    if lr.layer_decay is not None:
        return [lr.layer_decay**distance for distance in range(stages.count + 1, 0, -1)] + [head]
    given = lr.stage_factors or [1.0] * (stages.count + 1)
    if len(given) != stages.count + 1:
        raise ConfigError(
            f"{len(given)} factors, but {name} has a stem and {stages.count} stages; give {stages.count + 1}"
        )
    return [*given, head]
