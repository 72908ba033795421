"""Schema of the section Arch: a network, or several of them in a distillation."""

from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Dict, List, Literal, Optional, Union

from ..errors import ConfigError
from ..registry import MODELS
from .types import NonNegativeInt, PositiveInt, Spelled, Unnamed, WithParams
from .values import TransformOps


@dataclass
class ArchConfig(Spelled):
    """The network: its registered name; in YAML `params` are keys beside the others, its constructor's own."""

    name: str  # one of `ppcls_light.list_models()`
    class_num: PositiveInt = 1000
    pretrained: Union[bool, str, None] = None  # weights to start from: see below
    use_ssld: bool = False  # with `pretrained: true`: the weights that PaddleClas distilled
    use_sync_bn: bool = False  # batch norm over all processes; several need GPUs
    # Parts that do not learn: `backbone` is all but the classifier, a number N the stem and the first N
    # stages.
    freeze: Union[Literal["backbone", "stem"], PositiveInt, None] = None
    # In a distillation: layers whose outputs losses may take by their `key`, such as blocks4, or blocks.5, in
    # PaddleClas' words blocks[5].
    return_patterns: Union[List[str], str, None] = None
    # the same by numbers of stages from 0, or true for all; `return_patterns` go before it
    return_stages: Union[bool, NonNegativeInt, List[NonNegativeInt], None] = None
    # The exported graph ends in a softmax; false: it gives logits. No effect with `Global.use_multilabel`, whose
    # graphs end in a sigmoid, nor on one of several networks, which have it beside `models`.
    infer_add_softmax: bool = True
    params: Dict[str, Any] = field(default_factory=dict)

    infer_model_name, teachers = None, ()  # as a DistillationArch has them; without annotation: no keys

    def spelled(self, fields: Dict[str, Any]) -> Dict[str, Any]:
        return {**{key: value for key, value in fields.items() if key != "params"}, **fields["params"]}

    @property
    def graph_teachers(self) -> Dict[str, "GraphTeacher"]:
        """The teachers that are no networks here, by name: none without distillation."""
        return {}

    @property
    def weights(self) -> Union[bool, str, None]:
        """Weights to start from: `pretrained`, or "ssld" where `use_ssld` chooses; None for random ones."""
        return "ssld" if self.use_ssld and self.pretrained is True else self.pretrained or None

    @property
    def patterns(self) -> List[str]:
        """The `return_patterns` as a list."""
        given = self.return_patterns or []
        return [given] if isinstance(given, str) else given

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
class GraphTeacher:
    """Frozen teacher of any origin, run by ONNX Runtime.

    It is an ONNX file `onnx`, whose images are prepared by `preprocess`, or an exported `folder`, which says that
    itself. Only training needs it.
    """

    onnx: Optional[str] = None  # an ONNX file
    # an exported folder, which has its own transforms; without inference.onnx converted
    folder: Optional[str] = None
    preprocess: TransformOps = field(default_factory=list)  # of the images of `onnx`
    output: Optional[str] = None  # an output of the graph by name, (N, D) or (N, D, 1, 1); null: the first
    # `image`: each training image once, whole, through the teacher's own transforms. `crop`: in every epoch
    # what the student sees, the same crop, flip and colours, drawn at the size that the teacher's transforms
    # end in and with its NormalizeImage, by the processes that read. That costs a forward pass per image and
    # epoch on one core; `DataLoader.Train.dataset.views: N` draws each image in N ways, in turns, and keeps
    # the answers.
    sees: Literal["image", "crop"] = "image"
    # Folder of the answers. They are found by the checksums of graph, transforms, versions and each image
    # file, so others are never used; a run that is ended goes on where it was. Deleting it is safe.
    cache: str = "./output/teachers"
    name: Literal["GraphTeacher"] = "GraphTeacher"

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
    `onnx` or `folder` in the place of `name` is a `GraphTeacher`.
    `freeze_params_list` and `pretrained_list` have one entry for each of them: a frozen network is in
    eval mode, gets no gradients and needs weights to train by, a teacher's. `infer_model_name` is the student.
    """

    models: List[Dict[str, Annotated[Union[Network, GraphTeacher], Unnamed("GraphTeacher")]]]
    pretrained_list: Optional[List[Union[bool, str, None]]] = None  # as `pretrained` of each model
    freeze_params_list: Optional[List[bool]] = None
    infer_model_name: str = "Student"  # the one that is evaluated, exported and kept
    class_num: PositiveInt = 0  # for all, the student's where it is left out; the models' own must agree
    use_ssld: bool = (
        False  # accepted from PaddleClas' YAML, where it has no effect either: each model has its own
    )
    use_sync_bn: bool = False
    infer_add_softmax: bool = True  # of the student's exported graph, as in a network
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
            if name not in self.graph_teachers:
                continue
            if self.freeze_params_list and not self.freeze_params_list[index]:
                raise ConfigError(
                    f"freeze_params_list: {name} is no network here and cannot learn; write true"
                )
            if self.pretrained_list and self.pretrained_list[index]:
                raise ConfigError(f"pretrained_list: {name} has its weights in its own file; write null")

    @property
    def _models(self) -> Dict[str, Union[ArchConfig, GraphTeacher]]:
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
    def graph_teachers(self) -> Dict[str, GraphTeacher]:
        """The teachers that are no networks here, by name."""
        return {name: arch for name, arch in self._models.items() if isinstance(arch, GraphTeacher)}

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
