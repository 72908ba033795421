"""MicroNet: Improving Image Recognition with Extremely Low FLOPs (Li et al., ICCV 2021, arXiv 2108.05894).

Code by the authors: liyunsheng13/micronet, backbone/{micronet,activation,microconfig}.py, MIT.
State-dict keys are theirs and PaddleClas'. Their code cuts the network at other places than the paper: a
pointwise convolution is W = P Phi Q^T, groups Q compressing, a shuffle Phi, groups P expanding (section 3),
and their blocks end after Phi, so that the paper's Micro-Block-B is the depthwise convolution and Q of one
block and the P of the next. What differs: shuffles that follow one another are one permutation, and the
stem's max pooling over channel groups, which none of the four variants reaches, is left out.
"""

from __future__ import annotations

from functools import partial, reduce
from typing import Iterator, List, Literal, NamedTuple, Sequence, Tuple, Union

import numpy as np
import paddle
from paddle import Tensor, nn
from paddle.nn.initializer import Normal

from ..config.types import PositiveInt, Probability
from ..ops import training as cpu_ops
from ..weights.convert import AUTHORS, PADDLECLAS, head_options
from .family import Family
from .layers import Conv2D, make_divisible

ACT_MAX = 2.0  # a coefficient stays within this distance of its initial value
REDUCTION = 8  # channels over hidden units of a DYShiftMax, times a block's ratio

MOST_POSITIONS_WITHOUT_GROUPS = 64  # measured, see GroupConv

_IDENTITY = nn.Identity()
Init = Sequence[Tuple[float, float]]  # (a_0, a_1) for each k


class Block(NamedTuple):
    """A row of a variant's table.

    `fusions` is the K of the DYShiftMax after the expanding, the depthwise and the compressing convolution,
    0 where there is none.
    """

    kind: str  # a key of `_BLOCKS`
    stride: int
    out_channels: int
    kernel_size: int  # k of the depthwise convolution
    expansion: int  # hidden channels over input channels
    groups: int  # G of the hidden channels
    out_groups: int  # G of the compressing convolution
    fusions: Tuple[int, int, int]
    ratio: int  # multiplies REDUCTION


class Layout(NamedTuple):
    """Stem and blocks of a variant, and the first (a_0, a_1) of each k in its DYShiftMax."""

    stem: Tuple[int, int]  # channels of the 3x1 convolution, and 1x3 outputs of each
    init: Init
    blocks: Tuple[Block, ...]


LAYOUTS = {
    "M0": Layout(
        stem=(2, 2),
        init=((1.0, 0.0), (1.0, 0.0)),
        blocks=(
            Block("lite", 2, 8, 3, 4, 4, 2, (0, 0, 1), 1),
            Block("lite", 2, 12, 3, 4, 8, 4, (0, 2, 1), 1),
            Block("lite", 2, 16, 5, 4, 12, 4, (0, 2, 1), 1),
            Block("regular", 1, 32, 5, 4, 4, 4, (2, 2, 1), 1),
            Block("regular", 2, 64, 5, 4, 8, 8, (2, 2, 1), 1),
            Block("regular", 1, 96, 3, 4, 8, 8, (2, 2, 1), 2),
            Block("expand", 1, 384, 1, 4, 12, 0, (1, 0, 0), 2),
        ),
    ),
    "M1": Layout(
        stem=(3, 2),
        init=((1.0, 0.0), (1.0, 0.0)),
        blocks=(
            Block("lite", 2, 8, 3, 4, 6, 2, (0, 0, 1), 1),
            Block("lite", 2, 16, 3, 4, 8, 4, (0, 2, 1), 1),
            Block("lite", 2, 16, 5, 4, 16, 4, (0, 2, 1), 1),
            Block("regular", 1, 32, 5, 6, 4, 4, (2, 2, 1), 1),
            Block("regular", 2, 64, 5, 6, 8, 8, (2, 2, 1), 1),
            Block("regular", 1, 96, 3, 6, 8, 8, (2, 2, 1), 2),
            Block("expand", 1, 576, 1, 6, 12, 0, (1, 0, 0), 2),
        ),
    ),
    "M2": Layout(
        stem=(4, 2),
        init=((1.0, 0.0), (1.0, 0.0)),
        blocks=(
            Block("lite", 2, 12, 3, 4, 8, 4, (0, 0, 1), 1),
            Block("lite", 2, 16, 3, 4, 12, 4, (0, 2, 1), 1),
            Block("lite", 1, 24, 3, 4, 16, 4, (0, 2, 1), 1),
            Block("regular", 2, 32, 5, 6, 6, 4, (2, 2, 1), 1),
            Block("regular", 1, 32, 5, 6, 8, 4, (2, 2, 1), 2),
            Block("regular", 1, 64, 5, 6, 8, 8, (2, 2, 1), 2),
            Block("regular", 2, 96, 5, 6, 8, 8, (2, 2, 1), 2),
            Block("regular", 1, 128, 3, 6, 12, 8, (2, 2, 1), 2),
            Block("expand", 1, 768, 1, 6, 16, 0, (1, 0, 0), 2),
        ),
    ),
    "M3": Layout(
        stem=(4, 3),
        init=((1.0, 0.0), (0.5, 0.5)),
        blocks=(
            Block("lite", 2, 16, 3, 4, 12, 4, (0, 2, 0), 1),
            Block("lite", 2, 24, 3, 4, 16, 4, (0, 2, 0), 1),
            Block("lite", 1, 24, 3, 4, 24, 4, (0, 2, 0), 1),
            Block("regular", 2, 32, 5, 6, 6, 4, (0, 2, 0), 1),
            Block("regular", 1, 32, 5, 6, 8, 4, (0, 2, 0), 2),
            Block("regular", 1, 64, 5, 6, 8, 8, (0, 2, 0), 2),
            Block("regular", 1, 80, 5, 6, 8, 8, (0, 2, 0), 2),
            Block("regular", 1, 80, 5, 6, 10, 8, (0, 2, 0), 2),
            Block("regular", 2, 120, 5, 6, 10, 10, (0, 2, 0), 2),
            Block("regular", 1, 120, 5, 6, 12, 10, (0, 2, 0), 2),
            Block("regular", 1, 144, 3, 6, 12, 12, (0, 2, 0), 2),
            Block("expand", 1, 864, 1, 6, 12, 0, (0, 0, 0), 2),
        ),
    ),
}


class ChannelShuffle(nn.Layer):
    """Permute channels so that each group of the output has one of every group of the input; (N, C, H, W).

    It is Phi of the paper's section 3.1, from ShuffleNet (arXiv 1707.01083): channels in G rows are read
    column by column. With several `groups` one such shuffle follows the other. The permutation is a table
    that is not saved.
    """

    def __init__(self, channels: int, *groups: int) -> None:
        super().__init__()
        index = np.arange(channels)
        for count in groups:
            index = index.reshape(count, -1).T.ravel()
        self.register_buffer("index", paddle.to_tensor(index), persistable=False)

    def forward(self, x: Tensor) -> Tensor:
        return paddle.index_select(x, self.index, axis=1)


class DYShiftMax(nn.Layer):
    """Dynamic Shift-Max: the maximum over K fusions of the input with itself, shifted by a channel group.

        y_i = max over k of  a^k_{i,0}(x) x_i + a^k_{i,1}(x) x_s(i)

    The coefficients come from the pooled input through two linear layers and a hard sigmoid, moved to `init` +-
    ACT_MAX, K pairs (a_0, a_1). Channel c of group g is paired with channel c + 1 of group g + 1, both modulo their
    number: the paper's equation shifts by a whole group, its code by one channel more. Input and output (N, channels,
    H, W). The hidden units are channels / `reduction`, rounded to a multiple of 4. Source: section 4, with J = 2
    shifts (0 and 1).
    """

    def __init__(
        self, channels: int, groups: int, reduction: int = REDUCTION, init: Init = ((1.0, 0.0), (1.0, 0.0))
    ) -> None:
        super().__init__()
        squeezed = make_divisible(channels // reduction, 4)
        self.count = 2 * len(init)
        self.fc = nn.Sequential(
            nn.Linear(channels, squeezed),
            nn.ReLU(),
            nn.Linear(squeezed, self.count * channels),
            nn.Hardsigmoid(),
        )
        shift = np.roll(np.arange(channels).reshape(groups, -1), (-1, -1), axis=(0, 1)).ravel()
        lowest: np.ndarray = np.repeat(np.float32(init).ravel() - np.float32(ACT_MAX), channels)
        self.register_buffer("shift", paddle.to_tensor(shift), persistable=False)
        self.register_buffer("lowest", paddle.to_tensor(lowest), persistable=False)

    def forward(self, x: Tensor) -> Tensor:
        linear = all(
            type(layer) is nn.Linear for layer in (self.fc[0], self.fc[2])
        )  # and not a quantized one
        if self.training and linear and cpu_ops.serves(x):
            return cpu_ops.shift_max(x, self.shift, self.lowest, 2 * ACT_MAX, self.fc)
        channels, height, width = x.shape[1:]
        x = x.flatten(2)  # oneDNN takes three times as long to scale the channels of (N, C, H, W)
        # The mean as a product: in float32 the CPU's pooling and its sum over one axis lose a digit.
        average = paddle.full([height * width, 1], 1 / (height * width), x.dtype)
        pooled = paddle.matmul(x, average).squeeze(2)
        coefficients = self.fc(pooled) * (2 * ACT_MAX) + self.lowest
        coefficients = paddle.split(coefficients.unsqueeze(2), self.count, axis=1)
        shifted = paddle.index_select(x, self.shift, axis=1)
        fusions = [a_0 * x + a_1 * shifted for a_0, a_1 in zip(coefficients[::2], coefficients[1::2])]
        return reduce(paddle.maximum, fusions).reshape([-1, channels, height, width])


class FactorizedConv(nn.Sequential):
    """A kxk convolution of rank one: kx1, batch norm, 1xk, batch norm (section 3.2).

    (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride). The 1xk convolution is depthwise,
    and so is the kx1 one when `groups` is `in_channels`.
    """

    def __init__(
        self, in_channels: int, middle: int, out_channels: int, kernel_size: int, stride: int, groups: int
    ) -> None:
        k, padding = kernel_size, kernel_size // 2
        column = {"stride": (stride, 1), "padding": (padding, 0), "groups": groups}
        row = {"stride": (1, stride), "padding": (0, padding), "groups": middle}
        conv = nn.Sequential(
            Conv2D(in_channels, middle, (k, 1), bias_attr=False, **column),
            nn.BatchNorm2D(middle),
            Conv2D(middle, out_channels, (1, k), bias_attr=False, **row),
            nn.BatchNorm2D(out_channels),
        )
        super().__init__(("conv", conv))

    def forward(self, x: Tensor) -> Tensor:
        for conv, norm in zip(*[iter(self.conv)] * 2):
            x = cpu_ops.norm_act(norm, _IDENTITY, conv(x))
        return x


class GroupConv(nn.Sequential):
    """1x1 convolution in groups, batch norm: P or Q of a micro-factorized pointwise convolution.

    In training on CPU a convolution of small maps without groups, and zeros in the weights, is faster.
    """

    def __init__(self, in_channels: int, out_channels: int, groups: int) -> None:
        conv = nn.Conv2D(in_channels, out_channels, 1, groups=groups, bias_attr=False)
        super().__init__(("conv", nn.Sequential(conv, nn.BatchNorm2D(out_channels))))
        group = np.arange(groups)
        same = np.repeat(group, out_channels // groups)[:, None] == np.repeat(group, in_channels // groups)
        self.register_buffer("same_group", paddle.to_tensor(same.astype("float32")), persistable=False)

    def forward(self, x: Tensor) -> Tensor:
        conv, norm = self.conv
        if self.training and type(conv) is nn.Conv2D and _is_small(x) and cpu_ops.serves(x):
            weight = conv.weight.flatten(1).tile([1, conv._groups]) * self.same_group
            x = cpu_ops.conv(x, weight.unsqueeze([2, 3]))
        else:
            x = conv(x)
        return cpu_ops.norm_act(norm, _IDENTITY, x)


def _is_small(x: Tensor) -> bool:
    return x.shape[2] * x.shape[3] <= MOST_POSITIONS_WITHOUT_GROUPS


def _lite(in_channels: int, block: Block, init: Init) -> list[nn.Layer]:
    """Return the layers of a lite combination, Micro-Block-A: depthwise and expanding, Phi, Q, Phi."""
    hidden, (_, k, _) = in_channels * block.expansion, block.fusions
    return [
        FactorizedConv(in_channels, hidden // 2, hidden, block.kernel_size, block.stride, in_channels),
        DYShiftMax(hidden, block.groups, REDUCTION * block.ratio, init[:k]) if k else nn.ReLU6(),
        ChannelShuffle(hidden, block.groups, *[hidden // 2] * (k > 0)),
        nn.Identity(),  # the authors' second shuffle: it holds the number of the keys that follow
        *_compress(hidden, block, init),
    ]


def _regular(in_channels: int, block: Block, init: Init) -> list[nn.Layer]:
    """Return the layers of a regular combination, Micro-Block-C: P, Phi, depthwise, Phi, Q, Phi."""
    hidden, (k_expand, k_depthwise, _) = in_channels * block.expansion, block.fusions
    # The first shuffle has transposed the channels: a group's are now `groups` apart.
    groups, reduction = hidden // block.groups, REDUCTION * block.ratio
    return [
        GroupConv(in_channels, hidden, block.groups),
        DYShiftMax(hidden, block.groups, reduction, init[:k_expand]) if k_expand else nn.ReLU6(),
        ChannelShuffle(hidden, block.groups),
        FactorizedConv(hidden, hidden, hidden, block.kernel_size, block.stride, hidden),
        nn.Identity(),  # as in the authors' code, for the number of the keys that follow
        DYShiftMax(hidden, groups, reduction, init[:k_depthwise]),
        ChannelShuffle(hidden, hidden // 4 if k_expand else hidden // 2),
        *_compress(hidden, block, init),
    ]


def _compress(hidden: int, block: Block, init: Init) -> list[nn.Layer]:
    channels, groups, k = block.out_channels, block.out_groups, block.fusions[2]
    return [
        GroupConv(hidden, channels, groups),
        DYShiftMax(channels, groups, REDUCTION * block.ratio // 2, init[:k]) if k else nn.Identity(),
        ChannelShuffle(channels, groups, *[channels // 2] * (k > 0)),
    ]


def _expand(in_channels: int, block: Block, init: Init) -> list[nn.Layer]:
    """Return the layers of the last block, P alone."""
    k, channels = block.fusions[0], block.out_channels
    return [
        GroupConv(in_channels, channels, block.groups),
        DYShiftMax(channels, block.groups, REDUCTION * block.ratio, init[:k]) if k else nn.Identity(),
    ]


_BLOCKS = {"lite": _lite, "regular": _regular, "expand": _expand}


class MicroBlock(nn.Layer):
    """One `Block`, with a shortcut where input and output have the same shape; (N, C, H, W)."""

    def __init__(self, in_channels: int, block: Block, init: Init) -> None:
        super().__init__()
        self.layers = nn.Sequential(*_BLOCKS[block.kind](in_channels, block, init))
        self.shortcut = block.stride == 1 and block.out_channels == in_channels

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.shortcut else self.layers(x)


class Stem(nn.Sequential):
    """(N, 3, H, W) to (N, channels * multiplier, H / 2, W / 2): 3x1, 1x3, shuffle, ReLU6."""

    def __init__(self, channels: int, multiplier: int) -> None:
        width = channels * multiplier
        conv = FactorizedConv(3, channels, width, 3, stride=2, groups=1)
        super().__init__(("stem", nn.Sequential(conv, ChannelShuffle(width, channels), nn.ReLU6())))


class SwishLinear(nn.Sequential):
    """Linear layer, batch norm, Hardswish; (N, in_features) to (N, out_features)."""

    def __init__(self, in_features: int, out_features: int) -> None:
        linear, norm = nn.Linear(in_features, out_features), nn.BatchNorm1D(out_features)
        super().__init__(("linear", nn.Sequential(linear, norm, nn.Hardswish())))


class MicroNet(nn.Layer):
    """MicroNet.

    Input (N, 3, H, W); output logits (N, class_num), or with `features_only` the list of the maps at strides
    4, 8, 16, 32, each from the last block of its resolution. The logits have passed batch norm and Hardswish
    as the authors' have, so none is below -0.375.

    Args:
        layout: of stem and blocks, a key of `LAYOUTS`.
        feature_dim: width of the hidden layer between pooling and classifier.
        dropout_rate: of that hidden layer.

    Attributes: see `family.Family`; `head_keys` include those of the classifier's batch norm.
    """

    def __init__(
        self,
        layout: Literal["M0", "M1", "M2", "M3"] = "M0",
        class_num: PositiveInt = 1000,
        feature_dim: PositiveInt = 640,
        dropout_rate: Probability = 0.05,
        features_only: bool = False,
    ) -> None:
        super().__init__()
        stem, init, blocks = LAYOUTS[layout]
        width = stem[0] * stem[1]
        self.features = nn.Sequential(Stem(*stem))
        for i, block in enumerate(blocks, 1):
            self.features.add_sublayer(str(i), MicroBlock(width, block, init))
            width = block.out_channels
        next_strides = [block.stride for block in blocks[1:]] + [2]
        self._ends = [i for i, stride in enumerate(next_strides, 1) if stride == 2]
        self.feature_channels = [blocks[i - 1].out_channels for i in self._ends]
        self.feature_strides = [4, 8, 16, 32]
        self.features_only = features_only
        self.spare_prefixes = ("classifier.",) if features_only else ()
        if not features_only:
            self.avgpool = nn.Sequential(nn.ReLU6(), nn.AdaptiveAvgPool2D(1), nn.Hardswish(), nn.Flatten())
            self.classifier = nn.Sequential(
                SwishLinear(width, feature_dim), nn.Dropout(dropout_rate), SwishLinear(feature_dim, class_num)
            )
        self.head_keys = tuple(key for key in self.state_dict() if key.startswith("classifier.2."))
        self._initialise()

    def _initialise(self) -> None:
        for layer in self.sublayers():
            if isinstance(layer, nn.Conv2D):
                out_channels, _, *kernel = layer.weight.shape
                Normal(std=(2 / (out_channels * np.prod(kernel))) ** 0.5)(layer.weight)
            elif isinstance(layer, nn.Linear):
                Normal(std=0.01)(layer.weight)

    def stage_prefixes(self) -> Iterator[Tuple[str, ...]]:
        """Yield the beginnings of the keys of the blocks of each resolution."""
        for begin, end in zip([0, *self._ends], self._ends):
            yield tuple(f"features.{i}." for i in range(begin + 1, end + 1))

    @property
    def finer_map(self) -> str:
        """Name of the last block before the map is halved for the last time."""
        return f"features.{self._ends[-2]}"

    def forward(self, x: Tensor) -> Union[Tensor, List[Tensor]]:
        features = []
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in self._ends:
                features.append(x)
        return features if self.features_only else self.classifier(self.avgpool(x))


FAMILY = Family(
    MicroNet,
    weight_names=(PADDLECLAS, AUTHORS),
    weight_options=partial(head_options, bias="classifier.2.linear.0.bias"),
    stages=lambda model: (("features.0.",), *model.stage_prefixes()),
    # The ReLU6 after the last block: its output is what is pooled. The classifier ends in Hardswish, which is constant
    # below -3, so that a class that is far from being there has no gradient, and a map of zeros.
    last_map=lambda model: "avgpool.0",
    finer_map=lambda model: model.finer_map,
    folds=("micronet",),
    plan="micronet",
)

# Top-1: liyunsheng13/micronet, README.md; +-0.5 between runs by their account (issue 28).
FAMILY.add("MicroNet_M0", 46.6, layout="M0", feature_dim=640, dropout_rate=0.05)
FAMILY.add("MicroNet_M1", 51.4, layout="M1", feature_dim=960, dropout_rate=0.05)
FAMILY.add("MicroNet_M2", 59.4, layout="M2", feature_dim=1024, dropout_rate=0.1)
FAMILY.add("MicroNet_M3", 62.5, layout="M3", feature_dim=1024, dropout_rate=0.1)
