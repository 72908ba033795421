"""PP-LCNet: A Lightweight CPU Convolutional Neural Network (Cui et al., 2021, arXiv 2109.15099).

Code by the authors: PaddlePaddle/PaddleClas, ppcls/arch/backbone/legendary_models/pp_lcnet.py, Apache 2.0.
State-dict keys, widths and initialisation are theirs, and so is the head's dropout in Paddle's
`downscale_in_infer` mode, which scales the features by 1 - p at inference: published weights rely on it.
`lcnet_baseline`, of the FasterNet authors (JierunChen/FasterNet, MIT), is the x1.0 network with ordinary
dropout; `lcnet_035` to `lcnet_150`, of timm (huggingface/pytorch-image-models, Apache 2.0), have that, a
bias in the head's convolution and timm's initialisation. What differs: there is no download of weights, and
`features_only` is new.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Iterator, List, Literal, Optional, Tuple, Union

from paddle import ParamAttr, Tensor, nn
from paddle.nn.initializer import Constant, KaimingNormal, Normal, Uniform
from paddle.regularizer import L2Decay

from ..config.types import NonNegativeFloat, PositiveFloat, PositiveInt, Probability
from ..errors import ConfigError
from ..ops.training import norm_act
from ..weights.convert import AUTHORS, PADDLECLAS, WeightNames, renaming
from ..weights.io import State
from .family import Family, Group, Pruning, conv_and_norm
from .layers import Conv2D, activation, make_divisible
from .ml_decoder import DecoderOptions, MLDecoder

Stride = Union[PositiveInt, Tuple[PositiveInt, PositiveInt]]  # both axes, or (height, width)
Factors = Tuple[
    NonNegativeFloat, NonNegativeFloat, NonNegativeFloat, NonNegativeFloat, NonNegativeFloat, NonNegativeFloat
]
Widths = Tuple[
    PositiveInt, PositiveInt, PositiveInt, PositiveInt, PositiveInt, PositiveInt, PositiveInt,
    PositiveInt, PositiveInt, PositiveInt, PositiveInt, PositiveInt, PositiveInt, PositiveInt,
]  # fmt: skip

STEM_WIDTH = 16

# Each block: kernel size, output channels at scale 1, squeeze-and-excitation. The first block of blocks3
# to blocks6 halves the resolution (stride_list).
STAGES = {
    "blocks2": [(3, 32, False)],
    "blocks3": [(3, 64, False)] * 2,
    "blocks4": [(3, 128, False)] * 2,
    "blocks5": [(3, 256, False)] + [(5, 256, False)] * 5,
    "blocks6": [(5, 512, True)] * 2,
}

# Channels at scale 1 of the stem and of each block in turn.
WIDTHS = (STEM_WIDTH, *(width for blocks in STAGES.values() for _, width, _ in blocks))


class ConvBNAct(nn.Layer):
    """Convolution without bias, batch norm (exempt from weight decay), activation; (N, C, H, W)."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, act: str, stride: Stride = 1,
        groups: int = 1, lr_mult: float = 1.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.conv = Conv2D(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=kernel_size // 2,
            groups=groups,
            weight_attr=ParamAttr(initializer=KaimingNormal(), learning_rate=lr_mult),
            bias_attr=False,
        )
        self.bn = nn.BatchNorm2D(
            out_channels,
            weight_attr=ParamAttr(regularizer=L2Decay(0.0), learning_rate=lr_mult),
            bias_attr=ParamAttr(regularizer=L2Decay(0.0), learning_rate=lr_mult),
        )
        self.act = activation(act)

    def forward(self, x: Tensor) -> Tensor:
        return norm_act(self.bn, self.act, self.conv(x))


class SqueezeExcitation(nn.Layer):
    """Channel gates from the global average (arXiv 1709.01507), reduction 4; (N, C, H, W)."""

    def __init__(self, channels: int, lr_mult: float = 1.0) -> None:
        super().__init__()

        def pointwise(in_channels: int, out_channels: int) -> nn.Layer:
            attr = ParamAttr(learning_rate=lr_mult)
            return Conv2D(in_channels, out_channels, 1, weight_attr=attr, bias_attr=attr)

        self.avg_pool = nn.AdaptiveAvgPool2D(1)
        self.conv1 = pointwise(channels, channels // 4)
        self.relu = nn.ReLU()
        self.conv2 = pointwise(channels // 4, channels)
        self.hardsigmoid = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.hardsigmoid(self.conv2(self.relu(self.conv1(self.avg_pool(x)))))


class DepthwiseSeparable(nn.Layer):
    """Depthwise ConvBNAct, optional squeeze-and-excitation, pointwise ConvBNAct (paper, figure 2)."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: Stride, use_se: bool, act: str,
        lr_mult: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.dw_conv = ConvBNAct(
            in_channels, in_channels, kernel_size, act, stride, groups=in_channels, lr_mult=lr_mult
        )
        self.se = SqueezeExcitation(in_channels, lr_mult) if use_se else None
        self.pw_conv = ConvBNAct(in_channels, out_channels, 1, act, lr_mult=lr_mult)

    def forward(self, x: Tensor) -> Tensor:
        x = self.dw_conv(x)
        if self.se is not None:
            x = self.se(x)
        return self.pw_conv(x)


def initialise_by_fan_out(model: nn.Layer) -> None:
    """Draw weights as timm's `efficientnet_init_weights` (and TensorFlow's EfficientNet) do; biases are 0.

    A convolution's come from a normal of variance 2 / (outputs of a group x kernel area), a linear layer's
    evenly from -1 / sqrt(outputs) to 1 / sqrt(outputs).
    """
    for layer in model.sublayers():
        if isinstance(layer, nn.Conv2D):
            outputs, area = layer.weight.shape[0] // layer._groups, math.prod(layer.weight.shape[2:])
            Normal(std=math.sqrt(2 / (outputs * area)))(layer.weight)
        elif isinstance(layer, nn.Linear):
            bound = 1 / math.sqrt(layer.weight.shape[1])
            Uniform(-bound, bound)(layer.weight)
        else:
            continue
        if layer.bias is not None:
            Constant(0.0)(layer.bias)


class PPLCNet(nn.Layer):
    """PP-LCNet.

    Input (N, 3, H, W); output logits (N, class_num), or with `features_only` the list of the outputs of
    blocks3, blocks4, blocks5 and blocks6 (strides 4, 8, 16, 32 by default).

    Args:
        scale: multiplies every width but class_expand; widths are rounded to multiples of 8.
        widths: channels of the stem and of each of the 13 blocks in place of those of `scale`, as pruning
            leaves them; a squeeze-and-excitation has a quarter of its block's.
        dropout_prob: of the head's dropout.
        class_expand: width of the head's 1x1 convolution.
        lr_mult_list: learning-rate multipliers of the stem and blocks2 to blocks6.
        stride_list: strides of the stem and of the first block of blocks3 to blocks6, each a number or
            (height, width).
        use_last_conv: False leaves out the head's 1x1 convolution, activation and dropout.
        act: activation after every convolution outside squeeze-and-excitation.
        use_se: False leaves squeeze-and-excitation out of the last two blocks.
        largest_kernel: 3 gives the last seven blocks kernels of 3 x 3 in place of 5 x 5. With `use_se`, `act` and
            `use_last_conv` these are the four choices of PP-LCNet, for comparison.
        dropout_mode: "downscale_in_infer" as the published weights were trained, or the ordinary
            "upscale_in_train".
        last_conv_bias: a bias in the head's 1x1 convolution.
        initialisation: "fan_in", a normal of variance 2 / inputs for convolutions as in PaddleClas, or "fan_out",
            as timm has it, see `initialise_by_fan_out`.
        ml_decoder: sizes of an ML-Decoder in place of the pooling and the classifier, see `ml_decoder.DecoderOptions`;
            null for none.

    Attributes: see `family.Family`; a feature stride is (height, width) where the two differ.
    """

    def __init__(
        self,
        scale: PositiveFloat = 1.0,
        class_num: PositiveInt = 1000,
        dropout_prob: Probability = 0.2,
        class_expand: PositiveInt = 1280,
        lr_mult_list: Factors = (1.0,) * 6,
        stride_list: Tuple[Stride, Stride, Stride, Stride, Stride] = (2,) * 5,
        use_last_conv: bool = True,
        act: Literal["hardswish", "relu", "relu6"] = "hardswish",
        dropout_mode: Literal["downscale_in_infer", "upscale_in_train"] = "downscale_in_infer",
        last_conv_bias: bool = False,
        features_only: bool = False,
        widths: Optional[Widths] = None,
        initialisation: Literal["fan_in", "fan_out"] = "fan_in",
        use_se: bool = True,
        largest_kernel: Literal[3, 5] = 5,
        ml_decoder: Optional[DecoderOptions] = None,
    ) -> None:
        super().__init__()
        strides = [(stride, stride) if isinstance(stride, int) else stride for stride in stride_list]
        width, *block_widths = widths or [make_divisible(width * scale) for width in WIDTHS]
        out_widths = iter(block_widths)
        self.conv1 = ConvBNAct(3, width, 3, act, strides[0], lr_mult=lr_mult_list[0])
        first_strides = [(1, 1), *strides[1:]]
        self.feature_channels, self.feature_strides = [], []
        reduction = strides[0]
        for (name, blocks), first_stride, lr_mult in zip(STAGES.items(), first_strides, lr_mult_list[1:]):
            stage = nn.Sequential()
            for i, (kernel_size, _, has_se) in enumerate(blocks):
                out_channels, kernel_size = next(out_widths), min(kernel_size, largest_kernel)
                stride, has_se = first_stride if i == 0 else 1, has_se and use_se
                block = DepthwiseSeparable(width, out_channels, kernel_size, stride, has_se, act, lr_mult)
                stage.add_sublayer(str(i), block)
                width = out_channels
            setattr(self, name, stage)
            reduction = (reduction[0] * first_stride[0], reduction[1] * first_stride[1])
            self.feature_channels.append(width)
            self.feature_strides.append(reduction[0] if reduction[0] == reduction[1] else reduction)
        del self.feature_channels[0], self.feature_strides[0]  # blocks2 keeps the stem's resolution
        self.features_only = features_only
        self.head_keys = () if features_only else ("fc.weight", "fc.bias")
        self.spare_prefixes = ("last_conv.", "fc.") if features_only else ()
        self.ml_decoder = ml_decoder
        if not features_only:
            self.avg_pool = nn.AdaptiveAvgPool2D(1) if ml_decoder is None else nn.Identity()
            self.last_conv = None
            if use_last_conv:
                weight_attr, bias_attr = (
                    ParamAttr(initializer=KaimingNormal()),
                    None if last_conv_bias else False,
                )
                self.last_conv = Conv2D(width, class_expand, 1, weight_attr=weight_attr, bias_attr=bias_attr)
                self.act = activation(act)
                self.dropout = nn.Dropout(dropout_prob, mode=dropout_mode)
                width = class_expand
            if ml_decoder is None:
                self.flatten = nn.Flatten()
                self.fc = nn.Linear(width, class_num)
            else:
                self.flatten = nn.Identity()
                self.fc = MLDecoder(width, class_num, ml_decoder)
                self.head_keys = tuple(key for key in self.state_dict() if key.startswith("fc."))
                self.spare_prefixes = ("fc.weight", "fc.bias")  # of a network with a linear classifier
        if initialisation == "fan_out":
            initialise_by_fan_out(self)

    def forward(self, x: Tensor) -> Union[Tensor, List[Tensor]]:
        x = self.blocks2(self.conv1(x))
        features = []
        for stage in (self.blocks3, self.blocks4, self.blocks5, self.blocks6):
            x = stage(x)
            features.append(x)
        return features if self.features_only else self._classify(x)

    def _classify(self, x: Tensor) -> Tensor:
        x = self.avg_pool(x)
        if self.last_conv is not None:
            x = self.dropout(self.act(self.last_conv(x)))
        return self.fc(self.flatten(x))


def _weight_options(state: State) -> dict[str, object]:
    if "fc.bias" not in state:
        return {}
    return {"class_num": len(state["fc.bias"]), "use_last_conv": "last_conv.weight" in state}


def _groups(model: PPLCNet) -> Iterator[Group]:
    """Yield the channels of the stem and of each block with their readers in the next block, then the head's."""
    if model.ml_decoder is not None:
        raise ConfigError("a network with use_ml_decoder cannot be pruned; leave out one of them")
    maker = "conv1"
    for stage in STAGES:
        for index, block in enumerate(getattr(model, stage)):
            name = f"{stage}.{index}"
            filters = f"{maker}.conv.weight"
            cuts = {
                **conv_and_norm(f"{maker}.conv", f"{maker}.bn"),
                **conv_and_norm(f"{name}.dw_conv.conv", f"{name}.dw_conv.bn"),
                f"{name}.pw_conv.conv.weight": 1,
            }
            if block.se is None:
                yield Group(filters, cuts)
            else:
                squeeze, excite = f"{name}.se.conv1", f"{name}.se.conv2"
                yield Group(
                    filters, {**cuts, f"{squeeze}.weight": 1, f"{excite}.weight": 0, f"{excite}.bias": 0}
                )
                inside = {f"{squeeze}.weight": 0, f"{squeeze}.bias": 0, f"{excite}.weight": 1}
                yield Group(f"{squeeze}.weight", inside, share_of=filters)
            maker = f"{name}.pw_conv"
    cuts = conv_and_norm(f"{maker}.conv", f"{maker}.bn")
    if model.last_conv is None:
        yield Group(f"{maker}.conv.weight", {**cuts, "fc.weight": 0})
        return
    yield Group(f"{maker}.conv.weight", {**cuts, "last_conv.weight": 1})
    bias = {} if model.last_conv.bias is None else {"last_conv.bias": 0}
    yield Group("last_conv.weight", {"last_conv.weight": 0, **bias, "fc.weight": 0})


def _pruned_options(left: dict[str, int]) -> dict[str, object]:
    widths = [width for key, width in left.items() if key.startswith("conv1.") or ".pw_conv." in key]
    head = {"class_expand": left["last_conv.weight"]} if "last_conv.weight" in left else {}
    return {"widths": widths, **head}


# Our blocks are grouped by resolution; lcnet_baseline numbers them through, timm splits blocks5.
_BLOCKS = [f"{stage}.{index}" for stage, blocks in STAGES.items() for index in range(len(blocks))]

_BASELINE = renaming(
    (r"^blocks\.(\d|1[0-2])\.0\.", lambda match: f"{_BLOCKS[int(match[1])]}."),
    (r"^f\.", "fc."),
)
_TIMM = renaming(
    (r"^conv_stem\.", "conv1.conv."),
    (r"^bn1\.", "conv1.bn."),
    (r"^blocks\.4\.(\d)\.", lambda match: f"blocks5.{int(match[1]) + 2}."),
    (r"^blocks\.5\.", "blocks6."),
    (r"^blocks\.([0-3])\.", lambda match: f"blocks{int(match[1]) + 2}."),
    (r"\.conv_dw\.", ".dw_conv.conv."),
    (r"\.conv_pw\.", ".pw_conv.conv."),
    (r"^(blocks\d\.\d)\.bn1\.", r"\1.dw_conv.bn."),
    (r"^(blocks\d\.\d)\.bn2\.", r"\1.pw_conv.bn."),
    (r"\.se\.conv_reduce\.", ".se.conv1."),
    (r"\.se\.conv_expand\.", ".se.conv2."),
    (r"^conv_head\.", "last_conv."),
    (r"^classifier\.", "fc."),
)

# Each has weight names of its own, for the networks differ in what the head's keys do not show (dropout_mode).
FAMILY = Family(
    PPLCNet,
    weight_names=(PADDLECLAS,),
    weight_options=_weight_options,
    stages=lambda model: (("conv1.",), *((f"{stage}.",) for stage in STAGES)),
    # It is pooled before `last_conv`, a 1x1 convolution with an activation, which therefore sees no positions.
    last_map=lambda model: "blocks6",
    finer_map=lambda model: "blocks5",
    pruning=Pruning(_groups, _pruned_options),
)
LCNET_BASELINE = replace(FAMILY, weight_names=(PADDLECLAS, AUTHORS._replace(rename=_BASELINE)))
LCNET_TIMM = replace(FAMILY, weight_names=(PADDLECLAS, WeightNames("timm's", "", _TIMM)))

# Top-1: PaddleClas, docs/en/models/ImageNet1k/PP-LCNet_en.md.
FAMILY.add("PPLCNet_x0_25", 51.86, scale=0.25)
FAMILY.add("PPLCNet_x0_35", 58.09, scale=0.35)
FAMILY.add("PPLCNet_x0_5", 63.14, scale=0.5)
FAMILY.add("PPLCNet_x0_75", 68.18, scale=0.75)
FAMILY.add("PPLCNet_x1_0", 71.32, scale=1.0)
FAMILY.add("PPLCNet_x1_5", 73.71, scale=1.5)
FAMILY.add("PPLCNet_x2_0", 75.18, scale=2.0)
FAMILY.add("PPLCNet_x2_5", 76.60, scale=2.5)
FAMILY.add("PPLCNetBaseNet", aliases=("PPLCNet",))
LCNET_BASELINE.add("lcnet_baseline", dropout_mode="upscale_in_train")
for _percent in (35, 50, 75, 100, 150):
    LCNET_TIMM.add(
        f"lcnet_{_percent:03d}",
        scale=_percent / 100,
        dropout_mode="upscale_in_train",
        last_conv_bias=True,
        initialisation="fan_out",
    )
