"""Training config: one dataclass per YAML section, PaddleClas' keys with PaddleClas' meaning.

A key that is not here does not exist. Keys that act otherwise than in PaddleClas have a comment.
"""

from dataclasses import dataclass, field
from typing import Annotated, Dict, Literal, Optional, Set, Union

from ..base.hints import command
from ..errors import ConfigError
from . import losses, metrics, optim
from . import postprocess as kinds
from .arch import DistillationArch, Network
from .dataloader import CustomLabelConfig, DataLoaderConfig, ReaderConfig
from .global_section import GlobalConfig
from .infer import InferConfig
from .types import PositiveFloat, Range, Sections


@dataclass
class AMPConfig:
    """Mixed precision. The section without `use_amp` turns it on, as in PaddleClas.

    The loss is scaled under float16 only: bfloat16 has the range of float32. Evaluation is in float32 unless
    `use_fp16_test`.
    """

    use_amp: bool = True  # on CPU it is float32, with one warning
    level: Literal["O1", "O2"] = "O1"  # O2 makes the weights half precision, with float32 masters
    dtype: Literal["float16", "bfloat16"] = "float16"  # bfloat16 needs no loss scaling
    use_fp16_test: bool = False  # evaluation in half precision during training; else in float32, also at O2
    scale_loss: PositiveFloat = 1.0  # float16 only
    use_dynamic_loss_scaling: bool = False  # an update whose gradients overflow is left out and counted
    use_promote: bool = False  # passed on to Paddle


@dataclass
class EMAConfig:
    """Float32 average of the weights and batch-norm statistics; the section turns it on.

    `NAME.pdparams` holds the averaged weights, which are scored, `NAME.pdema` those in training.
    """

    decay: Annotated[float, Range(0, 1, high_open=True)] = 0.9999  # at most; of update t, (1 + t) / (10 + t)


@dataclass
class Quantization:
    """Quantization-aware training; "pact" learns the range of a layer's inputs, the other averages it."""

    name: Literal["pact", "moving_average_abs_max"]


@dataclass
class Pruning:
    """Filters removed before training: those with the least L1 norm, or nearest to the geometric median (fpgm)."""

    name: Literal["l1_norm", "fpgm"]
    # Share of the filters.
    pruned_ratio: Annotated[float, Range(0, 1, low_open=True, high_open=True)]


@dataclass
class SlimConfig:
    """Compression, in PaddleClas' words. Both: the network is pruned first."""

    quant: Optional[Quantization] = None
    prune: Optional[Pruning] = None  # of `pretrained_model`; `tools/prune.py` does it as a step of its own


_PAIRS_OF_TAGS = "DistillationDMLLoss: {act: sigmoid}"
_LOSS_OF_TAGS = {
    losses.DistillationGTCELoss: "DistillationMultiLabelLoss",
    losses.DistillationCELoss: _PAIRS_OF_TAGS,
    losses.DistillationKLDivLoss: _PAIRS_OF_TAGS,
}


@dataclass
class Config(Sections):
    """A whole training config, checked."""

    Arch: Union[Network, DistillationArch]
    Global: GlobalConfig = field(default_factory=GlobalConfig)
    Optimizer: Optional[optim.Optimizer] = None
    DataLoader: DataLoaderConfig = field(default_factory=DataLoaderConfig)
    Loss: losses.LossConfig = field(default_factory=losses.LossConfig)
    Metric: metrics.MetricConfig = field(default_factory=metrics.MetricConfig)
    Infer: InferConfig = field(default_factory=InferConfig)
    AMP: Optional[AMPConfig] = None
    EMA: Optional[EMAConfig] = None
    Slim: SlimConfig = field(default_factory=SlimConfig)

    def __post_init__(self) -> None:
        self.Loss.complete(self.multilabel)
        self.Metric.complete(self.multilabel)
        if self.Infer.PostProcess is None:
            self.Infer.PostProcess = kinds.default_kind(self.multilabel)
        self._check_kind_of_labels()
        self._check_postprocess()
        self._check_export()
        if self.Slim.quant and self.AMP and self.AMP.use_amp:
            raise ConfigError("AMP: quantization-aware training is in float32; use -o AMP.use_amp=false")
        if self.Slim.quant and self.Global.export_precision == "int8":
            raise ConfigError(
                "Global.export_precision: a network trained with Slim.quant is exported as int8 by itself; leave it out"
            )
        if self.Slim.quant and self.Global.export_preprocess:
            raise ConfigError(
                "Global.export_preprocess: not with Slim.quant, whose graph is int8; leave it out"
            )
        if self.Slim.quant and self.Global.to_static:
            raise ConfigError("Global.to_static: not with Slim.quant; use -o Global.to_static=false")
        self._check_freezing()
        self._check_minutes()
        if self.DataLoader.Eval and self.DataLoader.Eval.sampler.batch_size == "auto":
            raise ConfigError(
                "DataLoader.Eval.sampler.batch_size: auto is for DataLoader.Train; give a number"
            )
        if self.Slim.prune and self.Arch.teachers:
            raise ConfigError(
                f"Slim.prune: not under a teacher; prune the student first ({command('prune')}) and give its widths in "
                "Arch.models"
            )
        self._check_features()
        self._check_graph_teachers()
        self._check_views()
        self._check_unlabelled()
        self._check_drawn_labels()
        student = self.Arch.infer_model_name
        for metric in (*self.Metric.of("Train"), *self.Metric.of("Eval")):
            if isinstance(metric, metrics.DistillationTopkAcc) and metric.model_key != student:
                fix = f"model_key: {student}" if student else "TopkAcc, or Arch.name: DistillationModel"
                raise ConfigError(
                    f"Metric: DistillationTopkAcc: no network called '{metric.model_key}' is evaluated; use {fix}"
                )
        self._check_class_weights()

    @property
    def multilabel(self) -> bool:
        """An image has any number of tags, each with a probability of its own, in place of one class."""
        return self.Global.use_multilabel

    @property
    def postprocess(self) -> kinds.PostProcess:
        """The kind of answer, `Infer.PostProcess` with its default."""
        assert self.Infer.PostProcess is not None  # since __post_init__
        return self.Infer.PostProcess

    def _check_postprocess(self) -> None:
        """Raise ConfigError where the kind of answer is of other labels, or of another number of classes."""
        try:
            kinds.check_network(self.postprocess, self.Arch.class_num, self.multilabel)
        except ConfigError as error:
            raise ConfigError(f"Infer.PostProcess.{error}") from None

    def _check_export(self) -> None:
        """Raise ConfigError where what is asked of the export needs the probabilities of classes."""
        asked = "unknown" if self.Global.unknown else "export_precision"
        if self.multilabel and (self.Global.unknown or self.Global.export_precision == "int8"):
            raise ConfigError(
                f"Global.{asked}: it is of one class per image, and these are tags; leave it out"
            )
        if self.Global.unknown and not self.Arch.infer_add_softmax:
            raise ConfigError(
                "Global.unknown: it needs probabilities; leave it or Arch.infer_add_softmax out"
            )

    def _check_kind_of_labels(self) -> None:
        """Raise ConfigError where a dataset, a loss or a metric is of the other kind of labels."""
        tags, fix = self.multilabel, f"Global.use_multilabel is {str(self.multilabel).lower()}"
        for split in ("Train", "Eval"):
            section = getattr(self.DataLoader, split)
            name = section.dataset.name if section else ""
            if tags and section and section.sampler.balanced:
                raise ConfigError(
                    f"DataLoader.{split}.sampler.balanced: an image has any number of tags, so none is drawn for one; "
                    "leave it out, and use MultiLabelLoss: {weight_ratio: true} for rare tags"
                )
            if section and (name == "MultiLabelDataset") != tags:
                other = "ImageNetDataset" if not tags else "MultiLabelDataset"
                raise ConfigError(
                    f"DataLoader.{split}.dataset.name: {name} gives {'one class' if tags else 'tags'} per image, and "
                    f"{fix}; use {other}, or -o Global.use_multilabel={str(not tags).lower()}"
                )
            for loss in self.Loss.of(split):
                if isinstance(loss, losses.OF_CLASSES if tags else losses.OF_TAGS):
                    raise ConfigError(
                        f"Loss.{split}: {type(loss).__name__} is for {'one class' if tags else 'tags'} per image, and "
                        f"{fix}; use {_LOSS_OF_TAGS.get(type(loss), 'MultiLabelLoss') if tags else 'CELoss'}"
                    )
                if isinstance(loss, losses.DistillationDMLLoss) and loss.weight_ratio and not tags:
                    raise ConfigError(
                        f"Loss.{split}: DistillationDMLLoss: weight_ratio: {fix}, and classes have no such weights; "
                        "leave it out"
                    )
            for metric in self.Metric.of(split):
                if isinstance(metric, metrics.OF_TAGS) != tags:
                    raise ConfigError(
                        f"Metric.{split}: {type(metric).__name__} is for {'one class' if tags else 'tags'} per image, "
                        f"and {fix}; use {'ATTRMetric or MultiLabelMAP' if tags else 'TopkAcc'}"
                    )
                if isinstance(metric, metrics.OF_TWO_CLASSES) and self.Arch.class_num != 2:
                    raise ConfigError(
                        f"Metric.{split}: {type(metric).__name__} is of two classes, and Arch.class_num is "
                        f"{self.Arch.class_num}; use TopkAcc"
                    )

    def _check_features(self) -> None:
        for key in ("return_patterns", "return_stages"):
            if getattr(self.Arch, key, None):
                raise ConfigError(
                    f"Arch.{key}: only losses of a distillation take features, those of a network in Arch.models; "
                    "leave it out"
                )

    def _check_graph_teachers(self) -> None:
        student, cached, uses = self.Arch.infer_model_name, self.Arch.graph_teachers, self._uses()
        for name in cached:
            if name not in uses:
                raise ConfigError(
                    f"Arch.models: no loss of Loss.Train asks {name} anything; for example DistillationKLDivLoss: "
                    f"{{weight: 1.0, model_name_pairs: [[{student}, {name}]]}}"
                )
            if len(uses[name]) > 1:
                raise ConfigError(
                    f"Loss.Train: {name} cannot give both logits and embeddings; write it twice in Arch.models, under "
                    "two names with their own output"
                )
        if cached and self.DataLoader.Train and self.DataLoader.Train.dataset.batch_transform_ops:
            raise ConfigError(
                "DataLoader.Train.dataset.batch_transform_ops: they mix images, and a teacher with onnx or folder "
                "answered to each alone; leave them out"
            )
        for loss in (*self.Loss.of("Train"), *self.Loss.of("Eval")):
            if not isinstance(loss, losses.DistillationFeatureLoss):
                continue
            wrong = [pair for pair in loss.model_name_pairs if pair[0] != student or pair[1] not in cached]
            if wrong:
                raise ConfigError(
                    f"Loss: DistillationFeatureLoss: {list(wrong[0])}: a pair is the student ({student}) and a "
                    f"teacher of Arch.models with onnx or folder ({', '.join(cached) or 'none is here'})"
                )
        if self.Loss.embeddings and self.Slim.quant:
            raise ConfigError("Loss: DistillationFeatureLoss: not with Slim.quant; leave one of them out")

    def _check_views(self) -> None:
        seeing = [name for name, teacher in self.Arch.graph_teachers.items() if teacher.sees == "crop"]
        for split in ("Train", "Eval"):
            section = getattr(self.DataLoader, split)
            if section and getattr(section.dataset, "views", None) and not (seeing and split == "Train"):
                raise ConfigError(
                    f"DataLoader.{split}.dataset.views: only a training whose teacher sees crops (Arch.models, "
                    "sees: crop) gains by drawing images again as before; leave it out"
                )

    def _check_unlabelled(self) -> None:
        train, evaluation = self.DataLoader.Train, self.DataLoader.Eval
        if evaluation and getattr(evaluation.dataset, "unlabelled", None):
            raise ConfigError("DataLoader.Eval.dataset.unlabelled: an evaluation needs labels; leave it out")
        if not (train and getattr(train.dataset, "unlabelled", None)):
            return
        path = "DataLoader.Train.dataset.unlabelled"
        if all(
            isinstance(loss, (losses.CELoss, losses.DistillationGTCELoss)) for loss in self.Loss.of("Train")
        ):
            raise ConfigError(
                f"{path}: no loss of Loss.Train learns without labels; add a teacher, or leave it out"
            )
        if train.dataset.batch_transform_ops:
            raise ConfigError(
                f"{path}: batch_transform_ops mix labels, which these images lack; leave one out"
            )
        if train.sampler.balanced:
            raise ConfigError(f"{path}: sampler.balanced needs a label of each image; leave one of them out")

    def _check_drawn_labels(self) -> None:
        """Raise ConfigError where labels that a transform makes meet what needs those of a list."""
        train, evaluation = self.DataLoader.Train, self.DataLoader.Eval
        if evaluation and isinstance(evaluation.dataset, CustomLabelConfig):
            raise ConfigError(
                "DataLoader.Eval.dataset.name: CustomLabelDataset makes other labels in every epoch, and is for "
                "DataLoader.Train; score a list of images with labels (ImageNetDataset)"
            )
        if not (train and isinstance(train.dataset, CustomLabelConfig)):
            return
        path, key, count = (
            "DataLoader.Train.dataset.label_key",
            train.dataset.label_key,
            train.dataset.label_count,
        )
        if self.Arch.class_num < count:
            raise ConfigError(
                f"{path}: {key} is 0 to {count - 1}, and Arch.class_num is {self.Arch.class_num}; use -o "
                f"Arch.class_num={count}"
            )
        if train.sampler.balanced or any(
            getattr(loss, "class_weights", None) == "balanced" for loss in self.Loss.of("Train")
        ):
            raise ConfigError(
                f"{path}: {key} is drawn anew in every epoch, so no class is rarer than its probability; leave out "
                "balanced"
            )
        if any(teacher.sees == "image" for teacher in self.Arch.graph_teachers.values()):
            raise ConfigError(
                f"{path}: {key} is of the image as it is drawn, and a teacher with sees: image answers to its file; "
                "use sees: crop"
            )

    def _uses(self) -> Dict[str, Set[bool]]:
        """Return {teacher: whether losses of Train take its answers as embeddings, and as logits}."""
        uses: Dict[str, Set[bool]] = {}
        for loss in self.Loss.of("Train"):
            for pair in getattr(loss, "model_name_pairs", []):
                for name in pair:
                    uses.setdefault(name, set()).add(isinstance(loss, losses.DistillationFeatureLoss))
        return uses

    def _check_freezing(self) -> None:
        arch, settings = self.Arch, self.Global
        freezes = {
            f"{arch.path_of(name)}.freeze": own.freeze for name, own in arch.learning.items() if own.freeze
        }
        keys = ["Global.head_epochs"] if settings.head_epochs else list(freezes)
        if self.Slim.quant and keys:
            raise ConfigError(
                f"{keys[0]}: not with Slim.quant, whose scales frozen layers would not learn; leave it out"
            )
        if settings.head_epochs and settings.to_static:
            raise ConfigError(
                "Global.head_epochs: not with Global.to_static, whose graph is one for all epochs; use "
                "-o Global.to_static=false"
            )
        if settings.head_epochs and "backbone" in freezes.values():
            raise ConfigError(
                "Global.head_epochs: with Arch.freeze: backbone the head alone learns in every epoch; leave one of "
                "them out"
            )

    def _check_minutes(self) -> None:
        """Raise ConfigError where `Global.minutes`, which sets the epochs, meets keys that count them."""
        if self.Global.minutes is None:
            return
        if self.Optimizer and isinstance(
            self.Optimizer.lr, (optim.Step, optim.Piecewise, optim.MultiStepDecay)
        ):
            raise ConfigError(
                f"Global.minutes: it sets the number of epochs, and Optimizer.lr.name {self.Optimizer.lr.name} counts "
                "them; use Cosine, Linear, OneCycleLR or ConstLR, or Global.epochs"
            )
        if self.DataLoader.Train and getattr(self.DataLoader.Train.sampler, "size_schedule", None):
            raise ConfigError(
                "Global.minutes: it sets the number of epochs, and DataLoader.Train.sampler.size_schedule counts them; "
                "leave one of them out"
            )

    def reader(self, split: str) -> ReaderConfig:
        """Return the section DataLoader.Train or DataLoader.Eval. Raises ConfigError when it is missing."""
        section: Optional[ReaderConfig] = getattr(self.DataLoader, split)
        if section is None:
            without = ", or set Global.eval_during_train=false" if split == "Eval" else ""
            raise ConfigError(
                f"DataLoader.{split} is missing; add its dataset (image_root, cls_label_path) and sampler{without}"
            )
        return section

    def batch_size(self, split: str) -> int:
        """Return the images of a batch of a process. Raises ConfigError: it is still to be found (`auto`)."""
        size = self.reader(split).sampler.batch_size
        if size == "auto":
            raise ConfigError(
                f"{self.place(f'DataLoader.{split}.sampler.batch_size')}: auto is for training; give a number"
            )
        return size

    def optimizer(self) -> optim.Optimizer:
        """Return the section Optimizer. Raises ConfigError when it is missing."""
        if self.Optimizer is None:
            raise ConfigError(
                "the section Optimizer is missing; for example Optimizer: {name: Momentum, lr: {...}}"
            )
        return self.Optimizer

    def _check_class_weights(self) -> None:
        class_num = self.Arch.class_num
        for split, specified in (("Train", self.Loss.of("Train")), ("Eval", self.Loss.of("Eval"))):
            for weights in (getattr(loss, "class_weights", None) for loss in specified):
                if weights == "balanced" and split == "Eval":
                    raise ConfigError(
                        "Loss.Eval: class_weights: balanced is for Loss.Train; leave it out here, or write the numbers"
                    )
                if weights == "balanced" and self.DataLoader.Train and self.DataLoader.Train.sampler.balanced:
                    raise ConfigError(
                        "Loss.Train: class_weights: balanced and DataLoader.Train.sampler.balanced correct the same "
                        "imbalance twice; keep one of them"
                    )
                if isinstance(weights, list) and len(weights) != class_num:
                    raise ConfigError(
                        f"Loss.{split}: class_weights has {len(weights)} numbers, Arch.class_num is {class_num}; "
                        "write one for each class"
                    )
