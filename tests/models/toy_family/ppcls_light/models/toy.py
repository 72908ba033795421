"""Toy: four convolutions and a gain, a family that is only there to show what a family's file holds."""

from typing import Tuple

from paddle import nn
from paddle.nn.initializer import Constant

from ..config.types import PositiveInt
from ..registry import FOLDS
from ..weights.convert import PADDLECLAS, WeightNames, head_options, renaming
from .family import Family, Group, Pruning, conv_and_norm


class Toy(nn.Layer):
    """Toy.

    Input (N, 3, H, W); output logits (N, class_num), or with `features_only` the four stages' maps at strides 4, 8, 16
    and 32.
    """

    def __init__(
        self,
        widths: Tuple[(PositiveInt,) * 4] = (16, 16, 16, 16),
        class_num: PositiveInt = 1000,
        features_only: bool = False,
    ):
        super().__init__()
        self.feature_channels, self.feature_strides = list(widths), [4, 8, 16, 32]
        self.features_only = features_only
        self.stages = nn.LayerList(
            nn.Sequential(
                nn.Conv2D(inputs, outputs, stride + 1, stride, padding=1, bias_attr=False),
                nn.BatchNorm2D(outputs),
                nn.ReLU(),
            )
            for inputs, outputs, stride in zip((3, *widths), widths, (4, 2, 2, 2))
        )
        self.head_keys = () if features_only else ("head.weight", "head.bias")
        self.spare_prefixes = ("gain", "head.") if features_only else ()
        if not features_only:
            self.gain = self.create_parameter([widths[-1]], default_initializer=Constant(0.5))
            self.head = nn.Linear(widths[-1], class_num)

    def forward(self, x):
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        if self.features_only:
            return features
        x = nn.functional.adaptive_avg_pool2d(x, 1).flatten(1)
        return self.head(x if self.gain is None else x * self.gain)


@FOLDS.register("toy_gain")
def fold_gain(model):
    """Multiply the gain into the classifier."""
    for network in model.sublayers(include_self=True):
        if isinstance(network, Toy) and not network.features_only:
            network.head.weight.set_value(network.head.weight * network.gain.unsqueeze(1))
            network.gain = None


def _groups(model):
    last = len(model.stages) - 1
    for i in range(len(model.stages)):
        readers = {"gain": 0, "head.weight": 0} if i == last else {f"stages.{i + 1}.0.weight": 1}
        yield Group(f"stages.{i}.0.weight", {**conv_and_norm(f"stages.{i}.0", f"stages.{i}.1"), **readers})


FAMILY = Family(
    Toy,
    weight_names=(
        PADDLECLAS,
        WeightNames(
            "the toy maker's",
            r"^trunk\.",
            renaming(
                (r"^trunk\.(\d)\.conv\.", r"stages.\1.0."),
                (r"^trunk\.(\d)\.bn\.", r"stages.\1.1."),
                (r"^fc\.", "head."),
            ),
        ),
    ),
    weight_options=lambda state: head_options(state, "head.bias"),
    stages=lambda model: tuple((f"stages.{i}.",) for i in range(4)),  # the first is the stem
    last_map=lambda model: "stages.3",
    finer_map=lambda model: "stages.2",
    pruning=Pruning(_groups, lambda left: {"widths": list(left.values())}),
    folds=("toy_gain",),
)

# Top-1: made up.
FAMILY.add("Toy_S", 12.3, 32)
FAMILY.add("Toy_M", 23.4, 32, widths=(16, 32, 64, 128))
