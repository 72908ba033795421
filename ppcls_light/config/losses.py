"""Schema of the sections Loss and Metric."""

from dataclasses import dataclass, field
from typing import Annotated, List, Literal, Optional, Tuple, Union

from ..errors import ConfigError
from .types import Keyed, NonNegativeFloat, PositiveFloat, PositiveInt, Range


@dataclass
class CELoss:
    """Cross entropy; `epsilon` as Szegedy et al., arXiv 1512.00567, section 7."""

    weight: NonNegativeFloat  # factor in the sum of the losses
    epsilon: Optional[Annotated[float, Range(0, 1, high_open=True)]] = None  # smooths the labels
    reduction: Literal["mean", "sum"] = "mean"  # over the images of a batch
    # One number per class, or `balanced`: in inverse proportion to the training images of each.
    class_weights: Union[List[NonNegativeFloat], Literal["balanced"], None] = None

    def __post_init__(self) -> None:
        if isinstance(self.class_weights, list) and self.class_weights and not any(self.class_weights):
            raise ConfigError(
                "class_weights are all 0, which teaches nothing; give at least one class a weight"
            )


NamePair = Tuple[str, str]


@dataclass
class DistillationGTCELoss:
    """Cross entropy with the labels, of each network of `model_names`."""

    weight: NonNegativeFloat
    model_names: List[str]
    epsilon: Optional[Annotated[float, Range(0, 1, high_open=True)]] = None


@dataclass
class DistillationCELoss:
    """Cross entropy of the first network of each pair with the second one's softmax."""

    weight: NonNegativeFloat
    model_name_pairs: List[NamePair]
    hard_label: bool = False  # the second one's best class instead (DeiT, arXiv 2012.12877, section 4)


@dataclass
class DistillationKLDivLoss:
    """KL divergence of the first network of each pair from the second, both softened by `temperature`.

    Multiplied by temperature^2 (Hinton et al., arXiv 1503.02531, section 2), mean over the images.
    """

    weight: NonNegativeFloat
    model_name_pairs: List[NamePair]
    temperature: PositiveFloat = 4.0


@dataclass
class DistillationDMLLoss:
    """Mean of the KL divergences of each pair both ways (deep mutual learning, arXiv 1706.00384)."""

    weight: NonNegativeFloat
    model_name_pairs: List[NamePair]
    act: Literal["softmax"] = "softmax"


@dataclass
class DistillationFeatureLoss:
    """Mean squared difference of the student's pooled features, mapped linearly, and the second one's answers.

    The second of each pair is a `GraphTeacher` whose answers are embeddings; they are centred and divided by the root
    of their variance over the training images, so that 1 is the loss of answering their mean. FitNets (Romero et al.,
    arXiv 1412.6550) match hidden layers by such a map.
    """

    weight: NonNegativeFloat
    model_name_pairs: List[NamePair]


Losses = List[
    Annotated[
        Union[
            CELoss,
            DistillationGTCELoss,
            DistillationCELoss,
            DistillationKLDivLoss,
            DistillationDMLLoss,
            DistillationFeatureLoss,
        ],
        Keyed(),
    ]
]


@dataclass
class LossConfig:
    Train: Losses = field(default_factory=lambda: [CELoss(1.0)])
    Eval: Losses = field(default_factory=lambda: [CELoss(1.0)])

    def __post_init__(self) -> None:
        if not (self.Train and self.Eval):
            raise ConfigError("Train and Eval each need a loss; for example Train: [{CELoss: {weight: 1.0}}]")
        if not any(loss.weight for loss in self.Train):
            raise ConfigError(
                "every weight of Train is 0, which teaches nothing; write for example weight: 1.0"
            )

    @property
    def embeddings(self) -> List[str]:
        """The teachers whose answers the student's features are to match."""
        losses = [loss for loss in self.Train if isinstance(loss, DistillationFeatureLoss)]
        return list(dict.fromkeys(teacher for loss in losses for _, teacher in loss.model_name_pairs))


@dataclass
class TopkAcc:
    """Share of images whose label is among the k highest logits, for each k."""

    topk: Union[PositiveInt, List[PositiveInt]] = field(default_factory=lambda: [1, 5])

    def __post_init__(self) -> None:
        if not self.ks():
            raise ConfigError("topk is empty; for example topk: [1, 5]")

    def ks(self) -> List[int]:
        return [self.topk] if isinstance(self.topk, int) else list(self.topk)


@dataclass
class DistillationTopkAcc(TopkAcc):
    """TopkAcc of the network called `model_key`: the student, which is the one that is evaluated."""

    model_key: str = "Student"


Metrics = List[Annotated[Union[TopkAcc, DistillationTopkAcc], Keyed()]]


@dataclass
class MetricConfig:
    Train: Metrics = field(default_factory=lambda: [TopkAcc()])
    Eval: Metrics = field(default_factory=lambda: [TopkAcc()])

    def __post_init__(self) -> None:
        if not self.Eval:
            raise ConfigError(
                "Eval needs a metric, whose first k picks the best model; for example Eval: [{TopkAcc: {topk: [1, 5]}}]"
            )
