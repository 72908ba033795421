"""The training config: one dataclass a YAML section, PaddleClas' keys with PaddleClas' meaning.

A key that is not here does not exist. Where this project knows better than PaddleClas what a key should
do, the field says so.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any, Dict, List, Literal, Optional, Tuple, Union

from ..registry import BATCH_TRANSFORMS, MODELS, TRANSFORMS
from .learning import SGD, AdamW, LossConfig, MetricConfig, Momentum
from .types import FromRegistry, NonNegativeInt, Op, PositiveFloat, PositiveInt, Probability, WithParams

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
