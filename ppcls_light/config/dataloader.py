"""Schema of the section DataLoader: dataset, sampler and loader."""

from dataclasses import dataclass, field
from typing import Annotated, Dict, Iterable, List, Literal, Optional, Tuple, Union

from ..errors import ConfigError
from ..registry import TRANSFORMS, nearest
from .types import NonNegativeInt, PositiveInt, Probability, Range, Unnamed
from .values import BatchTransformOps, TransformOps


@dataclass
class DatasetConfig:
    """Images of a list file, or of a folder with one folder per class.

    PaddleClas' first two names mean the same here: every dataset can be read at several scales. The images of a
    `MultiLabelDataset` have tags, any number of them each.
    """

    image_root: str  # folder that the paths of the list are relative to
    # a list file, of [tags](multilabel.md) for MultiLabelDataset; null: `image_root` has one folder per class
    cls_label_path: Optional[str] = None
    transform_ops: TransformOps = field(default_factory=list)
    batch_transform_ops: Optional[BatchTransformOps] = None  # of Train
    delimiter: Optional[str] = None  # between path and label; null: spaces or tabs
    # Of Train: a folder of further images, or a list of their paths below `image_root`, one per line. They
    # take part in epochs like the others, the losses with labels (`CELoss`, `DistillationGTCELoss`) are 0 for
    # them in their mean over the batch, and top-k leaves them out. Images of Eval among them are refused, by
    # content.
    unlabelled: Optional[str] = None
    # Ways in which each image is drawn, in turns, so that the answers of a teacher that `sees: crop` can be
    # kept; null: another one in each epoch.
    views: Optional[PositiveInt] = None
    # Of a `MultiLabelDataset`; accepted from PaddleClas: a loss with `weight_ratio` asks for the shares by itself.
    label_ratio: bool = False
    name: Literal["ImageNetDataset", "MultiScaleDataset", "MultiLabelDataset"] = "ImageNetDataset"

    def __post_init__(self) -> None:
        if self.label_ratio and not self.tagged:
            raise ConfigError("label_ratio: only a MultiLabelDataset has tags; leave it out")
        if self.tagged and self.unlabelled:
            raise ConfigError(
                "unlabelled: not with MultiLabelDataset; list such images with the tags -1, which are not known"
            )
        if self.tagged and self.cls_label_path is None:
            raise ConfigError(
                "cls_label_path: a MultiLabelDataset reads the tags of its images from a list; give its path"
            )

    @property
    def tagged(self) -> bool:
        """The images have tags, in place of one class."""
        return self.name == "MultiLabelDataset"


@dataclass
class CustomLabelConfig:
    """Images of Train in a list of paths, whose labels a transform makes: what it did to each, anew in every epoch.

    `BlurImage` gives `blur_image`, 0 or 1, and `RandomRot90` gives `random_rot90_orientation`, 0 to 3. DataLoader.Eval
    has an ordinary list of images with labels.
    """

    image_root: str  # folder that the paths of the list are relative to
    sample_list_path: str  # a list file with a path per line
    label_key: str  # the label that an op of `transform_ops` gives
    transform_ops: TransformOps = field(default_factory=list)
    batch_transform_ops: Optional[BatchTransformOps] = None
    delimiter: Optional[str] = None  # after which a line is passed over
    name: Literal["CustomLabelDataset"] = "CustomLabelDataset"

    def __post_init__(self) -> None:
        if self.label_key not in (given := self._labels(op.name for op in self.transform_ops)):
            known = self._labels(TRANSFORMS.names())
            hint = (
                f"; add {known[self.label_key]}"
                if self.label_key in known
                else nearest(self.label_key, known)
            )
            raise ConfigError(
                f"label_key: no op of transform_ops gives '{self.label_key}'{hint}; "
                + ", ".join(f"{op} gives {key}" for key, op in known.items())
            )
        giving = [op.name for op in self.transform_ops if op.name == given[self.label_key]]
        if len(giving) > 1:
            raise ConfigError(
                f"label_key: {len(giving)} ops of transform_ops give '{self.label_key}', which is what the last one "
                "did; keep one of them"
            )
        self.label_count = TRANSFORMS.get(given[self.label_key]).label_count  # labels are 0 to below this

    @staticmethod
    def _labels(names: Iterable[str]) -> Dict[str, str]:
        """Return {label key: op} of those ops among `names` that give a label."""
        keys = {name: getattr(TRANSFORMS.get(name), "label_key", None) for name in names}
        return {key: name for name, key in keys.items() if key}


@dataclass
class CifarConfig:
    """CIFAR as its authors publish it."""

    name: Literal["Cifar10", "CIFAR10", "Cifar100", "CIFAR100"]
    data_file: str  # the python tarball, or the folder extracted from it
    mode: Optional[Literal["train", "test"]] = None  # null: DataLoader.Train trains, Eval tests
    transform_ops: TransformOps = field(default_factory=list)
    batch_transform_ops: Optional[BatchTransformOps] = None

    @property
    def class_num(self) -> int:
        return 100 if self.name.endswith("100") else 10


AnyDataset = Union[DatasetConfig, CustomLabelConfig, CifarConfig]


@dataclass
class SamplerConfig:
    """Batches of one size; PaddleClas' two names mean the same here."""

    # Images per process. `auto`, in training: the largest power of two, up to 256, that fits into 80 % of the
    # free memory and leaves an epoch 4 updates; decided when a run begins, kept when it is resumed.
    batch_size: Union[PositiveInt, Literal["auto"]]
    drop_last: bool = False  # leaves out the last batch where it is smaller
    shuffle: bool = False
    balanced: bool = False  # every class equally often in an epoch, which stays about as long
    size_schedule: Optional[str] = None  # 192_280: 192 pixels before epoch 280, then the transforms' size
    name: Literal["DistributedBatchSampler", "BatchSampler"] = "DistributedBatchSampler"


@dataclass
class MultiScaleSamplerConfig:
    """Each batch has one of `scales`, and as many images as keep the pixels of `first_bs` at the first of them.

    With `is_training` false it is an ordinary sampler of `first_bs` images at the size of the transforms.
    """

    scales: List[Union[PositiveInt, Tuple[PositiveInt, PositiveInt]]]  # sides, or [width, height], in pixels
    first_bs: PositiveInt  # images of a batch at the first scale, per process; what `base_batch_size` counts
    divided_factor: PositiveInt = 32
    is_training: bool = True
    shuffle: bool = True
    seed: Optional[NonNegativeInt] = None  # null: `Global.seed`
    balanced: bool = False  # every class equally often
    name: Literal["MultiScaleSampler"] = "MultiScaleSampler"

    @property
    def batch_size(self) -> int:
        return self.first_bs


@dataclass
class LoaderConfig:
    """Processes that read images."""

    num_workers: Union[Annotated[int, Range(0, 512)], Literal["auto"]] = "auto"  # 0 reads in the main process
    use_shared_memory: bool = True  # accepted from PaddleClas' files
    # share of unreadable training images that is tolerated; in evaluation there is none
    max_bad: Probability = 0.001


@dataclass
class ReaderConfig:
    """Reader of a split: DataLoader.Train, and DataLoader.Eval."""

    dataset: Annotated[AnyDataset, Unnamed("ImageNetDataset")]
    sampler: Annotated[Union[SamplerConfig, MultiScaleSamplerConfig], Unnamed("DistributedBatchSampler")]
    loader: LoaderConfig = field(default_factory=LoaderConfig)


@dataclass
class DataLoaderConfig:
    Train: Optional[ReaderConfig] = None
    Eval: Optional[ReaderConfig] = None
