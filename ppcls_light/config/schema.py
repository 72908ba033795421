"""The training config: one dataclass a YAML section, PaddleClas' keys with PaddleClas' meaning.

A key that is not here does not exist. Where this project knows better than PaddleClas what a key should
do, the field says so.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any, Dict, List, Literal, Optional, Tuple, Union

from ..errors import ConfigError
from ..registry import BATCH_TRANSFORMS, MODELS, TRANSFORMS
from .types import (
    FromRegistry,
    Keyed,
    NonNegativeFloat,
    NonNegativeInt,
    Op,
    PositiveFloat,
    PositiveInt,
    Probability,
    Range,
    WithParams,
)

TransformOps = List[Annotated[Op, FromRegistry(TRANSFORMS)]]
BatchTransformOps = List[Annotated[Op, FromRegistry(BATCH_TRANSFORMS)]]


@dataclass
class GlobalConfig:
    """Run-wide settings; paths are relative to the working directory."""

    output_dir: str = "./output"
    device: Literal["auto", "cpu", "gpu", "xpu", "npu", "mlu", "ascend", "intel_gpu", "mps"] = "auto"
    epochs: PositiveInt = 100
    pretrained_model: Optional[str] = None
    reset_head: bool = False  # a classifier of another class count starts anew instead of being an error
    checkpoints: Optional[str] = None  # a prefix, with or without suffix, or "auto": the newest in output_dir
    resume_schedule: Optional[Literal["keep", "new"]] = (
        None  # needed when epochs or lr changed since the checkpoint
    )
    seed: NonNegativeInt = 0
    print_batch_step: PositiveInt = 10
    save_interval: PositiveInt = 1
    eval_during_train: bool = True
    eval_interval: PositiveInt = 1
    start_eval_epoch: NonNegativeInt = 0
    image_shape: Tuple[PositiveInt, PositiveInt, PositiveInt] = (3, 224, 224)
    save_inference_dir: str = "./inference"
    use_visualdl: bool = False
    use_dali: bool = False  # accepted from PaddleClas' *_ultra.yaml; the reader here has no DALI and says so
    to_static: bool = False


@dataclass
class AMPConfig:
    """Mixed precision. The section without `use_amp` turns it on, as in PaddleClas."""

    use_amp: bool = True
    level: Literal["O1", "O2"] = "O1"
    use_fp16_test: bool = False
    scale_loss: PositiveFloat = 1.0
    use_dynamic_loss_scaling: bool = False
    use_promote: bool = False


@dataclass
class ArchConfig:
    """The network: its registered name; in YAML `params` are keys beside the others, its constructor's own."""

    name: str
    class_num: PositiveInt = 1000
    pretrained: Union[bool, str, None] = None
    use_sync_bn: bool = False
    params: Dict[str, Any] = field(default_factory=dict)


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


@dataclass
class DatasetConfig:
    """Images of a list file, or of a folder with one folder a class when `cls_label_path` is left out."""

    image_root: str
    cls_label_path: Optional[str] = None
    transform_ops: TransformOps = field(default_factory=list)
    batch_transform_ops: Optional[BatchTransformOps] = None
    delimiter: Optional[str] = None
    name: Literal["ImageNetDataset"] = "ImageNetDataset"


@dataclass
class SamplerConfig:
    """`batch_size` is per process."""

    batch_size: PositiveInt
    drop_last: bool = False
    shuffle: bool = False
    name: Literal["DistributedBatchSampler", "BatchSampler"] = "DistributedBatchSampler"


@dataclass
class LoaderConfig:
    """`num_workers` 0 reads in the main process. `max_bad`: share of unreadable training images tolerated."""

    num_workers: Union[NonNegativeInt, Literal["auto"]] = "auto"
    use_shared_memory: bool = True
    max_bad: Probability = 0.001


@dataclass
class ReaderConfig:
    dataset: DatasetConfig
    sampler: SamplerConfig
    loader: LoaderConfig = field(default_factory=LoaderConfig)


@dataclass
class DataLoaderConfig:
    Train: Optional[ReaderConfig] = None
    Eval: Optional[ReaderConfig] = None


@dataclass
class Topk:
    """The k best classes of an image, named by the lines `id name` of `class_id_map_file`."""

    name: Literal["Topk"] = "Topk"
    topk: PositiveInt = 5
    class_id_map_file: Optional[str] = None
    delimiter: Optional[str] = None


@dataclass
class InferConfig:
    infer_imgs: Optional[str] = None
    infer_list: Optional[str] = None
    batch_size: PositiveInt = 1
    transforms: TransformOps = field(default_factory=list)
    PostProcess: Topk = field(default_factory=Topk)
    save_dir: Optional[str] = None


@dataclass
class Config:
    """A whole training config, checked."""

    Arch: Annotated[ArchConfig, WithParams(MODELS, hidden=("features_only",))]
    Global: GlobalConfig = field(default_factory=GlobalConfig)
    Optimizer: Optional[Union[Momentum, SGD, AdamW]] = None
    DataLoader: DataLoaderConfig = field(default_factory=DataLoaderConfig)
    Loss: LossConfig = field(default_factory=LossConfig)
    Metric: MetricConfig = field(default_factory=MetricConfig)
    Infer: InferConfig = field(default_factory=InferConfig)
    AMP: Optional[AMPConfig] = None
