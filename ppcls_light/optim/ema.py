"""Moving average of a network's weights over the updates (Polyak and Juditsky, 1992).

Averaged are all floats of the state dict, batch-norm means and variances with them, as timm's and PaddleClas'
EMA do: statistics of the averaged network itself would need another pass over the data.
"""

from __future__ import annotations

import copy

import paddle
from paddle import nn
from paddle.optimizer import Optimizer


def ema_decay(decay: float, update: int) -> float:
    """Return the decay of update number `update`, from 0: min(decay, (1 + update) / (10 + update)).

    The early bound keeps random initial weights from lasting (TensorFlow's ExponentialMovingAverage with
    `num_updates`).
    """
    return min(decay, (1 + update) / (10 + update))


class ExponentialMovingAverage:
    """Average of a network's weights, itself a network in eval mode (`model`), in float32.

    It begins with the network as it is before `paddle.amp.decorate` makes its weights half precision. `decay` is the
    share of the average that is kept at each update, once `ema_decay` allows it.
    """

    def __init__(self, model: nn.Layer, decay: float) -> None:
        self.decay = decay
        self.model = copy.deepcopy(model)
        self.model.eval()

    @paddle.no_grad()
    def update(self, model: nn.Layer, optimizer: Optimizer, number: int) -> None:
        """Take in the weights of `model` after update `number`; float32 masters of the optimizer come first."""
        rate = 1.0 - ema_decay(self.decay, number)
        masters = optimizer._master_weights
        latest = model.state_dict()
        for key, average in self.model.state_dict().items():
            value = masters.get(latest[key].name, latest[key])
            if paddle.is_floating_point(average):
                average.lerp_(value.astype("float32"), rate)
            else:
                paddle.assign(value, average)
