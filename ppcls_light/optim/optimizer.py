"""A Paddle optimizer from the config's `Optimizer` section."""

from __future__ import annotations

import logging
from typing import Any

import paddle
from paddle import nn
from paddle.optimizer import Optimizer
from paddle.regularizer import L1Decay, L2Decay

from ..config import optim

logger = logging.getLogger(__name__)


def build_optimizer(config: optim.Optimizer, model: nn.Layer) -> Optimizer:
    """Return the optimizer of all parameters of `model`, the network itself: its DataParallel wrapper has other names.

    Its learning rate is a plain float, set by the caller before each step (`optimizer.set_lr`); a parameter's
    own factor (`ParamAttr(learning_rate=...)`, `factors.set_factors`) multiplies it. Gradients are clipped first; then:

    AdamW: decay is decoupled (Loshchilov and Hutter, arXiv 1711.05101) and applies to every parameter.
    All others: the penalty's gradient is added, but a parameter with a regularizer of its own keeps that.

    `no_weight_decay_name` (parts of names in `model.named_parameters()`) and `one_dim_param_no_weight_decay`
    exempt parameters under all of them, by the parameters' `regularizer` attribute except for AdamW.
    Parameter groups are not used: Paddle clips each group by its own norm and drops the
    parameters' learning rate factors.
    """
    exempt = _exempt_from_decay(config, model)
    common: dict[str, Any] = {
        "learning_rate": float(config.lr.learning_rate),
        "parameters": model.parameters(),
        "grad_clip": _gradient_clip(config),
    }
    if isinstance(config, optim.AdamW):
        exempt_names = {parameter.name for parameter in exempt}
        return paddle.optimizer.AdamW(
            beta1=config.beta1,
            beta2=config.beta2,
            epsilon=config.epsilon,
            weight_decay=config.weight_decay,
            apply_decay_param_fun=lambda name: name not in exempt_names,
            multi_precision=config.multi_precision,
            **common,
        )
    common["weight_decay"] = _penalty(config)
    for parameter in exempt:
        parameter.regularizer = L2Decay(0.0)
    if isinstance(config, optim.RMSProp):
        optimizer = paddle.optimizer.RMSProp(
            rho=config.rho, epsilon=config.epsilon, momentum=config.momentum, **common
        )
        optimizer._multi_precision = config.multi_precision  # Paddle's constructor forgot it
        return optimizer
    common["multi_precision"] = config.multi_precision
    if isinstance(config, optim.Momentum):
        return paddle.optimizer.Momentum(momentum=config.momentum, use_nesterov=config.use_nesterov, **common)
    if isinstance(config, optim.Adam):
        return paddle.optimizer.Adam(beta1=config.beta1, beta2=config.beta2, epsilon=config.epsilon, **common)
    return paddle.optimizer.SGD(**common)


def _gradient_clip(config: optim.Optimizer) -> Any:
    if config.clip_grad is not None:
        return paddle.nn.ClipGradByGlobalNorm(config.clip_grad)
    if config.clip_norm is not None:
        return paddle.nn.ClipGradByNorm(config.clip_norm)
    if config.clip_value is not None:
        return paddle.nn.ClipGradByValue(config.clip_value)
    return None


def _penalty(config: optim.Momentum | optim.SGD | optim.Adam | optim.RMSProp) -> L1Decay | L2Decay | None:
    if config.regularizer is not None:
        kind = L1Decay if config.regularizer.name.startswith("L1") else L2Decay
        return kind(config.regularizer.coeff)
    return None if config.weight_decay is None else L2Decay(config.weight_decay)


def _exempt_from_decay(config: optim.Optimizer, model: nn.Layer) -> list[paddle.Tensor]:
    parts = (config.no_weight_decay_name or "").split()
    named = dict(model.named_parameters())
    for part in parts:
        if not any(part in name for name in named):
            logger.warning("Optimizer.no_weight_decay_name: no parameter's name contains '%s'", part)
    return [
        parameter
        for name, parameter in named.items()
        if any(part in name for part in parts)
        or (config.one_dim_param_no_weight_decay and len(parameter.shape) == 1)
    ]
