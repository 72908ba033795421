"""An optimizer's state by the network's parameter names.

Paddle names it after its automatic names (`conv2d_0.w_0`), which count every layer the process ever made,
and numbers it by the optimizers made before; neither survives a restart. Here a key is
`<name in named_parameters()>.<kind>_0`, for example `fc.weight.velocity_0`.
"""

from __future__ import annotations

from typing import Mapping

import numpy as np
import paddle
from paddle import nn
from paddle.base.layer_helper import LayerHelper
from paddle.optimizer import Optimizer

from ..errors import WeightsError
from ..weights.io import compare_keys


def optimizer_state(optimizer: Optimizer, model: nn.Layer) -> dict[str, np.ndarray]:
    """Return {key: ndarray} with all that further steps depend on but the learning rate.

    The kinds are Momentum's `velocity`, AdamW's `moment1`, `moment2`, `beta1_pow_acc` and `beta2_pow_acc`,
    and `fp32_master`, the float32 copy of a half-precision weight. `model` is the network itself, not its
    DataParallel wrapper.
    """
    return {key: tensor.numpy() for key, tensor in _tensors(optimizer, model).items()}


def load_optimizer_state(optimizer: Optimizer, model: nn.Layer, state: Mapping[str, np.ndarray]) -> None:
    """Put the `state` of `optimizer_state` into `optimizer`, before its first step or later.

    Raises WeightsError: a key is missing, unexpected, or of another shape or type. The optimizer is then as
    it was.
    """
    tensors = _tensors(optimizer, model)
    report = compare_keys(state, {key: tuple(tensor.shape) for key, tensor in tensors.items()})
    dtypes = {key: tensor.numpy().dtype for key, tensor in tensors.items()}
    retyped = [key for key in report.loaded if state[key].dtype != dtypes[key]]
    if not report.fits or retyped:
        problem = (
            f"{retyped[0]} is {state[retyped[0]].dtype} instead of {dtypes[retyped[0]]}"
            if report.fits
            else report
        )
        raise WeightsError(
            f"the optimizer state does not fit {type(optimizer).__name__}: {problem}; resume with the Optimizer "
            "and AMP sections it was saved under, or start from its weights by Global.pretrained_model"
        )
    for key, tensor in tensors.items():
        tensor.set_value(state[key])


def _tensors(optimizer: Optimizer, model: nn.Layer) -> dict[str, paddle.Tensor]:
    """Return {key: tensor} of the optimizer's own tensors, creating those that do not exist yet.

    Paddle creates them in the first step, by the same method.
    """
    parameters = dict(model.named_parameters())
    if optimizer.helper is None:  # Paddle 2.6 needs it and makes it only in the first step
        optimizer.helper = LayerHelper(type(optimizer).__name__)
    optimizer._create_accumulators(
        paddle.static.default_main_program().global_block(),
        [parameter for parameter in parameters.values() if not parameter.stop_gradient],
    )
    names = {parameter.name: name for name, parameter in parameters.items()}
    tensors = {}
    for auto_name, master in optimizer._master_weights.items():
        names[master.name] = names[auto_name]
        tensors[f"{names[auto_name]}.fp32_master_0"] = master
    for kind, by_auto_name in optimizer._accumulators.items():
        for auto_name, tensor in by_auto_name.items():
            tensors[f"{names[auto_name]}.{kind}_0"] = tensor
    return tensors
