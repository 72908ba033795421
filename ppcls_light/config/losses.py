"""Schema of the section Loss."""

from dataclasses import dataclass, field
from typing import Annotated, List, Literal, Optional, Tuple, Union

from ..errors import ConfigError
from .types import Keyed, NonNegativeFloat, PositiveFloat, Range


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


@dataclass
class MultiLabelLoss:
    """Binary cross entropy of each tag's sigmoid; tags that are not known (-1) do not count.

    `weight_ratio` multiplies a tag's term by e^(1 - r) where an image has it and by e^r where not; r is the share
    of the split's images that have the tag.
    """

    weight: NonNegativeFloat
    epsilon: Optional[Annotated[float, Range(0, 1, high_open=True)]] = None  # mixes 1 / K into the K labels
    size_sum: bool = False  # sum over the tags in place of their mean
    weight_ratio: bool = False


@dataclass
class MultiLabelAsymmetricLoss:
    """Asymmetric loss of Ben-Baruch et al., arXiv 2009.14119, equations 4 to 7."""

    weight: NonNegativeFloat
    gamma_pos: NonNegativeFloat = 1.0
    gamma_neg: NonNegativeFloat = 4.0
    clip: Annotated[float, Range(0, 1, high_open=True)] = 0.05  # margin of the negatives' probability
    epsilon: PositiveFloat = 1e-8  # least probability, of which the logarithm is taken
    disable_focal_loss_grad: bool = True  # the focusing factor is a constant in the backward pass
    reduction: Literal["mean", "sum"] = "sum"  # over images and tags


NamePair = Tuple[str, str]
LogitsKey = Optional[Literal["logits"]]  # accepted from PaddleClas' YAML, and the same as without


@dataclass
class DistillationGTCELoss:
    """Cross entropy with the labels, of each network of `model_names`."""

    weight: NonNegativeFloat
    model_names: List[str]
    epsilon: Optional[Annotated[float, Range(0, 1, high_open=True)]] = None
    key: LogitsKey = None


@dataclass
class DistillationMultiLabelLoss(MultiLabelLoss):
    """MultiLabelLoss of each network of `model_names`."""

    model_names: List[str] = field(default_factory=list)
    key: LogitsKey = None


@dataclass
class DistillationCELoss:
    """Cross entropy of the first network of each pair with the second one's softmax."""

    weight: NonNegativeFloat
    model_name_pairs: List[NamePair]
    hard_label: bool = False  # the second one's best class instead (DeiT, arXiv 2012.12877, section 4)
    key: LogitsKey = None


@dataclass
class DistillationKLDivLoss:
    """KL divergence of the first network of each pair from the second, both softened by `temperature`.

    Multiplied by temperature^2 (Hinton et al., arXiv 1503.02531, section 2), mean over the images.
    """

    weight: NonNegativeFloat
    model_name_pairs: List[NamePair]
    temperature: PositiveFloat = 4.0
    key: LogitsKey = None


@dataclass
class DistillationDMLLoss:
    """Mean of the KL divergences of each pair both ways (deep mutual learning, arXiv 1706.00384)."""

    weight: NonNegativeFloat
    model_name_pairs: List[NamePair]
    act: Literal["softmax", "sigmoid"] = "softmax"  # sigmoid: the same sum of p log(p / q), over tags
    weight_ratio: bool = False  # multiplies a tag's term as that of `MultiLabelLoss`
    sum_across_class_dim: bool = False  # K times the divergence, K classes: the scale of older recipes
    key: LogitsKey = None


@dataclass
class DistillationDistanceLoss:
    """Mean distance of the elements of two networks' features, or of their logits, of each pair."""

    weight: NonNegativeFloat
    model_name_pairs: List[NamePair]
    mode: Literal["l2", "l1", "smooth_l1"] = "l2"  # l2 is the squared difference
    act: Optional[Literal["softmax", "sigmoid"]] = None  # of both, first
    key: Optional[str] = (
        None  # null and "logits" are the logits, else one of `return_patterns` of both networks
    )


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
            MultiLabelLoss,
            MultiLabelAsymmetricLoss,
            DistillationGTCELoss,
            DistillationMultiLabelLoss,
            DistillationCELoss,
            DistillationKLDivLoss,
            DistillationDMLLoss,
            DistillationDistanceLoss,
            DistillationFeatureLoss,
        ],
        Keyed(),
    ]
]


@dataclass
class LossConfig:
    """Losses of training and evaluation; null: cross entropy, or with `Global.use_multilabel` MultiLabelLoss."""

    Train: Optional[Losses] = None
    Eval: Optional[Losses] = None

    def __post_init__(self) -> None:
        if self.Train == [] or self.Eval == []:
            raise ConfigError("Train and Eval each need a loss; for example Train: [{CELoss: {weight: 1.0}}]")
        if self.Train and not any(loss.weight for loss in self.Train):
            raise ConfigError(
                "every weight of Train is 0, which teaches nothing; write for example weight: 1.0"
            )

    def of(self, split: str) -> Losses:
        """Return those of "Train" or "Eval"."""
        return getattr(self, split) or []

    def complete(self, multilabel: bool) -> None:
        """Fill in the defaults, which depend on the kind of labels."""
        for split in ("Train", "Eval"):
            if getattr(self, split) is None:
                setattr(self, split, [MultiLabelLoss(1.0) if multilabel else CELoss(1.0)])

    @property
    def embeddings(self) -> List[str]:
        """The teachers whose answers the student's features are to match."""
        losses = [loss for loss in self.of("Train") if isinstance(loss, DistillationFeatureLoss)]
        return list(dict.fromkeys(teacher for loss in losses for _, teacher in loss.model_name_pairs))


OF_TAGS = (MultiLabelLoss, MultiLabelAsymmetricLoss)
OF_CLASSES = (CELoss, DistillationGTCELoss, DistillationCELoss, DistillationKLDivLoss)
SMOOTHING = (CELoss, DistillationGTCELoss, MultiLabelLoss)  # their `epsilon` smooths the labels
