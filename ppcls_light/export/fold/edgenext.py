"""Folding of EdgeNeXt: norms and layer scales in the weights, and no transposes back to channels-first."""

from __future__ import annotations

import numpy as np
import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F

from ...models.edgenext import (
    CHANNELS_LAST,
    FOURIER_DIM,
    ConvEncoder,
    EdgeNeXt,
    Encoder,
    PositionalEncodingFourier,
    SDTAEncoder,
    fourier_features,
)
from ...registry import FOLDS
from .norms import affine, array, convolution, set_weights

# Up to this width a convolution that reads channels last is cheaper than a transpose before a plain one
# (measured in Paddle Inference; in ONNX Runtime the two cost the same).
_WIDEST_PATCH = 100

_SHORTEST = 1e-12  # of a query or key, as in `paddle.nn.functional.normalize`


@FOLDS.register("edgenext")
def fold_edgenext(model: nn.Layer) -> None:
    """Rewrite the encoders, the stem, the downsampling and the head of an `EdgeNeXt`; other networks stay.

    Weight and bias of a layer norm, a batch norm and a layer scale are affine for each channel, and go into the
    weights beside them. Position by position linear
    layers become convolutions, which engines join with the activation before them and the shortcut after
    them. The positional encoding becomes a constant.
    """
    if not isinstance(model, EdgeNeXt):
        return
    for index, layers in enumerate(list(model.downsample_layers)):
        first, second = layers[0], layers[1]
        if isinstance(second, nn.Conv2D):
            model.downsample_layers[index] = _normed_conv(first, array(second.weight), second.bias)
        elif isinstance(second, nn.LayerNorm):
            identity = np.eye(second.weight.shape[0])[:, :, None, None]
            model.downsample_layers[index] = nn.Sequential(first, _normed_conv(second, identity))
    for stage in model.stages:
        for name, encoder in list(stage.named_children()):
            stage.add_sublayer(name, _FOLDED[type(encoder)](encoder))
    if not (model.features_only or getattr(model.head, "keeps_input", False)):
        scale, shift = _affine(model.norm)
        weight = array(model.head.weight)
        set_weights(
            model.head, weight * scale[:, None], array(model.head.bias) + (weight * shift[:, None]).sum(0)
        )
        model.norm = _standardise(model.norm) or nn.Identity()


class FromChannelsLast(nn.Layer):
    """A convolution of stride `size` and kernel size `size` on channels-last maps.

    (N, H, W, C), or the same as (N, H W, C), to (N, out, H / size, W / size), by `weight` (out, C, size, size) and
    `bias` (out,). Up to `_WIDEST_PATCH` channels it is a convolution of one input channel over maps of (H, W C),
    which needs no transpose.
    """

    def __init__(self, weight: np.ndarray, bias: np.ndarray) -> None:
        super().__init__()
        out, dim, size, _ = weight.shape
        self._patch = dim <= _WIDEST_PATCH
        if self._patch:
            weight = weight.transpose(0, 2, 3, 1).reshape(out, 1, size, size * dim)
        self.conv = convolution(weight, bias, stride=list(weight.shape[2:]))

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        dim = x.shape[-1]
        if self._patch:
            return self.conv(x.reshape([0, 1, height, width * dim]))
        if x.ndim == 3:
            return self.conv(x.transpose([0, 2, 1]).reshape([0, dim, height, width]))
        return self.conv(x.transpose([0, 3, 1, 2]))


class StandardisedConv(nn.Layer):
    """A layer norm without weight and bias over channels, and a `FromChannelsLast`; (N, C, H, W) twice."""

    def __init__(self, standardise: nn.LayerNorm, conv: FromChannelsLast) -> None:
        super().__init__()
        self.standardise, self.conv = standardise, conv

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        return self.conv(self.standardise(x.transpose(CHANNELS_LAST)), height, width)


class FoldedConvEncoder(nn.Layer):
    """A `ConvEncoder` with its norm and its layer scale in the weights; (N, dim, H, W)."""

    def __init__(self, encoder: ConvEncoder) -> None:
        super().__init__()
        self.dwconv = encoder.dwconv
        self.standardise = _standardise(encoder.norm)
        self.expand, self.act, self.project = _bottleneck(encoder, channels_last=self.standardise is not None)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        branch = self.dwconv(x)
        if self.standardise is None:
            branch = self.expand(branch)
        else:
            branch = self.expand(self.standardise(branch.transpose(CHANNELS_LAST)), height, width)
        return x + self.project(self.act(branch))


class FoldedSDTAEncoder(nn.Layer):
    """An `SDTAEncoder` with its norms and layer scales in the weights; (N, dim, H, W).

    Positions stay in the last axis but one from the attention to the inverted bottleneck.
    """

    def __init__(self, encoder: SDTAEncoder) -> None:
        super().__init__()
        self.split_convolve = nn.Sequential(*_whole_convolutions(encoder))
        self.positions = None if encoder.pos_embd is None else Positions(encoder.pos_embd)
        # A batch norm before the attention is in the convolutions: its result takes the shortcut, too.
        self.standardise_attention = _standardise(encoder.norm_xca)
        self.attention = FoldedAttention(encoder)
        self.standardise = _standardise(encoder.norm)
        self.expand, self.act, self.project = _bottleneck(encoder, channels_last=True)

    def forward(self, x: Tensor) -> Tensor:
        dim, height, width = x.shape[1:]
        tokens = self.split_convolve(x).transpose(CHANNELS_LAST).reshape([0, height * width, dim])
        if self.positions is not None:
            tokens = tokens + self.positions(height, width)
        attended = tokens if self.standardise_attention is None else self.standardise_attention(tokens)
        tokens = tokens + self.attention(attended)
        if self.standardise is not None:
            tokens = self.standardise(tokens)
        return x + self.project(self.act(self.expand(tokens, height, width)))


class FoldedAttention(nn.Layer):
    """Cross-covariance attention with the layer norm's affine part and the layer scale in its weights.

    Queries and keys are not normalised: each entry of Q K^T is divided by the lengths of its query and its
    key, which touches (dim / heads)^2 numbers a head and not twice dim at each position. Three linear layers
    in place of one and a split let engines read each transposed within the product. (N, L, dim) to the same.
    """

    def __init__(self, encoder: SDTAEncoder) -> None:
        super().__init__()
        attention = encoder.xca
        self.dim, self.heads = attention.dim, attention.heads
        weight, bias = array(attention.qkv.weight), array(attention.qkv.bias)
        if isinstance(encoder.norm_xca, nn.LayerNorm):
            scale, shift = _affine(encoder.norm_xca)
            weight, bias = weight * scale[:, None], bias + shift @ weight
        layers = zip(np.split(weight, 3, axis=1), np.split(bias, 3))
        self.query, self.key, self.value = (_linear(*layer) for layer in layers)
        self.temperature = attention.temperature
        gamma = array(encoder.gamma_xca)
        self.proj = _linear(array(attention.proj.weight) * gamma, array(attention.proj.bias) * gamma)

    def forward(self, x: Tensor) -> Tensor:
        heads, width = self.heads, self.dim // self.heads
        query, key, value = self.query(x), self.key(x), self.value(x)
        query_length = self._length(query).reshape([0, heads, width, 1])
        key_length = self._length(key).reshape([0, heads, 1, width])
        # Division by the temperature first: a product of two vectors would be slow in oneDNN.
        products = paddle.matmul(self._by_head(query), self._by_head(key), transpose_x=True)
        attention = F.softmax(products / (query_length / self.temperature) / key_length, axis=-1)
        mixed = paddle.matmul(self._by_head(value), attention, transpose_y=True)
        return self.proj(mixed.transpose([0, 2, 1, 3]).reshape([0, 0, self.dim]))

    def _by_head(self, x: Tensor) -> Tensor:
        return x.reshape([0, 0, self.heads, self.dim // self.heads]).transpose([0, 2, 1, 3])

    def _length(self, x: Tensor) -> Tensor:
        return paddle.maximum((x * x).sum(axis=1).sqrt(), paddle.full([1], _SHORTEST))


class Positions(nn.Layer):
    """The projected positional encoding as a constant of the map size; (height, width) to (1, height width, dim).

    The encoding is one vector for a row plus one for a column, so that an exported graph holds height + width
    vectors, which engines add up when they load it.
    """

    def __init__(self, encoding: PositionalEncodingFourier) -> None:
        super().__init__()
        self._weight = array(encoding.token_projection.weight)[:, :, 0, 0]
        self._bias = array(encoding.token_projection.bias)

    def forward(self, height: int, width: int) -> Tensor:
        rows = self._weight[:, :FOURIER_DIM] @ fourier_features(height) + self._bias[:, None]
        columns = self._weight[:, FOURIER_DIM:] @ fourier_features(width)
        rows = paddle.to_tensor(rows.T[None, :, None].astype("float32"))
        columns = paddle.to_tensor(columns.T[None, None].astype("float32"))
        return (rows + columns).reshape([1, height * width, self._weight.shape[0]])


_FOLDED = {ConvEncoder: FoldedConvEncoder, SDTAEncoder: FoldedSDTAEncoder}


def _whole_convolutions(encoder: SDTAEncoder) -> list[nn.Conv2D]:
    """Return convolutions of all channels in place of the split and concatenation of `encoder`.

    A depthwise convolution leaves the other groups alone by a kernel of a lone 1; between two of them a 1x1
    convolution adds a group's result to the next group.
    """
    dim, end = sum(encoder.widths), 0
    layers: list[nn.Conv2D] = []
    for conv, width in zip(encoder.convs, encoder.widths):
        end += width
        group = slice(end - width, end)
        if layers:
            mix = np.eye(dim)
            mix[group, end - 2 * width : end - width] = np.eye(width)
            layers.append(convolution(mix[:, :, None, None], np.zeros(dim)))
        weight, bias = np.zeros((dim, 1, 3, 3)), np.zeros(dim)
        weight[:, 0, 1, 1] = 1
        weight[group], bias[group] = array(conv.weight), array(conv.bias)
        norm = encoder.norm_xca if encoder.bn_hs and conv is encoder.convs[-1] else nn.Identity()
        scale, shift = _affine(norm)
        weight, bias = weight * scale[:, None, None, None], bias * scale + shift
        layers.append(convolution(weight, bias, padding=1, groups=dim))
    return layers


def _normed_conv(norm: nn.Layer, weight: np.ndarray, bias: Tensor | None = None) -> nn.Layer:
    """Return the convolution after a norm, of the same stride and kernel size, with the norm in its weights."""
    scale, shift = (values[None, :, None, None] for values in _affine(norm))
    bias = (weight * shift).sum((1, 2, 3)) + (0 if bias is None else array(bias))
    standardise = _standardise(norm)
    if standardise is None:
        return convolution(weight * scale, bias, stride=list(weight.shape[2:]))
    return StandardisedConv(standardise, FromChannelsLast(weight * scale, bias))


def _bottleneck(encoder: Encoder, channels_last: bool) -> tuple[nn.Layer, nn.Layer, nn.Layer]:
    """Return an `Encoder`'s two linear layers as convolutions, norm and layer scale in them, and its activation."""
    weight, bias = array(encoder.pwconv1.weight).T, array(encoder.pwconv1.bias)
    scale, shift = _affine(encoder.norm)
    expand = (FromChannelsLast if channels_last else convolution)(
        (weight * scale)[:, :, None, None], bias + (weight * shift).sum(1)
    )
    gamma = array(encoder.gamma)
    project = convolution(
        (array(encoder.pwconv2.weight) * gamma).T[:, :, None, None], array(encoder.pwconv2.bias) * gamma
    )
    return expand, encoder.act, project


def _affine(norm: nn.Layer) -> tuple[np.ndarray, np.ndarray]:
    """Return the factor and the summand of each channel of a norm in eval mode.

    For a layer norm, those after its standardisation; for the place of a folded batch norm, 1 and 0.
    """
    if isinstance(norm, nn.Identity):
        return np.ones(1), np.zeros(1)
    if isinstance(norm, nn.LayerNorm):
        return array(norm.weight), array(norm.bias)
    return affine(norm)


def _standardise(norm: nn.Layer) -> nn.LayerNorm | None:
    """Return a layer norm without weight and bias for a layer norm, None for another norm."""
    if not isinstance(norm, nn.LayerNorm):
        return None
    return nn.LayerNorm(norm._normalized_shape, epsilon=norm._epsilon, weight_attr=False, bias_attr=False)


def _linear(weight: np.ndarray, bias: np.ndarray) -> nn.Linear:
    return set_weights(nn.Linear(*weight.shape), weight, bias)
