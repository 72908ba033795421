"""The sections that say what is learned and how: Loss, Metric, Optimizer and its learning rate."""

from dataclasses import dataclass, field
from typing import Annotated, List, Literal, Optional, Union

from ..errors import ConfigError
from .types import Keyed, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Probability, Range


@dataclass
class CELoss:
    """Cross entropy times `weight`; `epsilon` smooths the labels (Szegedy et al., arXiv 1512.00567, sec. 7)."""

    weight: NonNegativeFloat
    epsilon: Optional[Annotated[float, Range(0, 1, high_open=True)]] = None
    reduction: Literal["mean", "sum"] = "mean"


Losses = List[Annotated[CELoss, Keyed()]]


@dataclass
class LossConfig:
    Train: Losses = field(default_factory=lambda: [CELoss(1.0)])
    Eval: Losses = field(default_factory=lambda: [CELoss(1.0)])

    def __post_init__(self):
        if not (self.Train and self.Eval):
            raise ConfigError("Train and Eval each need a loss; for example Train: [{CELoss: {weight: 1.0}}]")


@dataclass
class TopkAcc:
    """Share of images whose label is among the k highest logits, for each k."""

    topk: Union[PositiveInt, List[PositiveInt]] = field(default_factory=lambda: [1, 5])

    def __post_init__(self):
        if not self.ks():
            raise ConfigError("topk is empty; for example topk: [1, 5]")

    def ks(self):
        return [self.topk] if isinstance(self.topk, int) else list(self.topk)


Metrics = List[Annotated[TopkAcc, Keyed()]]


@dataclass
class MetricConfig:
    Train: Metrics = field(default_factory=lambda: [TopkAcc()])
    Eval: Metrics = field(default_factory=lambda: [TopkAcc()])

    def __post_init__(self):
        if not self.Eval:
            raise ConfigError(
                "Eval needs a metric, whose first k picks the best model; for example Eval: [{TopkAcc: {topk: [1, 5]}}]"
            )


@dataclass
class _Schedule:
    """What every schedule has: linear warm-up, counted in epochs, from `warmup_start_lr` to `learning_rate`."""

    learning_rate: PositiveFloat
    warmup_epoch: NonNegativeInt = 0
    warmup_start_lr: NonNegativeFloat = 0.0
    by_epoch: bool = False


@dataclass
class Cosine(_Schedule):
    name: Literal["Cosine"] = "Cosine"
    eta_min: NonNegativeFloat = 0.0


@dataclass
class Linear(_Schedule):
    name: Literal["Linear"] = "Linear"
    end_lr: NonNegativeFloat = 0.0
    power: PositiveFloat = 1.0
    cycle: bool = False


@dataclass
class Step(_Schedule):
    step_size: PositiveInt = 30  # epochs
    gamma: PositiveFloat = 0.1
    name: Literal["Step"] = "Step"


@dataclass
class Piecewise(_Schedule):
    """`values[i]` up to `decay_epochs[i]`; `learning_rate` is `values[0]`."""

    learning_rate: Optional[PositiveFloat] = None
    decay_epochs: List[PositiveInt] = field(default_factory=list)
    values: List[PositiveFloat] = field(default_factory=list)
    name: Literal["Piecewise"] = "Piecewise"

    def __post_init__(self):
        if (
            len(self.values) != len(self.decay_epochs) + 1
            or sorted(set(self.decay_epochs)) != self.decay_epochs
        ):
            raise ConfigError(
                "Piecewise needs rising decay_epochs and one value more; "
                "for example decay_epochs: [30, 60], values: [0.1, 0.01, 0.001]"
            )
        if self.learning_rate is None:
            self.learning_rate = self.values[0]
        elif self.learning_rate != self.values[0]:
            raise ConfigError(
                f"learning_rate {self.learning_rate} is not values[0] {self.values[0]}; leave learning_rate out"
            )


@dataclass
class ConstLR(_Schedule):
    name: Literal["ConstLR"] = "ConstLR"


LearningRate = Union[Cosine, Linear, Step, Piecewise, ConstLR]


@dataclass
class Regularizer:
    """Penalty on the weights, except those a network exempts (PP-LCNet: its batch norms)."""

    name: Literal["L1", "L2", "L1Decay", "L2Decay"]
    coeff: NonNegativeFloat


@dataclass
class _Optimizer:
    lr: LearningRate
    clip_norm: Optional[PositiveFloat] = None  # PaddleClas: each gradient's own norm
    clip_grad: Optional[PositiveFloat] = None  # global norm, as FasterNet's authors; PaddleClas ignores it
    no_weight_decay_name: Optional[str] = None  # parts of parameter names, separated by spaces
    one_dim_param_no_weight_decay: bool = False
    multi_precision: bool = False

    def __post_init__(self):
        if self.clip_norm is not None and self.clip_grad is not None:
            raise ConfigError(
                "clip_norm and clip_grad are both given; keep clip_grad (global norm) or clip_norm (each tensor)"
            )


@dataclass
class _WithPenalty(_Optimizer):
    regularizer: Optional[Regularizer] = None
    weight_decay: Optional[NonNegativeFloat] = None  # short for regularizer: {name: L2, coeff: ...}

    def __post_init__(self):
        super().__post_init__()
        if self.regularizer is not None and self.weight_decay is not None:
            raise ConfigError(
                "regularizer and weight_decay are both given; keep one, "
                f"for example regularizer: {{name: L2, coeff: {self.regularizer.coeff:g}}}"
            )


@dataclass
class Momentum(_WithPenalty):
    name: Literal["Momentum"] = "Momentum"
    momentum: Probability = 0.9
    use_nesterov: bool = False


@dataclass
class SGD(_WithPenalty):
    name: Literal["SGD"] = "SGD"


@dataclass
class AdamW(_Optimizer):
    name: Literal["AdamW"] = "AdamW"
    beta1: Probability = 0.9
    beta2: Probability = 0.999
    epsilon: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.01
