"""ML-Decoder: Scalable and Versatile Classification Head (Ridnik et al., arXiv 2111.12933).

State-dict keys are PaddleClas'. A query per tag, or per group of tags, looks at the map of features by cross-attention,
and a linear layer of its own makes its group's logits of what it has seen. The queries are fixed random vectors, and
there is no self-attention among them (section 2.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Sequence

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn
from paddle.nn.initializer import Constant, Normal, XavierNormal

from ..config.types import PositiveInt, Probability
from ..errors import ConfigError


@dataclass
class DecoderOptions:
    """Sizes of an ML-Decoder, with PaddleClas' names and defaults."""

    query_num: PositiveInt = 80  # groups of tags; at most one per tag
    embed_dim: PositiveInt = 768  # width of queries and attention
    num_heads: PositiveInt = 8  # of attention, a divisor of embed_dim
    mlp_hidden_dim: PositiveInt = 2048
    dropout: Probability = 0.1
    class_num: Optional[PositiveInt] = None  # accepted from PaddleClas; it can only be that of Arch
    in_channels: Optional[PositiveInt] = None  # accepted from PaddleClas; it can only be the network's width

    def __post_init__(self) -> None:
        if self.embed_dim % self.num_heads:
            raise ConfigError(
                f"num_heads {self.num_heads} does not divide embed_dim {self.embed_dim}; use one that does, for "
                "example num_heads: 8"
            )

    def require(self, class_num: int, in_channels: int) -> None:
        """Raise ConfigError where sizes that follow from the network are given as others."""
        for key, own in (("class_num", class_num), ("in_channels", in_channels)):
            if getattr(self, key) not in (None, own):
                raise ConfigError(
                    f"MLDecoder.{key} {getattr(self, key)} is not the network's {own}; leave it out, or use "
                    f"-o MLDecoder.{key}={own}"
                )


class CrossAttention(nn.Layer):
    """Multi-head attention of queries (N or 1, Q, D) to a memory (N, L, D); the result is (N, Q, D)."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.width, self.dropout = heads, dim // heads, dropout
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, queries: Tensor, memory: Tensor) -> Tensor:
        query, key, value = (
            layer(x).reshape([0, 0, self.heads, self.width]).transpose([0, 2, 1, 3])
            for layer, x in ((self.q_proj, queries), (self.k_proj, memory), (self.v_proj, memory))
        )
        weights = F.softmax(paddle.matmul(query * self.width**-0.5, key, transpose_y=True))
        weights = F.dropout(weights, self.dropout, training=self.training)
        self._length = weights.shape[-1]
        mixed = paddle.matmul(weights, value).transpose([0, 2, 1, 3])
        return self.out_proj(mixed.reshape([0, 0, self.heads * self.width]))

    def own_multiply_adds(self, output_shape: Sequence[int]) -> int:
        """Return the multiply-adds of both products of activations; for `profile`."""
        queries, dim = output_shape
        return 2 * queries * dim * self._length


class DecoderLayer(nn.Layer):
    """Cross-attention and a feed-forward network, each with dropout, a residual and a layer norm after it."""

    def __init__(self, options: DecoderOptions) -> None:
        super().__init__()
        dim, self.dropout = options.embed_dim, options.dropout
        self.cross_attn = CrossAttention(dim, options.num_heads, options.dropout)
        self.linear1 = nn.Linear(dim, options.mlp_hidden_dim)
        self.linear2 = nn.Linear(options.mlp_hidden_dim, dim)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(dim) for _ in range(3))

    def forward(self, queries: Tensor, memory: Tensor) -> Tensor:
        # Self-attention would be here; the queries themselves stand in for its result.
        x = self.norm1(queries + self._drop(queries))
        x = self.norm2(x + self._drop(self.cross_attn(x, memory)))
        hidden = self._drop(F.relu(self.linear1(x)))
        return self.norm3(x + self._drop(self.linear2(hidden)))

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, training=self.training)


class MLDecoder(nn.Layer):
    """Head on a map (N, in_channels, H, W); the result is logits (N, class_num).

    The last group has fewer tags than the others where `query_num` does not divide `class_num`.
    """

    def __init__(self, in_channels: int, class_num: int, options: DecoderOptions) -> None:
        super().__init__()
        options.require(class_num, in_channels)
        groups, dim = min(options.query_num, class_num), options.embed_dim
        self.class_num, self.dim, self.groups = class_num, dim, groups
        self.input_proj = nn.Conv2D(in_channels, dim, 1)
        self.query_pos_embed = nn.Embedding(groups, dim, weight_attr=paddle.ParamAttr(initializer=Normal()))
        self.query_pos_embed.weight.stop_gradient = True
        # One layer, under PaddleClas' key of the first of several.
        self.decoder = nn.LayerDict({"layers": nn.LayerList([DecoderLayer(options)])})
        weight, bias = (paddle.ParamAttr(initializer=start) for start in (XavierNormal(), Constant(0.0)))
        outputs = groups * -(-class_num // groups)
        self.group_conv = nn.Conv2D(
            groups * dim, outputs, 1, groups=groups, weight_attr=weight, bias_attr=bias
        )

    def forward(self, x: Tensor) -> Tensor:
        memory = F.relu(self.input_proj(x)).flatten(2).transpose([0, 2, 1])
        # Each image has its own dropout. In a graph the batch is -1, which keeps the 1 that broadcasts to all images.
        queries = self.query_pos_embed.weight.unsqueeze(0).expand([x.shape[0], -1, -1])
        seen = self.decoder["layers"][0](queries, memory)
        return self.group_conv(seen.reshape([0, self.groups * self.dim, 1, 1])).flatten(1)[
            :, : self.class_num
        ]
