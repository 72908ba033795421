"""FasterNet: Run, Don't Walk: Chasing Higher FLOPS for Faster Neural Networks (arXiv 2303.03667).

Code by the authors (Chen et al., CVPR 2023): JierunChen/FasterNet, models/fasternet.py, MIT.
State-dict keys are theirs and PaddleClas'. What differs: the batch norm of the patch embedding averages its
statistics with Paddle's momentum 0.9 (PaddleClas carried torch's 0.1 over, which in Paddle forgets nine
times faster than meant), and batch norm is the only normalisation, as in every published variant.
"""

from __future__ import annotations

from typing import Any, Iterator, List, Literal, Optional, Sequence, Union

import numpy as np
from paddle import Tensor, nn
from paddle.nn.initializer import Constant

from ..config.types import NonNegativeFloat, PositiveFloat, PositiveInt, Probability
from ..errors import ConfigError
from ..ops.training import has_hooks, norm_act
from ..registry import FOLDS
from ..weights.convert import AUTHORS, PADDLECLAS, WeightNames, head_options, renaming
from ..weights.io import State
from .family import Family, Group, Pruning, conv_and_norm
from .layers import Conv2D, DropPath, PerStage, activation, initialise_normal, mixing_layer


class MLPBlock(nn.Layer):
    """Spatial mixing, then an inverted bottleneck of two 1x1 convolutions, with one shortcut.

    Input and output (N, dim, H, W). Paper, figure 4. A `layer_scale` > 0 is the initial
    factor of the branch, learned for each channel (arXiv 2103.17239).
    """

    def __init__(
        self,
        dim: int,
        hidden: int,
        mixing: dict[str, Any],
        drop_path: float,
        layer_scale: float,
        act_layer: str,
    ) -> None:
        super().__init__()
        self.spatial_mixing = mixing_layer(dim=dim, **mixing)
        self.mlp = nn.Sequential(
            Conv2D(dim, hidden, 1, bias_attr=False),
            nn.BatchNorm2D(hidden),
            activation(act_layer),
            Conv2D(hidden, dim, 1, bias_attr=False),
        )
        self.layer_scale = None
        if layer_scale > 0:
            self.layer_scale = self.create_parameter([dim], default_initializer=Constant(layer_scale))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        expand, norm, act, reduce = self.mlp
        hidden = norm_act(norm, act, expand(self.spatial_mixing(x)))
        if self._ends_in(reduce):
            return reduce.forward(hidden, shortcut=x)
        branch = reduce(hidden)
        if self.layer_scale is not None:
            branch = branch * self.layer_scale.reshape([1, -1, 1, 1])
        return x + self.drop_path(branch)

    def _ends_in(self, layer: nn.Layer) -> bool:
        """Return whether only the shortcut is added to the output of `layer`, and nobody watches it."""
        drops = self.training and self.drop_path.rate > 0
        watched = has_hooks(layer) or has_hooks(self.drop_path)
        return self.layer_scale is None and not drops and type(layer) is Conv2D and not watched


class Stage(nn.Sequential):
    """An MLPBlock for each of the `hidden` widths and `drop_path` rates; (N, dim, H, W)."""

    def __init__(self, hidden: Sequence[int], drop_path: Sequence[float], **options: Any) -> None:
        blocks = [MLPBlock(hidden=width, drop_path=rate, **options) for width, rate in zip(hidden, drop_path)]
        super().__init__(("blocks", nn.Sequential(*blocks)))


class PatchEmbed(nn.Sequential):
    """(N, 3, H, W) to (N, dim, H / 4, W / 4): 4x4 convolution of stride 4, batch norm."""

    def __init__(self, dim: int) -> None:
        proj = Conv2D(3, dim, 4, stride=4, bias_attr=False)
        super().__init__(("proj", proj), ("norm", nn.BatchNorm2D(dim)))

    def forward(self, x: Tensor) -> Tensor:
        return norm_act(self.norm, nn.Identity(), self.proj(x))


class PatchMerging(nn.Sequential):
    """(N, dim, H, W) to (N, 2 dim, H / 2, W / 2): 2x2 convolution of stride 2, batch norm."""

    def __init__(self, dim: int) -> None:
        reduction = Conv2D(dim, 2 * dim, 2, stride=2, bias_attr=False)
        super().__init__(("reduction", reduction), ("norm", nn.BatchNorm2D(2 * dim)))

    def forward(self, x: Tensor) -> Tensor:
        return norm_act(self.norm, nn.Identity(), self.reduction(x))


class FasterNet(nn.Layer):
    """FasterNet.

    Input (N, 3, H, W); output logits (N, class_num), or with `features_only` the list of the four stages'
    maps at strides 4, 8, 16, 32, each through its own batch norm (norm0, norm2, norm4, norm6) as the
    authors do for detection.

    Args:
        embed_dim: channels of the first stage; they double at each stage.
        depths: blocks of the four stages.
        mlp_ratio: hidden width of a block over its width.
        mlp_widths: hidden width of each block, sum(depths) of them, in place of those of `mlp_ratio`, as
            pruning leaves them.
        n_div: PConv convolves 1 / n_div of the channels; "gconv" has n_div^2 groups.
        feature_dim: width of the 1x1 convolution between pooling and classifier.
        drop_path_rate: stochastic depth of the last block; it grows linearly from 0 at the first.
        layer_scale_init_value: 0 for none, as in the published variants.
        act_layer: activation of blocks and head.
        pconv_fw_type: `mode` of PConv; the result is the same.
        spatial_mixing: the 3x3 operator of every block, as `layers.mixing_layer` has them. The published
            variants are "pconv"; the others are for comparison, with weights of their own.

    Attributes: see `family.Family`; with `features_only`, `head_keys` are those of the four norms.

    Raises ConfigError: as many `mlp_widths` as blocks are needed.
    """

    def __init__(
        self,
        class_num: PositiveInt = 1000,
        embed_dim: PositiveInt = 96,
        depths: PerStage = (1, 2, 8, 2),
        mlp_ratio: PositiveFloat = 2.0,
        n_div: PositiveInt = 4,
        feature_dim: PositiveInt = 1280,
        drop_path_rate: Probability = 0.1,
        layer_scale_init_value: NonNegativeFloat = 0.0,
        act_layer: Literal["GELU", "RELU"] = "RELU",
        pconv_fw_type: Literal["split_cat", "slicing"] = "split_cat",
        spatial_mixing: Literal["pconv", "dwconv", "gconv", "conv"] = "pconv",
        features_only: bool = False,
        mlp_widths: Optional[List[PositiveInt]] = None,
    ) -> None:
        super().__init__()
        self.feature_channels = [embed_dim * 2**i for i in range(4)]
        self.feature_strides = [4, 8, 16, 32]
        self.features_only = features_only
        self.patch_embed = PatchEmbed(embed_dim)
        mixing = {"kind": spatial_mixing, "n_div": n_div, "pconv_mode": pconv_fw_type}
        rates = np.linspace(0.0, drop_path_rate, sum(depths)).tolist()
        if mlp_widths is None:
            mlp_widths = np.repeat([int(dim * mlp_ratio) for dim in self.feature_channels], depths).tolist()
        if len(mlp_widths) != len(rates):
            raise ConfigError(
                f"mlp_widths has {len(mlp_widths)} entries for {len(rates)} blocks; give one for each"
            )
        self.stages = nn.Sequential()
        for i, (dim, depth) in enumerate(zip(self.feature_channels, depths)):
            stage = Stage(
                mlp_widths[:depth],
                rates[:depth],
                dim=dim,
                mixing=mixing,
                layer_scale=layer_scale_init_value,
                act_layer=act_layer,
            )
            mlp_widths, rates = mlp_widths[depth:], rates[depth:]
            self.stages.add_sublayer(str(2 * i), stage)
            if i < 3:
                self.stages.add_sublayer(str(2 * i + 1), PatchMerging(dim))
        if features_only:
            for i, dim in enumerate(self.feature_channels):
                setattr(self, f"norm{2 * i}", nn.BatchNorm2D(dim))
        else:
            self.avgpool_pre_head = nn.Sequential(
                nn.AdaptiveAvgPool2D(1),
                Conv2D(self.feature_channels[-1], feature_dim, 1, bias_attr=False),
                activation(act_layer),
            )
            self.head = nn.Linear(feature_dim, class_num)
        initialise_normal(self)
        own = ("norm0.", "norm2.", "norm4.", "norm6.") if features_only else ("head.",)
        self.head_keys = tuple(key for key in self.state_dict() if key.startswith(own))
        self.spare_prefixes = ("avgpool_pre_head.", "head.") if features_only else ()

    def forward(self, x: Tensor) -> Union[Tensor, List[Tensor]]:
        x = self.patch_embed(x)
        features = []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if self.features_only and i % 2 == 0:
                features.append(getattr(self, f"norm{i}")(x))
        if self.features_only:
            return features
        return self.head(self.avgpool_pre_head(x).flatten(1))


@FOLDS.register("layer_scale")
def fold_layer_scale(model: nn.Layer) -> None:
    """Multiply the factors of each block's branch into the 1x1 convolution that ends it."""
    for block in model.sublayers():
        if isinstance(block, MLPBlock) and block.layer_scale is not None:
            weight = block.mlp[-1].weight
            weight.set_value(weight * block.layer_scale.reshape([-1, 1, 1, 1]))
            block.layer_scale = None


def _weight_options(state: State) -> dict[str, object]:
    scaled = any(key.endswith(".layer_scale") for key in state)
    return {**head_options(state, "head.bias"), **({"layer_scale_init_value": 1.0} if scaled else {})}


def _groups(model: FasterNet) -> Iterator[Group]:
    """Yield the hidden channels of every block, then the head's; the residual stream joins all blocks of a stage."""
    for name, _ in model.named_sublayers():
        if name.endswith(".mlp"):
            cuts = {**conv_and_norm(f"{name}.0", f"{name}.1"), f"{name}.3.weight": 1}
            yield Group(f"{name}.0.weight", cuts)
    head = "avgpool_pre_head.1.weight"
    yield Group(head, {head: 0, "head.weight": 0})


def _pruned_options(left: dict[str, int]) -> dict[str, object]:
    *mlp_widths, feature_dim = left.values()
    return {"mlp_widths": mlp_widths, "feature_dim": feature_dim}


_TIMM = renaming(
    (r"^stages\.(\d)\.downsample\.", lambda match: f"stages.{2 * int(match[1]) - 1}."),
    (r"^stages\.(\d)\.blocks\.", lambda match: f"stages.{2 * int(match[1])}.blocks."),
    (r"^conv_head\.", "avgpool_pre_head.1."),
    (r"^classifier\.", "head."),
)

FAMILY = Family(
    FasterNet,
    weight_names=(PADDLECLAS, WeightNames("timm's", r"^conv_head\.|\.downsample\.", _TIMM), AUTHORS),
    weight_options=_weight_options,
    stages=lambda model: (
        ("patch_embed.",),
        ("stages.0.",),
        *((f"stages.{i - 1}.", f"stages.{i}.") for i in (2, 4, 6)),  # with the merging before it
    ),
    # `avgpool_pre_head` pools it first; its 1x1 convolution and activation see no positions.
    last_map=lambda model: "stages.6",
    finer_map=lambda model: "stages.4",
    pruning=Pruning(_groups, _pruned_options),
    folds=("layer_scale",),
)

# Top-1: JierunChen/FasterNet, README.md, crop ratio 0.9.
FAMILY.add("FasterNet_T0", 71.918, embed_dim=40, drop_path_rate=0.0, act_layer="GELU")
FAMILY.add("FasterNet_T1", 76.218, embed_dim=64, drop_path_rate=0.02, act_layer="GELU")
FAMILY.add("FasterNet_T2", 78.886, embed_dim=96, drop_path_rate=0.05)
FAMILY.add("FasterNet_S", 81.284, embed_dim=128, depths=(1, 2, 13, 2), drop_path_rate=0.1)
FAMILY.add("FasterNet_M", 82.962, embed_dim=144, depths=(3, 4, 18, 3), drop_path_rate=0.2)
FAMILY.add("FasterNet_L", 83.506, embed_dim=192, depths=(3, 4, 18, 3), drop_path_rate=0.3)
