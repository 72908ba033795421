"""Schema of the section Metric."""

from dataclasses import dataclass, field
from typing import Annotated, List, Literal, Optional, Union

from ..errors import ConfigError
from .types import Keyed, PositiveInt, Range


@dataclass
class TopkAcc:
    """Share of images whose label is among the k highest logits, for each k."""

    topk: Union[PositiveInt, List[PositiveInt]] = field(default_factory=lambda: [1, 5])

    def __post_init__(self) -> None:
        if not self.ks():
            raise ConfigError("topk is empty; for example topk: [1, 5]")

    def ks(self) -> List[int]:
        return [self.topk] if isinstance(self.topk, int) else list(self.topk)

    @property
    def result_names(self) -> List[str]:
        return [f"top{k}" for k in self.ks()]


@dataclass
class DistillationTopkAcc(TopkAcc):
    """TopkAcc of the network called `model_key`: the student, which is the one that is evaluated."""

    model_key: str = "Student"


@dataclass
class TprAtFpr:
    """Highest share of positive images that a threshold finds while it takes at most `max_fpr` of the negative ones.

    Of two classes: class 1 is the positive one, its probability the score; an image is taken for it where the score
    is the threshold or more. The results are tpr, fpr and threshold.
    """

    max_fpr: Annotated[float, Range(0, 1, high_open=True)] = 0.001

    result_names = ("tpr", "fpr", "threshold")


@dataclass
class AUC:
    """Area under the ROC curve, of two classes: a positive image scores above a negative one with this probability."""

    result_names = ("auc",)


@dataclass
class ATTRMetric:
    """Means over tags and over images at a threshold of the probability, those of PaddleClas' attributes.

    ma: mean over tags of (recall of those that have it + recall of those that have not) / 2. label_f1: mean over tags
    of F1 (macro F1). instance_*: means over images; instance_f1 is of the mean precision and the mean recall. Tags that
    are known of no image, and images of which no tag is known, are left out.
    """

    # from which an image has a tag; PaddleClas compares it with the logit here: its 0.5 is a probability of 0.6225
    threshold: Annotated[float, Range(0, 1)] = 0.5

    result_names = (
        *("ma", "label_f1", "label_pos_recall", "label_neg_recall"),
        *("instance_f1", "instance_acc", "instance_prec", "instance_recall"),
    )


@dataclass
class MultiLabelMAP:
    """Mean over tags of the average precision; tags that no image has are left out, and so are those not known.

    `11point` is the mean of the best precisions at eleven recalls or more, as in Pascal VOC 2007.
    """

    map_type: Literal["integral", "11point"] = "integral"

    result_names = ("mAP",)


Metrics = List[
    Annotated[
        Union[TopkAcc, DistillationTopkAcc, TprAtFpr, AUC, ATTRMetric, MultiLabelMAP],
        Keyed(),
    ]
]
OF_TAGS = (ATTRMetric, MultiLabelMAP)
OF_TWO_CLASSES = (TprAtFpr, AUC)
# Of metrics that have the same names whatever their keys; TopkAcc's are top1, top5 and so on.
RESULT_NAMES = tuple(name for metric in (*OF_TWO_CLASSES, *OF_TAGS) for name in metric.result_names)


@dataclass
class MetricConfig:
    """Measures of training batches and of DataLoader.Eval; the first number of `Eval` picks the best model."""

    Train: Optional[Metrics] = None  # null: top-1 and top-5; with `Global.use_multilabel` none
    Eval: Optional[Metrics] = None  # null: the same; with `Global.use_multilabel` ATTRMetric

    def __post_init__(self) -> None:
        if self.Eval == []:
            raise ConfigError(
                "Eval needs a metric, whose first number picks the best model; for example Eval: [{TopkAcc: {topk: "
                "[1, 5]}}]"
            )
        given = [name for metric in self.Eval or () for name in metric.result_names if name in RESULT_NAMES]
        twice = next((name for name in given if given.count(name) > 1), None)
        if twice is not None:
            raise ConfigError(f"Eval: two metrics give the number {twice}; keep one of them")
        for metric in self.Train or ():
            if not isinstance(metric, TopkAcc):
                raise ConfigError(
                    f"Train: {type(metric).__name__} needs the answers to all images at once; write it under Eval"
                )

    def of(self, split: str) -> Metrics:
        """Return those of "Train" or "Eval"."""
        return getattr(self, split) or []

    def complete(self, multilabel: bool) -> None:
        """Fill in the defaults, which depend on the kind of labels."""
        if self.Train is None:
            self.Train = [] if multilabel else [TopkAcc()]
        if self.Eval is None:
            self.Eval = [ATTRMetric()] if multilabel else [TopkAcc()]

    @property
    def best(self) -> str:
        """The name of the result that picks the best model."""
        return self.Eval[0].result_names[0] if self.Eval else ""
