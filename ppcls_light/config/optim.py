"""Schema of the section Optimizer, with the schedules of the learning rate."""

from dataclasses import dataclass, field
from typing import Annotated, Any, List, Literal, Optional, Union

from ..errors import ConfigError
from .types import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Probability, Range

# Repeated factor of a learning rate; above 1 the rate would soon be infinite.
DecayFactor = Annotated[float, Range(0, 1, low_open=True)]


_NOT_GIVEN = 0  # the default of keys that must be positive, and of a learning rate that other keys give


@dataclass
class _Schedule:
    """Keys of every schedule: linear warm-up from `warmup_start_lr` to `learning_rate`, and factors by stage."""

    learning_rate: PositiveFloat
    warmup_epoch: NonNegativeInt = 0  # epochs of the warm-up
    warmup_start_lr: NonNegativeFloat = 0.0
    by_epoch: bool = False  # changes between epochs, not at each update
    # The rates are for updates of so many images and are scaled in proportion to the images of an update
    # (batch x processes x `update_freq`); null leaves them as written, and more than one batch per update is
    # warned of.
    base_batch_size: Optional[PositiveInt] = None
    # Gives the classifier the factor 1, the last stage d, the one before d^2 and so on to the stem (BEiT,
    # timm).
    layer_decay: Optional[DecayFactor] = None
    stage_factors: Optional[List[NonNegativeFloat]] = None  # for the stem and each stage
    head_factor: Optional[NonNegativeFloat] = None  # the classifier's


@dataclass
class Cosine(_Schedule):
    """Half a cosine from `learning_rate` to `eta_min`."""

    name: Literal["Cosine"] = "Cosine"
    eta_min: NonNegativeFloat = 0.0


@dataclass
class Linear(_Schedule):
    """A polynomial, by default a line, from `learning_rate` to `end_lr`."""

    name: Literal["Linear"] = "Linear"
    end_lr: NonNegativeFloat = 0.0
    power: PositiveFloat = 1.0
    cycle: bool = False


@dataclass
class Step(_Schedule):
    """`learning_rate` times `gamma` after each `step_size` epochs."""

    step_size: PositiveInt = 30  # epochs
    gamma: DecayFactor = 0.1
    name: Literal["Step"] = "Step"


@dataclass
class Piecewise(_Schedule):
    """`values[i]` up to `decay_epochs[i]`; `learning_rate` is `values[0]`."""

    learning_rate: PositiveFloat = _NOT_GIVEN
    decay_epochs: List[PositiveInt] = field(default_factory=list)
    values: List[PositiveFloat] = field(default_factory=list)
    name: Literal["Piecewise"] = "Piecewise"

    def __post_init__(self) -> None:
        if (
            len(self.values) != len(self.decay_epochs) + 1
            or sorted(set(self.decay_epochs)) != self.decay_epochs
        ):
            raise ConfigError(
                "Piecewise needs rising decay_epochs and one value more; "
                "for example decay_epochs: [30, 60], values: [0.1, 0.01, 0.001]"
            )
        self.learning_rate = _alias(self.learning_rate, self.values[0], "values[0]")


@dataclass
class MultiStepDecay(_Schedule):
    """`learning_rate` times `gamma` for each of the `milestones`, in epochs after the warm-up, that has passed."""

    milestones: List[PositiveInt] = field(default_factory=list)
    gamma: DecayFactor = 0.1
    name: Literal["MultiStepDecay"] = "MultiStepDecay"

    def __post_init__(self) -> None:
        if not self.milestones or sorted(set(self.milestones)) != self.milestones:
            raise ConfigError("MultiStepDecay needs rising milestones; for example milestones: [30, 60, 90]")


@dataclass
class Cyclic(_Schedule):
    """Cyclical learning rate (Smith, arXiv 1506.01186): `step_size_up` ticks up, `step_size_down` ticks down.

    A tick is an update, or an epoch when `by_epoch`. A warm-up ends at `base_learning_rate`, to which
    `learning_rate` is set.
    """

    learning_rate: PositiveFloat = _NOT_GIVEN
    base_learning_rate: PositiveFloat = _NOT_GIVEN
    max_learning_rate: PositiveFloat = _NOT_GIVEN
    step_size_up: PositiveInt = _NOT_GIVEN
    step_size_down: Optional[PositiveInt] = None  # as step_size_up
    mode: Literal["triangular", "triangular2", "exp_range"] = "triangular"
    exp_gamma: DecayFactor = 1.0
    name: Literal["Cyclic"] = "Cyclic"

    def __post_init__(self) -> None:
        if _NOT_GIVEN in (self.base_learning_rate, self.max_learning_rate, self.step_size_up):
            raise ConfigError(
                "Cyclic needs base_learning_rate, max_learning_rate and step_size_up; for example "
                "base_learning_rate: 0.02, max_learning_rate: 0.1, step_size_up: 2000"
            )
        self.learning_rate = _alias(self.learning_rate, self.base_learning_rate, "base_learning_rate")


@dataclass
class OneCycleLR(_Schedule):
    """One cycle over the whole run (Smith and Topin, arXiv 1708.07120), which begins with its own warm-up."""

    learning_rate: PositiveFloat = _NOT_GIVEN
    max_learning_rate: PositiveFloat = _NOT_GIVEN
    divide_factor: PositiveFloat = 25.0
    end_learning_rate: NonNegativeFloat = 1e-10
    phase_pct: Probability = 0.3  # share of the run that rises
    anneal_strategy: Literal["cos", "linear"] = "cos"
    three_phase: bool = False
    name: Literal["OneCycleLR"] = "OneCycleLR"

    def __post_init__(self) -> None:
        if self.max_learning_rate == _NOT_GIVEN:
            raise ConfigError("OneCycleLR needs max_learning_rate; for example max_learning_rate: 0.1")
        if self.warmup_epoch:
            raise ConfigError("OneCycleLR has its own warm-up, phase_pct of the run; leave warmup_epoch out")
        if self.three_phase and self.phase_pct >= 0.5:
            raise ConfigError(
                f"three_phase rises and falls for phase_pct each; {self.phase_pct} is too much, use 0.3"
            )
        self.learning_rate = _alias(self.learning_rate, self.max_learning_rate, "max_learning_rate")


def _alias(learning_rate: Optional[float], value: float, key: str) -> float:
    """Return `value`, the rate that another `key` gives, unless `learning_rate` contradicts it."""
    if learning_rate not in (_NOT_GIVEN, value):
        raise ConfigError(f"learning_rate {learning_rate} is not {key} {value}; leave learning_rate out")
    return value


@dataclass(init=False)
class ReduceOnPlateau(_Schedule):
    """PaddleClas' schedule of this name, refused with any keys: it is no function of the step."""

    name: Literal["ReduceOnPlateau"] = "ReduceOnPlateau"

    def __init__(self, **_: Any) -> None:
        raise ConfigError(
            "ReduceOnPlateau depends on past scores, not on the step alone, so a run could not be resumed exactly; "
            "use Cosine or MultiStepDecay, and Global.early_stop to end a run that gets no better"
        )


@dataclass
class ConstLR(_Schedule):
    """`learning_rate` after the warm-up."""

    name: Literal["ConstLR"] = "ConstLR"


LearningRate = Union[
    Cosine, Linear, Step, Piecewise, MultiStepDecay, Cyclic, OneCycleLR, ReduceOnPlateau, ConstLR
]


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
    clip_value: Optional[PositiveFloat] = None  # each element, to [-clip_value, clip_value]
    # exempts parameters: parts of their names, separated by spaces
    no_weight_decay_name: Optional[str] = None
    one_dim_param_no_weight_decay: bool = False  # exempts biases and norms
    multi_precision: bool = False  # keeps float32 masters

    def __post_init__(self) -> None:
        given = [key for key in ("clip_grad", "clip_norm", "clip_value") if getattr(self, key) is not None]
        if len(given) > 1:
            raise ConfigError(
                f"{' and '.join(given)} are both given; keep one of clip_grad (global norm), clip_norm (each "
                "tensor's) and clip_value (each element)"
            )
        if self.lr.layer_decay is not None and self.lr.stage_factors is not None:
            raise ConfigError("lr.layer_decay and lr.stage_factors are both given; keep one of them")


@dataclass
class _WithPenalty(_Optimizer):
    regularizer: Optional[Regularizer] = None
    weight_decay: Optional[NonNegativeFloat] = None  # short for regularizer: {name: L2, coeff: ...}

    def __post_init__(self) -> None:
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


@dataclass
class Adam(_WithPenalty):
    """Kingma and Ba, arXiv 1412.6980: the penalty's gradient is scaled like any other; AdamW decouples it."""

    name: Literal["Adam"] = "Adam"
    beta1: Probability = 0.9
    beta2: Probability = 0.999
    epsilon: PositiveFloat = 1e-8


@dataclass
class RMSProp(_WithPenalty):
    name: Literal["RMSProp"] = "RMSProp"
    momentum: Probability = 0.0
    rho: Probability = 0.95
    epsilon: PositiveFloat = 1e-6


Optimizer = Union[Momentum, SGD, AdamW, Adam, RMSProp]
