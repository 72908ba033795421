"""Schema of the section DataLoader: dataset, sampler and loader."""

from dataclasses import dataclass, field
from typing import Annotated, List, Literal, Optional, Tuple, Union

from ..registry import BATCH_TRANSFORMS, TRANSFORMS
from .types import FromRegistry, NonNegativeInt, Op, PositiveInt, Probability, Range, Unnamed

TransformOps = List[Annotated[Op, FromRegistry(TRANSFORMS)]]
BatchTransformOps = List[Annotated[Op, FromRegistry(BATCH_TRANSFORMS)]]


@dataclass
class DatasetConfig:
    """Images of a list file, or of a folder with one folder per class when `cls_label_path` is left out.

    PaddleClas' two names mean the same here: every dataset can be read at several scales. `unlabelled`, for
    training, is a folder of further images or a list of their paths below `image_root`: distillation learns from them.
    `views`: ways in which each image is drawn, in turns, so that a teacher's answers to them can be kept; None: another
    one in each epoch.
    """

    image_root: str
    cls_label_path: Optional[str] = None
    transform_ops: TransformOps = field(default_factory=list)
    batch_transform_ops: Optional[BatchTransformOps] = None
    delimiter: Optional[str] = None
    unlabelled: Optional[str] = None
    views: Optional[PositiveInt] = None
    name: Literal["ImageNetDataset", "MultiScaleDataset"] = "ImageNetDataset"


@dataclass
class CifarConfig:
    """CIFAR as its authors publish it: `data_file` is the python tarball, or the folder extracted from it."""

    name: Literal["Cifar10", "CIFAR10", "Cifar100", "CIFAR100"]
    data_file: str
    mode: Optional[Literal["train", "test"]] = None  # None: DataLoader.Train trains, Eval tests
    transform_ops: TransformOps = field(default_factory=list)
    batch_transform_ops: Optional[BatchTransformOps] = None

    @property
    def class_num(self) -> int:
        return 100 if self.name.endswith("100") else 10


@dataclass
class SamplerConfig:
    """`batch_size` is per process; "auto", in training, is what fits into memory.

    `balanced`: every class equally often in an epoch, which stays about as long.
    `size_schedule`: "192_280" cuts images of 192 pixels before epoch 280, then what the transforms say.
    """

    batch_size: Union[PositiveInt, Literal["auto"]]
    drop_last: bool = False
    shuffle: bool = False
    balanced: bool = False
    size_schedule: Optional[str] = None
    name: Literal["DistributedBatchSampler", "BatchSampler"] = "DistributedBatchSampler"


@dataclass
class MultiScaleSamplerConfig:
    """Each batch has one of `scales`, and as many images as keep the pixels of `first_bs` at the first of them.

    With `is_training` false it is an ordinary sampler of `first_bs` images at the size of the transforms.
    """

    scales: List[Union[PositiveInt, Tuple[PositiveInt, PositiveInt]]]
    first_bs: PositiveInt  # per process
    divided_factor: PositiveInt = 32
    is_training: bool = True
    shuffle: bool = True
    seed: Optional[NonNegativeInt] = None  # Global.seed
    balanced: bool = False
    name: Literal["MultiScaleSampler"] = "MultiScaleSampler"

    @property
    def batch_size(self) -> int:
        return self.first_bs


@dataclass
class LoaderConfig:
    """`num_workers` 0 reads in the main process. `max_bad`: share of unreadable training images tolerated."""

    num_workers: Union[Annotated[int, Range(0, 512)], Literal["auto"]] = "auto"
    use_shared_memory: bool = True
    max_bad: Probability = 0.001


@dataclass
class ReaderConfig:
    dataset: Annotated[Union[DatasetConfig, CifarConfig], Unnamed("ImageNetDataset")]
    sampler: Annotated[Union[SamplerConfig, MultiScaleSamplerConfig], Unnamed("DistributedBatchSampler")]
    loader: LoaderConfig = field(default_factory=LoaderConfig)


@dataclass
class DataLoaderConfig:
    Train: Optional[ReaderConfig] = None
    Eval: Optional[ReaderConfig] = None
