"""Folding of MicroNet: channel shuffles moved into the weights, and fewer and faster operators."""

from __future__ import annotations

from typing import Iterator

import numpy as np
import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F

from ...models.micronet import (
    ACT_MAX,
    ChannelShuffle,
    DYShiftMax,
    FactorizedConv,
    GroupConv,
    MicroBlock,
    MicroNet,
)
from ...registry import FOLDS
from .norms import convolution, fold_batch_norms


@FOLDS.register("micronet")
def fold_micronet(model: nn.Layer) -> None:
    """Rewrite every MicroNet in `model`; its batch norms are folded first.

    A 1x1 convolution in groups becomes a dense one, which takes its input and gives its output in any order
    of channels, so it absorbs the shuffles on both sides; of 8 to 12 groups it is faster, too, because
    engines have no good kernel for groups of a few channels. An expanding one with ReLU6 (MicroNet_M3)
    keeps its groups: their order suits the layers after it, and OpenVINO and ONNX Runtime take a tenth less
    time. Blocks pass the published order on to each other.

    Inside a block the channels that a depthwise convolution works on are in the order of `rotation_order`, after
    kept groups in that of `group_order`.
    """
    for network in model.sublayers(include_self=True):
        if isinstance(network, MicroNet):
            fold_batch_norms(network)
            stem, *blocks = network.features
            factorized, shuffle, act = stem.stem
            network.features[0] = nn.Sequential(*_fold_factorized(factorized, shuffle.index.numpy()), act)
            for i, block in enumerate(blocks, 1):
                network.features[i] = FoldedBlock(block)


class FoldedBlock(nn.Layer):
    """A `MicroBlock` without shuffles; (N, C, H, W), channels in the published order at both ends."""

    def __init__(self, block: MicroBlock) -> None:
        super().__init__()
        self.shortcut = block.shortcut
        self.layers = nn.Sequential(*_fold_layers(list(block.layers)))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.shortcut else self.layers(x)


def _fold_layers(layers: list[nn.Layer]) -> Iterator[nn.Layer]:
    """Yield the layers that replace a block's: convolution, activation and shuffle are one stage of it."""
    stages = _stages(layers)
    # order[i] is the channel of the published network that channel i is here; None: i itself
    order: np.ndarray | None = None
    for i, (conv, act, shuffle) in enumerate(stages):
        if isinstance(conv, GroupConv) and i == 0 and isinstance(act, nn.ReLU6):
            rows = group_order(conv.conv[0])
            yield _with_outputs(conv.conv[0], rows, conv.conv[0]._groups)
            order = np.argsort(shuffle)[rows]
        elif isinstance(conv, GroupConv):
            weight, bias = _dense(conv.conv[0])
            if order is not None:
                weight = weight[:, order]
            rows, order = shuffle, None
            if i + 1 < len(stages):  # a depthwise convolution is next
                order = rotation_order(stages[i + 1][1].shift.numpy())
                rows = shuffle[order]
            if isinstance(act, DYShiftMax):
                plain, shifted = (
                    _pointwise(weight[picked], bias[picked]) for picked in (rows, act.shift.numpy()[rows])
                )
                yield ConvShiftMax(plain, shifted, ShiftMax(act, rows), _shift(act, rows))
                continue
            yield _pointwise(weight[rows], bias[rows])
        else:
            if order is None:
                shifted = isinstance(act, DYShiftMax)
                order = rotation_order(act.shift.numpy()) if shifted else np.arange(len(shuffle))
            rows = order
            yield from _fold_factorized(conv, rows)
            # The next convolution's input j is the published output shuffle[j], which is here where rows has it.
            order = np.argsort(np.argsort(rows)[shuffle])
            if isinstance(act, DYShiftMax):
                yield RotatedShiftMax(act, rows)
                continue
        if act is not None:
            yield act


def _stages(layers: list[nn.Layer]) -> list[list]:
    """Return a block's layers as (convolution, DYShiftMax or ReLU6 or None, permutation of its output)."""
    stages: list[list] = []
    for layer in layers:
        if isinstance(layer, ChannelShuffle):
            stages[-1][2] = layer.index.numpy()
        elif isinstance(layer, (DYShiftMax, nn.ReLU6)):
            stages[-1][1] = layer
        elif not isinstance(layer, nn.Identity):
            channels = layer.conv[-2]._out_channels  # the last is what was a batch norm
            stages.append([layer, None, np.arange(channels)])
    return stages


def rotation_order(shift: np.ndarray) -> np.ndarray:
    """Return the channels in an order in which `shift` moves all of them by the same number of places.

    `shift[c]` is the channel that c is fused with. A DYShiftMax's shift goes one group and one place on, so it
    falls into cycles of one length; in this order first come the first ones of all cycles, then the second.
    """
    cycles, seen = [], set()
    for start in range(len(shift)):
        if start not in seen:
            cycle = [start]
            while shift[cycle[-1]] != start:
                cycle.append(int(shift[cycle[-1]]))
            seen.update(cycle)
            cycles.append(cycle)
    return np.array(cycles).T.ravel()


def group_order(conv: nn.Conv2D) -> np.ndarray:
    """Return the outputs of a 1x1 convolution in groups, group by group, each turned one place more than the last.

    The shift of the Dynamic Shift-Max behind the shuffle is here one group and one place on. In this order it keeps
    the place; only from the last group back to the first do the places turn, by the number of groups.
    """
    places = np.arange(conv._out_channels // conv._groups)
    return np.concatenate([group * len(places) + np.roll(places, -group) for group in range(conv._groups)])


class ShiftMax(nn.Layer):
    """The activation of a `DYShiftMax` on x and its shifted x, both (N, C, H, W), in the order `rows`.

    Slope and offset of the hard sigmoid and the factor of its range are folded into the second layer:
    lowest + 4 hardsigmoid(v) = clip(2/3 v, -2, 2) + lowest + 2, of which the last two are one number for each
    coefficient. The two linear layers are 1x1 convolutions, which need no change of shape around them. The
    larger of two fusions p and q is p + relu(q - p): a maximum would leave oneDNN and its layout.
    """

    def __init__(self, dy: DYShiftMax, rows: np.ndarray) -> None:
        super().__init__()
        first, _, second, _ = dy.fc
        picked = np.concatenate([k * len(rows) + rows for k in range(dy.count)])
        slope = np.float32(2 * ACT_MAX / 6)
        self.squeeze = _pointwise(first.weight.numpy()[rows].T, first.bias.numpy())
        self.excite = _pointwise(second.weight.numpy().T[picked] * slope, second.bias.numpy()[picked] * slope)
        self.centres = (dy.lowest.numpy().reshape(dy.count, -1)[:, 0] + ACT_MAX).tolist()

    def forward(self, x: Tensor, shifted: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool2d(x, 1)
        ranged = paddle.clip(self.excite(F.relu(self.squeeze(pooled))), -ACT_MAX, ACT_MAX)
        ranged, centres = paddle.split(ranged, len(self.centres), axis=1), self.centres
        a_0, a_1 = (_plus(one, centre) for one, centre in zip(ranged[:2], centres[:2]))
        fusion = a_0 * x + a_1 * shifted
        if len(ranged) == 2:
            return fusion
        d_0, d_1 = (_plus(ranged[j + 2] - ranged[j], centres[j + 2] - centres[j]) for j in (0, 1))
        return fusion + F.relu(d_0 * x + d_1 * shifted)


def _plus(x: Tensor, number: float) -> Tensor:
    return x + number if number else x


class ConvShiftMax(nn.Layer):
    """A 1x1 convolution and its ShiftMax; the shifted operand is the convolution with its rows permuted."""

    def __init__(self, conv: nn.Conv2D, shifted_conv: nn.Conv2D, act: ShiftMax, shift: np.ndarray) -> None:
        super().__init__()
        self.conv, self.shifted_conv, self.act, self.shift = conv, shifted_conv, act, shift

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.conv(x), self.shifted_conv(x))


class RotatedShiftMax(nn.Layer):
    """A `DYShiftMax` whose shifted operand is the input cut in two or three parts, in reverse order.

    Two in `rotation_order`; in `group_order` the first group may be cut in two.
    """

    def __init__(self, dy: DYShiftMax, rows: np.ndarray) -> None:
        super().__init__()
        self.shift = _shift(dy, rows)
        ends = np.flatnonzero(np.diff(self.shift) != 1) + 1
        self.parts = [len(part) for part in np.split(self.shift, ends)][::-1]
        self.act = ShiftMax(dy, rows)

    def forward(self, x: Tensor) -> Tensor:
        parts = paddle.split(x, self.parts, axis=1)
        return self.act(x, paddle.concat(parts[::-1], axis=1))


def _shift(dy: DYShiftMax, rows: np.ndarray) -> np.ndarray:
    """Return, for channels in the order `rows`, the place of the channel that each is fused with."""
    return np.argsort(rows)[dy.shift.numpy()[rows]]


def _fold_factorized(factorized: FactorizedConv, rows: np.ndarray) -> list[nn.Conv2D]:
    """Return the kx1 and the 1xk convolution with the outputs `rows`.

    Each output gets a kx1 output of its own, so that the 1xk convolution is depthwise in any order. A grouped
    kx1 convolution needs the outputs of one input together, which `rotation_order` gives.
    """
    column, _, row, _ = factorized.conv
    middle = rows // (row._out_channels // row._in_channels)
    return [_with_outputs(column, middle, column._groups), _with_outputs(row, rows, len(rows))]


def _with_outputs(conv: nn.Conv2D, rows: np.ndarray, groups: int) -> nn.Conv2D:
    """Return a convolution with the outputs `rows` of `conv`, of which each group's are beside each other."""
    weight, bias = conv.weight.numpy()[rows], conv.bias.numpy()[rows]
    return convolution(weight, bias, conv._stride, conv._padding, groups)


def _dense(conv: nn.Conv2D) -> tuple[np.ndarray, np.ndarray]:
    """Return weight (out, in) and bias (out) of a 1x1 convolution in groups as those of one without."""
    weight = conv.weight.numpy()[:, :, 0, 0]
    blocks = np.kron(
        np.eye(conv._groups, dtype="float32"), np.ones((len(weight) // conv._groups, 1), "float32")
    )
    return np.einsum("og,oi->ogi", blocks, weight).reshape(len(weight), -1), conv.bias.numpy()


def _pointwise(weight: np.ndarray, bias: np.ndarray) -> nn.Conv2D:
    return convolution(weight[:, :, None, None], bias)
