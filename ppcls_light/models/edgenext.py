"""EdgeNeXt: Efficiently Amalgamated CNN-Transformer Architecture for Mobile Vision (arXiv 2206.10589).

Code by the authors (Maaz et al., ECCV 2022 workshops): mmaaz60/EdgeNeXt, models/, MIT.
State-dict keys are theirs. What differs: the two forms, layer norm with GELU and batch norm with
Hardswish, are one class; sine and cosine of the positional encoding are computed once per map size and not
once per call; a layer scale of 0 is not offered; `features_only` is new.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any, Dict, List, Sequence, Tuple, Union

import numpy as np
import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F
from paddle.nn.initializer import Constant

from ..config.types import NonNegativeInt, PositiveFloat, PositiveInt, Probability
from ..errors import ConfigError
from ..ops import training as cpu_ops
from ..weights.convert import AUTHORS, PADDLECLAS, WeightNames, head_options, renaming
from .family import Family
from .layers import Conv2D, DropPath, PerStage, activation, initialise_normal

FOURIER_DIM = 32  # features an axis of the positional encoding
LAYER_NORM_EPSILON = 1e-6

CHANNELS_LAST, CHANNELS_FIRST = [0, 2, 3, 1], [0, 3, 1, 2]


def normalisation(dim: int, bn_hs: bool) -> nn.Layer:
    """Return batch norm over `dim` channels, or layer norm over a last axis of them."""
    return nn.BatchNorm2D(dim) if bn_hs else nn.LayerNorm(dim, epsilon=LAYER_NORM_EPSILON)


def norm_to_last(norm: nn.Layer, x: Tensor) -> Tensor:
    """Apply a `normalisation` over the channels of `x` (N, C, H, W); returns (N, H, W, C)."""
    if isinstance(norm, nn.LayerNorm):
        return norm(x.transpose(CHANNELS_LAST))
    return norm(x).transpose(CHANNELS_LAST)


def norm_in_place(norm: nn.Layer, x: Tensor) -> Tensor:
    """Apply a `normalisation` over the channels of `x` (N, C, H, W) by the operators for CPU; returns (N, C, H, W)."""
    if isinstance(norm, nn.LayerNorm):
        return cpu_ops.layer_norm(norm, x)
    return cpu_ops.norm_act(norm, nn.Identity(), x)


def linear_in_place(linear: nn.Linear, x: Tensor) -> Tensor:
    """Apply `linear` to the channels of `x` (N, C, H, W) by the operators for CPU; returns (N, C', H, W)."""
    return cpu_ops.conv(x, linear.weight, linear.bias)


class LayerNorm2D(nn.LayerNorm):
    """Layer norm over the channels of (N, C, H, W), at each position by itself."""

    def forward(self, x: Tensor) -> Tensor:
        if cpu_ops.serves(x):
            return cpu_ops.layer_norm(self, x)
        # Paddle 2's translation to a static graph does not know a bare super().
        return nn.LayerNorm.forward(self, x.transpose(CHANNELS_LAST)).transpose(CHANNELS_FIRST)


@lru_cache(maxsize=64)
def fourier_features(length: int) -> np.ndarray:
    """Return the sine and cosine features of the positions 1 to `length` on one axis, (32, length) float32.

    Position p is the angle a = 2 pi p / length, and feature 2 i is sin(a / 10000^(2 i / 32)), feature
    2 i + 1 its cosine (Vaswani et al., arXiv 1706.03762, section 3.5, on normalised positions as in DETR,
    arXiv 2005.12872).
    """
    angle = 2 * np.pi * np.arange(1, length + 1) / (length + 1e-6)
    index = np.arange(FOURIER_DIM)[:, None]
    angle = angle / 10000.0 ** (index // 2 * 2 / FOURIER_DIM)
    features = np.where(index % 2 == 0, np.sin(angle), np.cos(angle)).astype("float32")
    features.flags.writeable = False  # the cache hands the same array to every caller
    return features


class PositionalEncodingFourier(nn.Layer):
    """A learned 1x1 convolution of fixed Fourier features; (height, width) to (1, dim, height, width).

    The features of rows come before those of columns. Paper, section 3.2; XCiT, arXiv 2106.09681.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.token_projection = Conv2D(2 * FOURIER_DIM, dim, 1)

    def forward(self, height: int, width: int) -> Tensor:
        # Two small constants in an exported graph, spread over the map there, in place of one large one.
        rows = paddle.to_tensor(fourier_features(height)).reshape([1, FOURIER_DIM, height, 1])
        columns = paddle.to_tensor(fourier_features(width)).reshape([1, FOURIER_DIM, 1, width])
        shape = [1, FOURIER_DIM, height, width]
        features = paddle.concat([rows.expand(shape), columns.expand(shape)], axis=1)
        return self.token_projection(features.astype(self.token_projection.weight.dtype))


class CrossCovarianceAttention(nn.Layer):
    """Attention between the channels of a head instead of between positions; (N, L, dim) to the same.

    With Q, K, V (dim / heads, L) of one head, rows of Q and K at unit length, and its temperature t,

        softmax(t Q K^T) V

    which costs O(L dim^2 / heads). XCiT, arXiv 2106.09681, section 3.2; paper, equation 2.

    Raises ConfigError: `heads` does not divide `dim`.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        if dim % heads:
            raise ConfigError(
                f"EdgeNeXt cannot split {dim} channels into {heads} heads; use a divisor of {dim}"
            )
        self.dim, self.heads = dim, heads
        self.temperature = self.create_parameter([heads, 1, 1], default_initializer=Constant(1.0))
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(x).reshape([0, 0, 3, self.heads, self.dim // self.heads])
        query, key, value = qkv.transpose([2, 0, 3, 4, 1]).unbind(0)  # each (N, heads, dim / heads, L)
        query, key = F.normalize(query, axis=-1), F.normalize(key, axis=-1)
        attention = F.softmax(paddle.matmul(query, key, transpose_y=True) * self.temperature, axis=-1)
        mixed = paddle.matmul(attention, value).transpose([0, 3, 1, 2])
        return self.proj(mixed.reshape([0, 0, self.dim]))

    def in_place(self, x: Tensor) -> Tensor:
        """Return the same of `x` (N, dim, H, W) by the operators for CPU; (N, dim, H, W)."""
        return linear_in_place(self.proj, cpu_ops.attention(linear_in_place(self.qkv, x), self.temperature))

    def own_multiply_adds(self, output_shape: Sequence[int]) -> int:
        """Return the multiply-adds of Q K^T and of the product with V; for `profile`."""
        length, dim = output_shape
        return 2 * length * dim * dim // self.heads


class Encoder(nn.Layer):
    """End of both encoders: norm, inverted bottleneck, layer scale, stochastic depth.

    The inverted bottleneck is two linear layers on each position, `expan_ratio` times as wide between them.
    """

    def _add_bottleneck(
        self, dim: int, bn_hs: bool, expan_ratio: int, layer_scale_init_value: float, drop_path: float
    ) -> None:
        """Add the norm and the bottleneck after the convolution that `fold` expects directly before a batch norm."""
        self.norm = normalisation(dim, bn_hs)
        self.pwconv1 = nn.Linear(dim, expan_ratio * dim)
        self.act = activation("hardswish" if bn_hs else "gelu")
        self.pwconv2 = nn.Linear(expan_ratio * dim, dim)
        self.gamma = self.create_parameter([dim], default_initializer=Constant(layer_scale_init_value))
        self.drop_path = DropPath(drop_path)

    def _bottleneck(self, x: Tensor, shortcut: Tensor) -> Tensor:
        if cpu_ops.serves_instead(x, self.norm, self.pwconv1, self.act, self.pwconv2):
            x, keep = norm_in_place(self.norm, x), self.drop_path.factors(x)
            return cpu_ops.bottleneck(x, self.pwconv1, self.act, self.pwconv2, self.gamma, keep, shortcut)
        branch = self.gamma * self.pwconv2(self.act(self.pwconv1(norm_to_last(self.norm, x))))
        return shortcut + self.drop_path(branch.transpose(CHANNELS_FIRST))


class ConvEncoder(Encoder):
    """Depthwise convolution and inverted bottleneck with a shortcut; (N, dim, H, W).

    Paper, equation 1: ConvNeXt's block (arXiv 2201.03545) with a kernel size of the stage's own.

    Args:
        dim: channels.
        drop_path: probability of stochastic depth.
        layer_scale_init_value: initial factor of the branch, learned for each channel.
        expan_ratio: hidden width of the inverted bottleneck over `dim`.
        kernel_size: of the depthwise convolution.
        bn_hs: batch norm and Hardswish instead of layer norm and GELU.

    Raises ConfigError: an even `kernel_size`, which does not keep H and W.
    """

    def __init__(
        self, dim: int, drop_path: float = 0.0, layer_scale_init_value: float = 1e-6, expan_ratio: int = 4,
        kernel_size: int = 7, bn_hs: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        if kernel_size % 2 == 0:
            raise ConfigError(f"EdgeNeXt cannot use a kernel size of {kernel_size}; use an odd one")
        self.dwconv = Conv2D(
            dim, dim, kernel_size, padding=kernel_size // 2, groups=dim, bias_attr=False if bn_hs else None
        )
        self._add_bottleneck(dim, bn_hs, expan_ratio, layer_scale_init_value, drop_path)

    def forward(self, x: Tensor) -> Tensor:
        return self._bottleneck(self.dwconv(x), x)


class SDTAEncoder(Encoder):
    """Split depthwise transpose attention and inverted bottleneck with a shortcut; (N, dim, H, W).

    The channels are split into `scales` groups, of which the last may be narrower. Each group but the last
    is convolved depthwise, the second and later ones after adding the result of the group before, so that
    the receptive field grows from group to group; the last passes through. Cross-covariance attention over
    all channels follows, with a shortcut of its own. Paper, section 3.2 and figure 2.

    Args:
        dim, drop_path, layer_scale_init_value, expan_ratio, bn_hs: as of `ConvEncoder`.
        scales: groups of channels. The authors' default of 1 is none that their code can run.
        num_heads: of the attention; a divisor of `dim`.
        use_pos_emb: add the positional encoding before the attention.

    Raises ConfigError: `dim` channels do not make `scales` groups, or `num_heads` heads.
    """

    def __init__(
        self, dim: int, drop_path: float = 0.0, layer_scale_init_value: float = 1e-6, expan_ratio: int = 4,
        use_pos_emb: bool = True, num_heads: int = 8, *, scales: int, bn_hs: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        width = -(-dim // scales)
        untouched = dim - width * (scales - 1)
        if scales < 2 or untouched < 1:
            raise ConfigError(f"EdgeNeXt cannot split {dim} channels into {scales} groups; use 2, 3 or 4")
        self.bn_hs = bn_hs
        self.widths = [width] * (scales - 1) + [untouched]
        self.convs = nn.LayerList(
            [Conv2D(width, width, 3, padding=1, groups=width) for _ in range(scales - 1)]
        )
        self.pos_embd = PositionalEncodingFourier(dim) if use_pos_emb else None
        self.norm_xca = normalisation(dim, bn_hs)
        self.gamma_xca = self.create_parameter([dim], default_initializer=Constant(layer_scale_init_value))
        self.xca = CrossCovarianceAttention(dim, num_heads)
        self._add_bottleneck(dim, bn_hs, expan_ratio, layer_scale_init_value, drop_path)

    def forward(self, x: Tensor) -> Tensor:
        return self._bottleneck(self._attend(self._split_convolve(x)), x)

    def _split_convolve(self, x: Tensor) -> Tensor:
        *groups, untouched = paddle.split(x, self.widths, axis=1)
        convolved = [self.convs[0](groups[0])]
        for conv, group in zip(self.convs[1:], groups[1:]):
            convolved.append(conv(convolved[-1] + group))
        return paddle.concat([*convolved, untouched], axis=1)

    def _attend(self, x: Tensor) -> Tensor:
        """Layer norm is for the attention alone; batch norm comes first and its result takes the shortcut."""
        dim, height, width = x.shape[1:]
        if self.bn_hs:
            x = self.norm_xca(x)
        if self.pos_embd is not None:
            x = x + self.pos_embd(height, width)
        parts = self.norm_xca, self.xca.qkv, self.xca.proj
        if cpu_ops.serves_instead(x, *parts) and not cpu_ops.has_hooks(self.xca):
            attended = self.xca.in_place(x if self.bn_hs else norm_in_place(self.norm_xca, x))
            return cpu_ops.layer_scale(attended, self.gamma_xca, self.drop_path.factors(x), x)
        tokens = x.flatten(2).transpose([0, 2, 1])
        attended = self.xca(tokens if self.bn_hs else self.norm_xca(tokens))
        tokens = tokens + self.drop_path(self.gamma_xca * attended)
        return tokens.reshape([0, height, width, dim]).transpose(CHANNELS_FIRST)


class EdgeNeXt(nn.Layer):
    """EdgeNeXt.

    Input (N, 3, H, W), 256 pixels in the authors' training; output logits (N, class_num), or with
    `features_only` the list of the four stages' outputs at strides 4, 8, 16, 32. A static graph needs a
    fixed H and W: the positional encoding is a constant of it.

    Args:
        depths: blocks of the four stages.
        dims: channels of the four stages.
        global_block: number of SDTA encoders at the end of each stage; the blocks before are conv encoders.
        kernel_sizes: of the conv encoders of each stage; odd.
        heads: attention heads of the SDTA encoders of each stage; divisors of `dims`.
        d2_scales: groups of channels in the SDTA encoders of each stage.
        use_pos_embd_xca: which stages' SDTA encoders add the positional encoding.
        expan_ratio: hidden width of an inverted bottleneck over its width.
        drop_path_rate: stochastic depth of the last block; it grows linearly from 0 at the first.
        layer_scale_init_value: initial factor of every branch, learned for each channel.
        classifier_dropout: before the classifier.
        bn_hs: batch norm and Hardswish, which run faster, instead of layer norm and GELU.

    Attributes: see `family.Family`.
    """

    def __init__(
        self,
        class_num: PositiveInt = 1000,
        depths: PerStage = (3, 3, 9, 3),
        dims: PerStage = (48, 96, 160, 304),
        global_block: Tuple[NonNegativeInt, NonNegativeInt, NonNegativeInt, NonNegativeInt] = (0, 1, 1, 1),
        kernel_sizes: PerStage = (3, 5, 7, 9),
        heads: PerStage = (8, 8, 8, 8),
        d2_scales: PerStage = (2, 2, 3, 4),
        use_pos_embd_xca: Tuple[bool, bool, bool, bool] = (False, True, False, False),
        expan_ratio: PositiveInt = 4,
        drop_path_rate: Probability = 0.0,
        layer_scale_init_value: PositiveFloat = 1e-6,
        classifier_dropout: Probability = 0.0,
        bn_hs: bool = False,
        features_only: bool = False,
    ) -> None:
        super().__init__()
        self.feature_channels = list(dims)
        self.feature_strides = [4, 8, 16, 32]
        self.features_only = features_only
        self.bn_hs = bn_hs
        self.downsample_layers = _downsample_layers(dims, bn_hs)
        rates = np.linspace(0.0, drop_path_rate, sum(depths)).tolist()
        self.stages = nn.LayerList()
        for i, (dim, depth) in enumerate(zip(dims, depths)):
            stage = nn.Sequential()
            for j in range(depth):
                options = {
                    "bn_hs": bn_hs,
                    "expan_ratio": expan_ratio,
                    "layer_scale_init_value": layer_scale_init_value,
                    "drop_path": rates.pop(0),
                }
                if j < depth - global_block[i]:
                    block = ConvEncoder(dim, kernel_size=kernel_sizes[i], **options)
                else:
                    options.update(scales=d2_scales[i], num_heads=heads[i], use_pos_emb=use_pos_embd_xca[i])
                    block = SDTAEncoder(dim, **options)
                stage.add_sublayer(str(j), block)
            self.stages.append(stage)
        self.head_keys = () if features_only else ("head.weight", "head.bias")
        self.spare_prefixes = ("norm.", "head.") if features_only else ()
        if not features_only:
            self.norm = normalisation(dims[-1], bn_hs)
            self.head_dropout = nn.Dropout(classifier_dropout)
            self.head = nn.Linear(dims[-1], class_num)
        initialise_normal(self)

    def forward(self, x: Tensor) -> Union[Tensor, List[Tensor]]:
        features = []
        for downsample, stage in zip(self.downsample_layers, self.stages):
            x = stage(downsample(x))
            features.append(x)
        return features if self.features_only else self._classify(x)

    def _classify(self, x: Tensor) -> Tensor:
        # Batch norm averages its statistics over positions, so it comes before the pooling.
        x = self._pool(self.norm(x)) if self.bn_hs else self.norm(self._pool(x))
        return self.head(self.head_dropout(x))

    def _pool(self, x: Tensor) -> Tensor:
        # Not `mean`: oneDNN's prints a line of its own on stdout in Paddle 3.3.
        return F.adaptive_avg_pool2d(x, 1).flatten(1)


def _downsample_layers(dims: Sequence[int], bn_hs: bool) -> nn.LayerList:
    """Return the stem, a 4x4 convolution of stride 4 and a norm, and three norms and 2x2 of stride 2."""

    def norm(dim: int) -> nn.Layer:
        return nn.BatchNorm2D(dim) if bn_hs else LayerNorm2D(dim, epsilon=LAYER_NORM_EPSILON)

    bias_attr = False if bn_hs else None
    layers = [nn.Sequential(Conv2D(3, dims[0], 4, stride=4, bias_attr=bias_attr), norm(dims[0]))]
    for dim, next_dim in zip(dims, dims[1:]):
        layers.append(nn.Sequential(norm(dim), Conv2D(dim, next_dim, 2, stride=2, bias_attr=bias_attr)))
    return nn.LayerList(layers)


_TIMM = renaming(
    (r"^stem\.", "downsample_layers.0."),
    (r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1."),
    (r"^(stages\.\d)\.blocks\.", r"\1."),
    (r"\.conv_dw\.", ".dwconv."),
    (r"\.mlp\.fc(\d)\.", r".pwconv\1."),
    (r"^head\.norm\.", "norm."),
    (r"^head\.fc\.", "head."),
)

FAMILY = Family(
    EdgeNeXt,
    weight_names=(PADDLECLAS, WeightNames("timm's", r"^stem\.", _TIMM), AUTHORS),
    weight_options=partial(head_options, bias="head.bias"),
    stages=lambda model: (
        ("downsample_layers.0.",),
        ("stages.0.",),
        *((f"downsample_layers.{i}.", f"stages.{i}.") for i in (1, 2, 3)),
    ),
    # Layer norm comes after the pooling. Batch norm comes before it: what is pooled is its output, and only the linear
    # classifier follows, so that the map is exact.
    last_map=lambda model: "norm" if model.bn_hs else "stages.3",
    finer_map=lambda model: "stages.2",
    folds=("edgenext",),
)

# Top-1 at 256 pixels: mmaaz60/EdgeNeXt, README.md; trained on ImageNet-1k alone, without distillation (USI).
_XX_SMALL: Dict[str, Any] = {"depths": (2, 2, 6, 2), "dims": (24, 48, 88, 168), "heads": (4, 4, 4, 4)}
_X_SMALL: Dict[str, Any] = {"depths": (3, 3, 9, 3), "dims": (32, 64, 100, 192), "heads": (4, 4, 4, 4)}
_SMALL: Dict[str, Any] = {"depths": (3, 3, 9, 3), "dims": (48, 96, 160, 304), "drop_path_rate": 0.1}
_BASE: Dict[str, Any] = {"depths": (3, 3, 9, 3), "dims": (80, 160, 288, 584), "drop_path_rate": 0.1}
FAMILY.add("EdgeNeXt_XX_Small", 71.23, 256, **_XX_SMALL)
FAMILY.add("EdgeNeXt_X_Small", 74.96, 256, **_X_SMALL)
FAMILY.add("EdgeNeXt_Small", 79.41, 256, **_SMALL)
FAMILY.add("EdgeNeXt_Base", 82.47, 256, **_BASE)
FAMILY.add("EdgeNeXt_XX_Small_BN_HS", 70.33, 256, **_XX_SMALL, bn_hs=True)
FAMILY.add("EdgeNeXt_X_Small_BN_HS", 74.87, 256, **_X_SMALL, bn_hs=True)
FAMILY.add("EdgeNeXt_Small_BN_HS", 78.39, 256, **_SMALL, bn_hs=True)
