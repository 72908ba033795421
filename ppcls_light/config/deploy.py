"""Schema of the deploy YAML of predict_cls.py; its keys override settings of the exported folder."""

from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Dict, List, Optional, Union

from ..base.hints import command
from ..errors import ConfigError
from . import postprocess as kinds
from .postprocess import PostProcess
from .types import Given, NonNegativeFloat, NonNegativeInt, PositiveInt, Probability, Sections
from .values import EngineName, Precision, TransformOps

MOVED_KEYS = ("labels", "image_root", "max_drop")


def moved() -> str:
    """Return why there is none of `MOVED_KEYS`, after its name."""
    return (
        f"has no use here: precisions are compared with fp32 at export, {command('export')} "
        "-o Global.export_precision=int8 --max-drop 0.5; leave it out"
    )


@dataclass
class DeployGlobalConfig:
    """Paths are relative to the working directory."""

    infer_imgs: Union[List[str], str, None] = None
    inference_model_dir: Optional[str] = None
    batch_size: PositiveInt = 1
    engine: Optional[EngineName] = None  # native where the folder has a plan for it, else paddle
    precision: Precision = "fp32"
    # MOVED_KEYS, which older files have with these values.
    labels: Optional[str] = None
    image_root: str = "."
    max_drop: NonNegativeFloat = 1.0
    use_gpu: bool = False
    gpu_mem: PositiveInt = 8000  # MiB
    use_tensorrt: bool = False
    use_fp16: bool = False  # the same as precision fp16
    enable_mkldnn: bool = True
    cpu_ops: bool = True  # of earlier versions, where it chose the engine of MicroNet
    cpu_num_threads: Optional[PositiveInt] = None  # None: the physical cores
    ir_optim: bool = True
    workers: Optional[NonNegativeInt] = (
        None  # processes or threads; None: as many as cores for a long list, else 0
    )
    output: Optional[str] = None  # .jsonl or .csv
    enable_benchmark: bool = False  # print the speed at the end
    benchmark: bool = False  # the same
    enable_profile: bool = False  # print Paddle's operator profile at the end; Paddle also writes profile.log


@dataclass
class PreProcessConfig:
    transform_ops: Optional[TransformOps] = None


@dataclass
class SaveOptions:
    """Copies of the images, sorted by the class that each has in its row."""

    save_dir: str  # gets a folder for each class, called by its number


@dataclass
class PostProcessConfig:
    """The kind of answer, `main_indicator` or `name`; null: that of the exported folder.

    Its keys are in the section of its name or, as in training, beside that; the former win. Keys that are not given
    have the folder's values. Sections of other kinds are checked and have no effect, as in PaddleClas.
    """

    main_indicator: Optional[kinds.Kind] = None
    name: Optional[kinds.Kind] = None
    topk: Optional[PositiveInt] = None
    threshold: Union[Probability, List[Probability], None] = None
    class_id_map_file: Optional[str] = None
    delimiter: Optional[str] = None
    label_list: Optional[List[str]] = None
    Topk: Annotated[Dict[str, Any], Given(kinds.Topk)] = field(default_factory=dict)
    ThreshOutput: Annotated[Dict[str, Any], Given(kinds.ThreshOutput)] = field(default_factory=dict)
    MultiLabelThreshOutput: Annotated[Dict[str, Any], Given(kinds.MultiLabelThreshOutput)] = field(
        default_factory=dict
    )
    PersonAttribute: Annotated[Dict[str, Any], Given(kinds.PersonAttribute)] = field(default_factory=dict)
    VehicleAttribute: Annotated[Dict[str, Any], Given(kinds.VehicleAttribute)] = field(default_factory=dict)
    TableAttribute: Annotated[Dict[str, Any], Given(kinds.TableAttribute)] = field(default_factory=dict)
    ScoreOutput: Annotated[Dict[str, Any], Given(kinds.ScoreOutput)] = field(default_factory=dict)
    SavePreLabel: Optional[SaveOptions] = None

    def __post_init__(self) -> None:
        if None not in (self.main_indicator, self.name) and self.main_indicator != self.name:
            raise ConfigError(
                f"main_indicator: it is {self.main_indicator}, and name is {self.name}; keep one of them"
            )

    def of(self, folder: PostProcess) -> PostProcess:
        """Return `folder`, the kind of answer of an exported folder, with these keys in place of its own.

        Raises ConfigError: the kind has no such key.
        """
        name = self.main_indicator or self.name or self._implied(folder.name)
        kind = folder if folder.name == name else kinds.KINDS[name]()
        beside = {
            key: value
            for key in ("topk", "threshold", "class_id_map_file", "delimiter", "label_list")
            if (value := getattr(self, key)) is not None
        }
        other = next((key for key in beside if not hasattr(kind, key)), None)
        if other is not None:
            raise ConfigError(f"PostProcess.{other}: {name} has no such key; leave it out")
        return replace(kind, **{**beside, **getattr(self, name)})

    def _implied(self, folder: kinds.Kind) -> kinds.Kind:
        """Return the kind that is meant where none is named: the one with keys, else the folder's."""
        named: List[kinds.Kind] = [name for name in kinds.KINDS if getattr(self, name)]
        if folder in named or not (named or self.topk):
            return folder
        if len(named) > 1:
            raise ConfigError(
                f"PostProcess.main_indicator is missing; for example main_indicator: {named[0]}"
            )
        return named[0] if named else "Topk"


@dataclass
class DeployConfig(Sections):
    """A deploy YAML, checked."""

    Global: DeployGlobalConfig = field(default_factory=DeployGlobalConfig)
    PreProcess: PreProcessConfig = field(default_factory=PreProcessConfig)
    PostProcess: PostProcessConfig = field(default_factory=PostProcessConfig)
