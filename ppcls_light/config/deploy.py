"""Schema of the deploy YAML of predict_cls.py; its keys override settings of the exported folder."""

from dataclasses import dataclass, field
from typing import List, Literal, Optional, Union

from ..base.hints import command
from .dataloader import TransformOps
from .types import NonNegativeFloat, NonNegativeInt, PositiveInt, Sections

EngineName = Literal["paddle", "onnxruntime", "openvino", "auto"]
Precision = Literal["fp32", "fp16", "bf16", "int8", "auto"]
UnknownScore = Literal["energy", "distance"]  # by which an image is of no class

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
    engine: EngineName = "paddle"
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
    cpu_ops: bool = True  # MicroNet in Paddle as one operator, built on first use
    cpu_num_threads: Optional[PositiveInt] = None  # None: the physical cores
    ir_optim: bool = True
    workers: Optional[NonNegativeInt] = None  # processes; None: as many as cores for a long list, else 0
    output: Optional[str] = None  # .jsonl or .csv
    enable_benchmark: bool = False  # print the speed at the end
    enable_profile: bool = False  # print Paddle's operator profile at the end; Paddle also writes profile.log


@dataclass
class PreProcessConfig:
    transform_ops: Optional[TransformOps] = None


@dataclass
class TopkOptions:
    topk: Optional[PositiveInt] = None
    class_id_map_file: Optional[str] = None
    delimiter: Optional[str] = None
    label_list: Optional[List[str]] = None


@dataclass
class PostProcessConfig(TopkOptions):
    """Both of PaddleClas' spellings: `topk` beside `name: Topk`, or inside `Topk`, which then wins."""

    name: Literal["Topk"] = "Topk"
    main_indicator: Literal["Topk"] = "Topk"
    Topk: TopkOptions = field(default_factory=TopkOptions)

    def merged(self) -> TopkOptions:
        """Return the one `TopkOptions` that both spellings give."""
        keys = TopkOptions.__dataclass_fields__
        inner = {key: getattr(self.Topk, key) for key in keys}
        return TopkOptions(
            **{key: getattr(self, key) if value is None else value for key, value in inner.items()}
        )


@dataclass
class DeployConfig(Sections):
    """A deploy YAML, checked."""

    Global: DeployGlobalConfig = field(default_factory=DeployGlobalConfig)
    PreProcess: PreProcessConfig = field(default_factory=PreProcessConfig)
    PostProcess: PostProcessConfig = field(default_factory=PostProcessConfig)
