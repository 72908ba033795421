"""The steps of a folded MicroNet for the library without Paddle (`ops.plan`)."""

from __future__ import annotations

from typing import Iterable, Iterator

import numpy as np
from paddle import nn

from ...models.micronet import MicroNet, SwishLinear
from ...ops.plan import AddHeld, Factorized, Hold, Linear, Pointwise, Pool, ShiftMax, Step
from ...ops.plan_header import PlanError
from ...registry import PLANS
from .micronet import ConvShiftMax, FoldedBlock, RotatedShiftMax
from .micronet import ShiftMax as FoldedShiftMax


@PLANS.register("micronet")
def micronet_steps(network: MicroNet) -> list[Step]:
    """Return the steps of a network after `fold_micronet`, up to the logits. Raises PlanError: it is another one."""
    stem, *blocks = network.features
    steps = list(_steps(stem))
    for block in blocks:
        if not isinstance(block, FoldedBlock):
            raise PlanError("a block that is not folded")
        inner = _steps(block.layers)
        steps += [Hold(), *inner, AddHeld()] if block.shortcut else inner
    relu6 = isinstance(network.avgpool[0], nn.ReLU6)
    return [*steps, Pool(relu6), *map(_linear, _of_classifier(network.classifier))]


def _steps(layers: Iterable[nn.Layer]) -> Iterator[Step]:
    rest = list(layers)
    while rest:
        layer = rest.pop(0)
        if isinstance(layer, ConvShiftMax):
            yield _pointwise(layer.conv, False)
            yield _shift_max(layer.act, layer.shift)
        elif isinstance(layer, RotatedShiftMax):
            yield _shift_max(layer.act, layer.shift)
        elif not isinstance(layer, nn.Conv2D):
            raise PlanError(f"{type(layer).__name__} where a convolution is expected")
        elif layer._kernel_size == [1, 1]:
            yield _pointwise(layer, _pop_relu6(rest))
        else:
            row = rest.pop(0)
            yield _factorized(layer, row, _pop_relu6(rest))


def _pop_relu6(rest: list[nn.Layer]) -> bool:
    found = bool(rest) and isinstance(rest[0], nn.ReLU6)
    if found:
        rest.pop(0)
    return found


def _factorized(column: nn.Conv2D, row: nn.Conv2D, relu6: bool) -> Factorized:
    return Factorized(
        *(column.weight.numpy(), column.bias.numpy(), row.weight.numpy(), row.bias.numpy()),
        groups=column._groups,
        stride=(column._stride[0], row._stride[1]),
        padding=(column._padding[0], row._padding[1]),
        relu6=relu6,
    )


def _pointwise(conv: nn.Conv2D, relu6: bool) -> Pointwise:
    """Weights of zero stand outside of the groups."""
    weight = conv.weight.numpy()[:, :, 0, 0]
    outputs, inputs = weight.shape
    dense = np.zeros((outputs, inputs * conv._groups), "float32")
    for output in range(outputs):
        first = output * conv._groups // outputs * inputs
        dense[output, first : first + inputs] = weight[output]
    return Pointwise(dense, conv.bias.numpy(), relu6)


def _shift_max(act: FoldedShiftMax, shift: np.ndarray) -> ShiftMax:
    squeeze, excite = (layer.weight.numpy()[:, :, 0, 0] for layer in (act.squeeze, act.excite))
    biases = act.squeeze.bias.numpy(), act.excite.bias.numpy()
    return ShiftMax(shift, squeeze, biases[0], excite, biases[1], tuple(act.centres))


def _of_classifier(classifier: nn.Layer) -> Iterator[nn.Linear]:
    if not isinstance(classifier, nn.Sequential):
        raise PlanError(f"{type(classifier).__name__} in the place of the classifier")
    for layer in classifier:
        if isinstance(layer, SwishLinear):
            linear, norm, _ = layer.linear
            if not isinstance(norm, nn.Identity):
                raise PlanError("a batch norm that is not folded")
            yield linear
        elif not isinstance(layer, (nn.Dropout, nn.Identity)):
            raise PlanError(f"{type(layer).__name__} in the classifier")


def _linear(layer: nn.Linear) -> Linear:
    return Linear(layer.weight.numpy(), layer.bias.numpy())
