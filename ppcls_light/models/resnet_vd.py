"""ResNet-D, variant "vd": Bag of Tricks for Image Classification (He et al., 2018, arXiv 1812.01187).

ResNet (arXiv 1512.03385) with a stem of three 3x3 convolutions and, where a shortcut halves the resolution, an average
pool in front of a 1x1 convolution of stride 1 (figure 2, C and D). Code by PaddlePaddle/PaddleClas,
ppcls/arch/backbone/legendary_models/resnet.py, Apache 2.0, whose state-dict keys these are. Recipes of PP-LCNet distil
from these two; lists of networks leave them out. What differs: there are no other depths and variants, and
`features_only` is new.
"""

from __future__ import annotations

from typing import List, Tuple, Union

from paddle import ParamAttr, Tensor, nn
from paddle.nn.initializer import Uniform

from ..config.types import NonNegativeFloat, PositiveInt
from ..ops.training import norm_act
from ..weights.convert import PADDLECLAS
from ..weights.io import State
from .family import Family
from .layers import Conv2D, PerStage

Stride = Union[PositiveInt, Tuple[PositiveInt, PositiveInt]]  # both axes, or (height, width)
Factors = Tuple[NonNegativeFloat, NonNegativeFloat, NonNegativeFloat, NonNegativeFloat, NonNegativeFloat]

WIDTHS = (64, 128, 256, 512)  # of the 3x3 convolutions of each stage
EXPANSION = 4  # of a block's output


class ConvBN(nn.Layer):
    """Convolution without bias, batch norm, ReLU unless `act` is False; (N, C, H, W).

    With `pool` an average over 2x2 positions takes the stride; at an odd border it is over the positions there are.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: Stride = 1, act: bool = True,
        pool: bool = False, lr_mult: float = 1.0,
    ) -> None:  # fmt: skip
        super().__init__()
        attr = ParamAttr(learning_rate=lr_mult)
        self.avg_pool = nn.AvgPool2D(2, stride, padding="SAME", ceil_mode=True) if pool else None
        self.conv = Conv2D(
            in_channels,
            out_channels,
            kernel_size,
            stride=1 if pool else stride,
            padding=kernel_size // 2,
            weight_attr=attr,
            bias_attr=False,
        )
        self.bn = nn.BatchNorm2D(out_channels, weight_attr=attr, bias_attr=attr)
        self.relu = nn.ReLU() if act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        if self.avg_pool is not None:
            x = self.avg_pool(x)
        return norm_act(self.bn, self.relu, self.conv(x))


class Bottleneck(nn.Layer):
    """1x1, 3x3 of the stride, 1x1 to 4 `width` channels, and the shortcut; (N, C, H, W).

    The shortcut is the input, or with `projects` a 1x1 convolution of it, in front of which `pools` puts the pool: the
    first block of a stage projects, and pools unless it is the first of all, which keeps the resolution.
    """

    def __init__(
        self, in_channels: int, width: int, stride: Stride = 1, projects: bool = False, pools: bool = False,
        lr_mult: float = 1.0,
    ) -> None:  # fmt: skip
        super().__init__()
        out_channels = width * EXPANSION
        self.conv0 = ConvBN(in_channels, width, 1, lr_mult=lr_mult)
        self.conv1 = ConvBN(width, width, 3, stride, lr_mult=lr_mult)
        self.conv2 = ConvBN(width, out_channels, 1, act=False, lr_mult=lr_mult)
        self.short = None
        if projects:
            self.short = ConvBN(in_channels, out_channels, 1, stride, act=False, pool=pools, lr_mult=lr_mult)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        short = x if self.short is None else self.short(x)
        return self.relu(self.conv2(self.conv1(self.conv0(x))) + short)


class ResNetVd(nn.Layer):
    """ResNet-D of bottlenecks.

    Input (N, 3, H, W); output logits (N, class_num), or with `features_only` the list of the outputs of the four stages
    (strides 4, 8, 16, 32 by default).

    Args:
        depths: blocks of each stage.
        lr_mult_list: learning-rate multipliers of the stem and the four stages.
        stride_list: strides of the stem, of the max pool and of the first block of the second to fourth stage, each a
            number or (height, width).

    Attributes: see `family.Family`; a feature stride is (height, width) where the two differ.
    """

    def __init__(
        self,
        depths: PerStage = (3, 4, 6, 3),
        class_num: PositiveInt = 1000,
        lr_mult_list: Factors = (1.0,) * 5,
        stride_list: Tuple[Stride, Stride, Stride, Stride, Stride] = (2,) * 5,
        features_only: bool = False,
    ) -> None:
        super().__init__()
        strides = [(stride, stride) if isinstance(stride, int) else stride for stride in stride_list]
        self.stem = nn.Sequential(
            ConvBN(3, 32, 3, strides[0], lr_mult=lr_mult_list[0]),
            ConvBN(32, 32, 3, lr_mult=lr_mult_list[0]),
            ConvBN(32, 64, 3, lr_mult=lr_mult_list[0]),
        )
        self.max_pool = nn.MaxPool2D(3, strides[1], padding=1)
        self.blocks = nn.Sequential()
        self.ends: List[int] = []  # of the stages, numbers of their last blocks
        self.feature_channels, self.feature_strides = [], []
        channels, down = 64, (strides[0][0] * strides[1][0], strides[0][1] * strides[1][1])
        for stage, (depth, width, lr_mult) in enumerate(zip(depths, WIDTHS, lr_mult_list[1:])):
            stride = strides[stage + 1] if stage else (1, 1)
            for index in range(depth):
                first = index == 0
                block = Bottleneck(
                    channels, width, stride if first else 1, first, pools=stage > 0, lr_mult=lr_mult
                )
                self.blocks.add_sublayer(str(len(self.blocks)), block)
                channels = width * EXPANSION
            self.ends.append(len(self.blocks) - 1)
            down = (down[0] * stride[0], down[1] * stride[1])
            self.feature_channels.append(channels)
            self.feature_strides.append(down[0] if down[0] == down[1] else down)
        self.features_only = features_only
        self.head_keys = () if features_only else ("fc.weight", "fc.bias")
        self.spare_prefixes = ("fc.",) if features_only else ()
        if not features_only:
            self.avg_pool = nn.AdaptiveAvgPool2D(1)
            self.flatten = nn.Flatten()
            bound = channels**-0.5
            self.fc = nn.Linear(
                channels, class_num, weight_attr=ParamAttr(initializer=Uniform(-bound, bound))
            )

    def forward(self, x: Tensor) -> Union[Tensor, List[Tensor]]:
        x = self.max_pool(self.stem(x))
        features = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.ends:
                features.append(x)
        return features if self.features_only else self.fc(self.flatten(self.avg_pool(x)))


def _weight_options(state: State) -> dict[str, object]:
    return {"class_num": len(state["fc.bias"])} if "fc.bias" in state else {}


def _stages(model: ResNetVd) -> tuple[tuple[str, ...], ...]:
    starts = [0, *(end + 1 for end in model.ends)]
    blocks = (range(start, end + 1) for start, end in zip(starts, model.ends))
    return ("stem.",), *(tuple(f"blocks.{index}." for index in stage) for stage in blocks)


FAMILY = Family(
    ResNetVd,
    weight_names=(PADDLECLAS,),
    weight_options=_weight_options,
    stages=_stages,
    last_map=lambda model: f"blocks.{model.ends[3]}",
    finer_map=lambda model: f"blocks.{model.ends[2]}",
    is_teacher=True,
)

# Top-1: PaddleClas, docs/zh_CN/models/ImageNet1k/README.md.
FAMILY.add("ResNet50_vd", 79.12)
FAMILY.add("ResNet101_vd", 80.17, depths=(3, 4, 23, 3))
