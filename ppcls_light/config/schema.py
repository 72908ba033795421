"""Training config: one dataclass per YAML section, PaddleClas' keys with PaddleClas' meaning.

A key that is not here does not exist. Keys that act otherwise than in PaddleClas have a comment.
"""

from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Dict, List, Literal, Optional, Set, Tuple, Union

from ..errors import ConfigError
from ..registry import MODELS
from . import optim
from .dataloader import DataLoaderConfig, ReaderConfig, TransformOps
from .types import NonNegativeInt, PositiveFloat, PositiveInt, Range, Sections, Unnamed, WithParams


@dataclass
class GlobalConfig:
    """Run-wide settings; paths are relative to the working directory."""

    output_dir: str = "./output"
    device: Literal["auto", "cpu", "gpu", "xpu", "npu", "mlu", "ascend", "intel_gpu", "mps"] = "auto"
    epochs: PositiveInt = 100
    minutes: Optional[PositiveFloat] = None  # in place of epochs: as many as take so long on this machine
    update_freq: PositiveInt = 1  # batches whose gradients make one update
    pretrained_model: Optional[str] = None
    head_epochs: NonNegativeInt = 0  # at first, in which the classifier alone learns
    reset_head: bool = False  # a classifier of another class count starts anew instead of being an error
    checkpoints: Optional[str] = None  # a prefix, with or without suffix, or "auto": the newest in output_dir
    overwrite: bool = False  # begin anew where output_dir holds a run; that one moves to previous_N in it
    resume_schedule: Optional[Literal["keep", "new"]] = (
        None  # needed when epochs or lr changed since the checkpoint
    )
    seed: NonNegativeInt = 0
    print_batch_step: PositiveInt = 10
    save_interval: PositiveInt = 1
    save_steps: Optional[PositiveInt] = None  # updates between saves of `latest` within an epoch
    eval_during_train: bool = True
    eval_interval: PositiveInt = 1
    start_eval_epoch: NonNegativeInt = 0
    image_shape: Tuple[PositiveInt, PositiveInt, PositiveInt] = (3, 224, 224)
    save_inference_dir: str = "./inference"
    export_precision: Literal["fp32", "int8"] = "fp32"  # int8: also int8 graphs for every engine
    calibration_images: PositiveInt = 256  # that calibrate int8, at most
    early_stop: Optional[PositiveInt] = None  # evaluations without a better metric that end the run
    use_visualdl: bool = False  # the same as "visualdl" among the loggers
    loggers: List[Literal["visualdl", "tensorboard", "wandb"]] = field(default_factory=list)
    log_histograms: bool = False  # of every parameter, after each epoch, to the loggers
    log_ranks: Union[NonNegativeInt, str] = "0"  # processes that log to stdout, for example "0,1"
    print_mem_info: bool = False  # peak memory in the train lines
    use_dali: bool = False  # accepted from PaddleClas' *_ultra.yaml; the reader here has no DALI and says so
    to_static: bool = False
    cpu_ops: bool = True  # train on CPU with the project's operators, built on first use; else with Paddle's

    def __post_init__(self) -> None:
        if self.early_stop is not None and not self.eval_during_train:
            raise ConfigError(
                "early_stop counts evaluations, and there are none; write eval_during_train: true, or early_stop: null"
            )
        if self.log_histograms and not self.all_loggers():
            raise ConfigError("log_histograms draws them in a logger; add for example use_visualdl: true")
        if not all(rank.strip().isdecimal() for rank in str(self.log_ranks).split(",")):
            raise ConfigError(
                f'log_ranks: numbers of processes, for example "0" or "0,1"; got "{self.log_ranks}"'
            )

    def logging_ranks(self) -> List[int]:
        """Return `log_ranks` as numbers."""
        return [int(rank) for rank in str(self.log_ranks).split(",")]

    def all_loggers(self) -> List[str]:
        """Return `loggers`, with VisualDL where `use_visualdl` is set, each once."""
        return list(dict.fromkeys([*(["visualdl"] if self.use_visualdl else []), *self.loggers]))


@dataclass
class AMPConfig:
    """Mixed precision. The section without `use_amp` turns it on, as in PaddleClas.

    The loss is scaled under float16 only: bfloat16 has the range of float32. Evaluation is in float32 unless
    `use_fp16_test`.
    """

    use_amp: bool = True
    level: Literal["O1", "O2"] = "O1"
    dtype: Literal["float16", "bfloat16"] = "float16"
    use_fp16_test: bool = False
    scale_loss: PositiveFloat = 1.0
    use_dynamic_loss_scaling: bool = False
    use_promote: bool = False


@dataclass
class EMAConfig:
    """Moving average of the weights; the section turns it on. The average is scored and saved as .pdparams."""

    decay: Annotated[float, Range(0, 1, high_open=True)] = 0.9999


@dataclass
class ArchConfig:
    """The network: its registered name; in YAML `params` are keys beside the others, its constructor's own."""

    name: str
    class_num: PositiveInt = 1000
    pretrained: Union[bool, str, None] = None  # true, a training of ppcls_light.list_pretrained(), URL, file
    use_ssld: bool = False  # with `pretrained: true`: the weights that PaddleClas distilled
    use_sync_bn: bool = False
    # Parts that do not learn: "backbone" is all but the classifier, a number N the stem and the first N stages.
    freeze: Union[Literal["backbone", "stem"], PositiveInt, None] = None
    params: Dict[str, Any] = field(default_factory=dict)

    infer_model_name, teachers = None, ()  # as a DistillationArch has them; without annotation: no keys

    @property
    def cached(self) -> Dict[str, "CachedTeacher"]:
        """The teachers that are no networks here, by name: none without distillation."""
        return {}

    @property
    def weights(self) -> Union[bool, str, None]:
        """Weights to start from: `pretrained`, or "ssld" where `use_ssld` chooses; None for random ones."""
        return "ssld" if self.use_ssld and self.pretrained is True else self.pretrained or None

    @property
    def network(self) -> "ArchConfig":
        """The network that is evaluated and exported."""
        return self

    @property
    def learning(self) -> "Dict[str, ArchConfig]":
        """The networks that learn, by name; one without others has none."""
        return {"": self}

    def path_of(self, name: str) -> str:
        """Return the dotted path of the network called `name`."""
        return "Arch"

    def weights_of(self, name: str) -> Union[bool, str, None]:
        """Return the weights that the network called `name` starts from, or None."""
        return self.weights


Network = Annotated[ArchConfig, WithParams(MODELS, hidden=("features_only",))]


@dataclass
class CachedTeacher:
    """Frozen teacher of any origin: ONNX Runtime runs it once on each training image, and the answers are kept.

    It is an ONNX file `onnx`, whose images are prepared by `preprocess`, or an exported `folder`, which says that
    itself. `output` names an output of the graph, None: the first. `cache` is the folder of the answers.
    """

    onnx: Optional[str] = None
    folder: Optional[str] = None
    preprocess: TransformOps = field(default_factory=list)
    output: Optional[str] = None
    cache: str = "./output/teachers"
    name: Literal["CachedTeacher"] = "CachedTeacher"

    def __post_init__(self) -> None:
        if (self.onnx is None) == (self.folder is None):
            raise ConfigError(
                "a teacher is one of onnx (a file) and folder (an exported one), or has the name of a network here; "
                "for example {onnx: teacher.onnx, preprocess: [{ResizeImage: {size: 224}}, {NormalizeImage: {}}]}"
            )
        if bool(self.preprocess) == bool(self.folder):
            raise ConfigError(
                "preprocess: an exported folder says itself how images are prepared; leave it out"
                if self.folder
                else "preprocess is missing: the transforms of the teacher's images; for example "
                "[{ResizeImage: {size: 224}}, {NormalizeImage: {}}]"
            )


@dataclass
class DistillationArch:
    """Networks trained together on the same batches, as PaddleClas' `DistillationModel`.

    `models` are written `- Name: {name: PPLCNet_x1_0, class_num: 10, ...}`; losses call them by `Name`. One with
    `onnx` or `folder` in the place of `name` is a `CachedTeacher`.
    `freeze_params_list` and `pretrained_list` have one entry for each of them: a frozen network is in
    eval mode, gets no gradients and needs weights to train by, a teacher's. `infer_model_name` is the student.
    """

    models: List[Dict[str, Annotated[Union[Network, CachedTeacher], Unnamed("CachedTeacher")]]]
    pretrained_list: Optional[List[Union[bool, str, None]]] = None
    freeze_params_list: Optional[List[bool]] = None
    infer_model_name: str = "Student"
    class_num: PositiveInt = 0  # for all, the student's where it is left out; the models' own must agree
    use_sync_bn: bool = False
    name: Literal["DistillationModel"] = "DistillationModel"

    weights = None  # as an ArchConfig has them; here each model has its own

    def __post_init__(self) -> None:
        if not self.models or any(len(model) != 1 for model in self.models):
            raise ConfigError(
                "models is a list of one name each; for example - Student: {name: PPLCNet_x1_0, class_num: 10}"
            )
        names = self.names
        if len(set(names)) != len(names) or any("." in name for name in names):
            raise ConfigError(f"the models need different names without dots; got {', '.join(names)}")
        if self.infer_model_name not in self.networks:
            raise ConfigError(
                f"infer_model_name: no model is called '{self.infer_model_name}'; use one of "
                f"{', '.join(self.networks) or 'them, and give it the name of a network'}"
            )
        for key in ("pretrained_list", "freeze_params_list"):
            given = getattr(self, key)
            if given is not None and len(given) != len(names):
                raise ConfigError(
                    f"{key} has {len(given)} entries for {len(names)} models; give one for each"
                )
        self._check_class_num()
        self._check_frozen()

    def _check_class_num(self) -> None:
        wanted = self.class_num = self.class_num or self.network.class_num
        wrong = [
            f"-o Arch.models.{index}.{name}.class_num={wanted}"
            for index, (name, arch) in enumerate(self._models.items())
            if isinstance(arch, ArchConfig) and arch.class_num != wanted
        ]
        if wrong:
            raise ConfigError(f"class_num is {wanted}, but not that of every model; use {' '.join(wrong)}")

    def _check_frozen(self) -> None:
        if self.infer_model_name in self.frozen:
            raise ConfigError(
                f"freeze_params_list freezes {self.infer_model_name}, the network to be trained; write false there"
            )
        for index, name in enumerate(self.names):
            if name in self.frozen and self.networks[name].freeze:
                raise ConfigError(
                    f"models.{index}.{name}.freeze: freeze_params_list freezes all of it; leave freeze out"
                )
            if name not in self.cached:
                continue
            if self.freeze_params_list and not self.freeze_params_list[index]:
                raise ConfigError(
                    f"freeze_params_list: {name} is no network here and cannot learn; write true"
                )
            if self.pretrained_list and self.pretrained_list[index]:
                raise ConfigError(f"pretrained_list: {name} has its weights in its own file; write null")

    @property
    def _models(self) -> Dict[str, Union[ArchConfig, CachedTeacher]]:
        return {name: arch for model in self.models for name, arch in model.items()}

    @property
    def names(self) -> List[str]:
        """The names of all models, in their order."""
        return [name for model in self.models for name in model]

    @property
    def networks(self) -> Dict[str, ArchConfig]:
        """The ArchConfig of each network by its name, in their order."""
        return {name: arch for name, arch in self._models.items() if isinstance(arch, ArchConfig)}

    @property
    def cached(self) -> Dict[str, CachedTeacher]:
        """The teachers that are no networks here, by name."""
        return {name: arch for name, arch in self._models.items() if isinstance(arch, CachedTeacher)}

    @property
    def network(self) -> ArchConfig:
        """The ArchConfig of the network that is evaluated and exported: the student's."""
        return self.networks[self.infer_model_name]

    @property
    def teachers(self) -> List[str]:
        """The names of all models but the student."""
        return [name for name in self.names if name != self.infer_model_name]

    @property
    def frozen(self) -> List[str]:
        """The names of the networks that do not learn."""
        flags = self.freeze_params_list or [False] * len(self.models)
        return [name for name, flag in zip(self.names, flags) if flag and name in self.networks]

    @property
    def learning(self) -> Dict[str, ArchConfig]:
        """The ArchConfig of each model that learns, by name."""
        return {name: arch for name, arch in self.networks.items() if name not in self.frozen}

    def path_of(self, name: str) -> str:
        """Return the dotted path of the model called `name`."""
        return f"Arch.models.{self.names.index(name)}.{name}"

    def weights_of(self, name: str) -> Union[bool, str, None]:
        """Return the weights that the model called `name` starts from, as `ArchConfig.weights`."""
        own, from_list = self.networks[name], dict(zip(self.names, self.pretrained_list or []))
        return replace(own, pretrained=from_list.get(name) or own.pretrained).weights


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
class Quantization:
    """Quantization-aware training; "pact" learns the range of a layer's inputs, the other averages it."""

    name: Literal["pact", "moving_average_abs_max"]


@dataclass
class Pruning:
    """Filters removed before training: those with the least L1 norm, or nearest to the geometric median (fpgm)."""

    name: Literal["l1_norm", "fpgm"]
    pruned_ratio: Annotated[float, Range(0, 1, low_open=True, high_open=True)]


@dataclass
class SlimConfig:
    """Compression, in PaddleClas' words. Both: the network is pruned first."""

    quant: Optional[Quantization] = None
    prune: Optional[Pruning] = None


@dataclass
class Config(Sections):
    """A whole training config, checked."""

    Arch: Union[Network, DistillationArch]
    Global: GlobalConfig = field(default_factory=GlobalConfig)
    Optimizer: Optional[optim.Optimizer] = None
    DataLoader: DataLoaderConfig = field(default_factory=DataLoaderConfig)
    Loss: optim.LossConfig = field(default_factory=optim.LossConfig)
    Metric: optim.MetricConfig = field(default_factory=optim.MetricConfig)
    Infer: InferConfig = field(default_factory=InferConfig)
    AMP: Optional[AMPConfig] = None
    EMA: Optional[EMAConfig] = None
    Slim: SlimConfig = field(default_factory=SlimConfig)

    def __post_init__(self) -> None:
        if self.Slim.quant and self.AMP and self.AMP.use_amp:
            raise ConfigError("AMP: quantization-aware training is in float32; use -o AMP.use_amp=false")
        if self.Slim.quant and self.Global.export_precision == "int8":
            raise ConfigError(
                "Global.export_precision: a network trained with Slim.quant is exported as int8 by itself; leave it out"
            )
        if self.Slim.quant and self.Global.to_static:
            raise ConfigError("Global.to_static: not with Slim.quant; use -o Global.to_static=false")
        self._check_freezing()
        self._check_minutes()
        if self.Slim.prune and self.Arch.teachers:
            raise ConfigError(
                "Slim.prune: not under a teacher; prune the student first (tools/prune.py) and give its widths in "
                "Arch.models"
            )
        self._check_cached_teachers()
        self._check_unlabelled()
        student = self.Arch.infer_model_name
        for metric in (*self.Metric.Train, *self.Metric.Eval):
            if isinstance(metric, optim.DistillationTopkAcc) and metric.model_key != student:
                fix = f"model_key: {student}" if student else "TopkAcc, or Arch.name: DistillationModel"
                raise ConfigError(
                    f"Metric: DistillationTopkAcc: no network called '{metric.model_key}' is evaluated; use {fix}"
                )
        self._check_class_weights()

    def _check_cached_teachers(self) -> None:
        student, cached, uses = self.Arch.infer_model_name, self.Arch.cached, self._uses()
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
        for loss in (*self.Loss.Train, *self.Loss.Eval):
            if not isinstance(loss, optim.DistillationFeatureLoss):
                continue
            wrong = [pair for pair in loss.model_name_pairs if pair[0] != student or pair[1] not in cached]
            if wrong:
                raise ConfigError(
                    f"Loss: DistillationFeatureLoss: {list(wrong[0])}: a pair is the student ({student}) and a "
                    f"teacher of Arch.models with onnx or folder ({', '.join(cached) or 'none is here'})"
                )
        if self.Loss.embeddings and self.Slim.quant:
            raise ConfigError("Loss: DistillationFeatureLoss: not with Slim.quant; leave one of them out")

    def _check_unlabelled(self) -> None:
        train, evaluation = self.DataLoader.Train, self.DataLoader.Eval
        if evaluation and getattr(evaluation.dataset, "unlabelled", None):
            raise ConfigError("DataLoader.Eval.dataset.unlabelled: an evaluation needs labels; leave it out")
        if not (train and getattr(train.dataset, "unlabelled", None)):
            return
        path = "DataLoader.Train.dataset.unlabelled"
        if all(isinstance(loss, (optim.CELoss, optim.DistillationGTCELoss)) for loss in self.Loss.Train):
            raise ConfigError(
                f"{path}: no loss of Loss.Train learns without labels; add a teacher, or leave it out"
            )
        if train.dataset.batch_transform_ops:
            raise ConfigError(
                f"{path}: batch_transform_ops mix labels, which these images lack; leave one out"
            )
        if train.sampler.balanced:
            raise ConfigError(f"{path}: sampler.balanced needs a label of each image; leave one of them out")

    def _uses(self) -> Dict[str, Set[bool]]:
        """Return {teacher: whether losses of Train take its answers as embeddings, and as logits}."""
        uses: Dict[str, Set[bool]] = {}
        for loss in self.Loss.Train:
            for pair in getattr(loss, "model_name_pairs", []):
                for name in pair:
                    uses.setdefault(name, set()).add(isinstance(loss, optim.DistillationFeatureLoss))
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

    def optimizer(self) -> optim.Optimizer:
        """Return the section Optimizer. Raises ConfigError when it is missing."""
        if self.Optimizer is None:
            raise ConfigError(
                "the section Optimizer is missing; for example Optimizer: {name: Momentum, lr: {...}}"
            )
        return self.Optimizer

    def _check_class_weights(self) -> None:
        class_num = self.Arch.class_num
        for split, losses in (("Train", self.Loss.Train), ("Eval", self.Loss.Eval)):
            for weights in (getattr(loss, "class_weights", None) for loss in losses):
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
