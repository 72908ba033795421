"""The exported folder: inference.{json|pdmodel}, inference.pdiparams and inference.yml.

inference.yml has PaddleX's and PaddleClas' layout (`Global`, `PreProcess`, `PostProcess`), so that their
tools serve the folder, and one section of our own:

    ppcls_light:
      version: 0.1.0            # of this package
      arch: PPLCNet_x0_25
      paddle: 3.3.1             # wrote the graph
      format: json              # json or pdmodel
      precision: fp32           # fp32, or int8: a quantized graph
      weights: 7f39d2...        # SHA-256 of the weights it was made from
      output: probs             # probs: softmax or sigmoid is in the graph; logits: it is not
      multilabel: true          # the classes are tags, each with a sigmoid; left out for one class of several
      further: [embedding]      # outputs of the graph behind that one, those of `Further`; left out when there is none
      class_num: 4
      named: false              # label_list has the ids, for PaddleX; left out when it has names
      image_shape: [3, 224, 224]
      decode: [{DecodeImage: {to_rgb: true}}]
      photos:                   # `Photos`, of a graph that prepares them itself; left out for one of prepared images
        channels: rgb
        transform_ops: [...]    # what it does; PreProcess has none then, so that no other tool does it twice
      postprocess: {name: ThreshOutput, threshold: 0.9}  # the kind of answer; left out for Topk
      chosen: {rule: tpr@fpr=0.01, threshold: 0.9, measured: [...]}  # of `Chosen`, where a rule chose the threshold
      precisions:               # top-1 in percent, by engine, of what passed the accuracy gate of the export
        paddle: {fp32: 99.683, bf16: 99.747, int8: 99.62}  # int8 is in INT8_FILES
      scored_images: 1578       # images that those top-1 are of
      made_of: 51d0...          # of a teacher of tools/fit_teacher.py: SHA-256 of the network that has the embeddings
      unknown:                  # images that are of no class, `Unknown`; left out when nothing was asked for
        score: energy           # or distance, to the embeddings in UNKNOWN_FILE
        temperature: 1.31
        thresholds: [-3.72]     # one, or one for each class
        coverage: 0.95
        measured: {...}         # images, and ECE, coverage and top-1 on them
      files: {inference.json: 08c1..., ...}  # SHA-256 of the others, so that no network gets another one's weights
      parity: {...}             # ExportReport's comparison with the network in training code, and on what processor
"""

import hashlib
import logging
import os
from dataclasses import dataclass, field
from typing import Annotated, Any, Dict, Iterable, List, Literal, Mapping, Optional, Tuple

import numpy as np

from ..base.files import StrPath, checksum, write_text
from ..base.hints import command
from ..config import postprocess
from ..config.bind import bind
from ..config.postprocess import PostProcess, Topk
from ..config.tree import Node, dump_yaml, read_tree
from ..config.types import Op, PositiveFloat, PositiveInt, Probability, Unnamed, plain
from ..config.values import TransformOps, UnknownScore
from ..data.classes import ClassNames
from ..data.transforms.compose import build_transforms
from ..errors import ConfigError, ExportError, WeightsError
from .chosen import Chosen
from .paddlex import for_others, paddlex_name, plain_op

logger = logging.getLogger(__name__)

CONFIG_FILE = "inference.yml"
PARAMS_FILE = "inference.pdiparams"
GRAPH_FILES = {"json": "inference.json", "pdmodel": "inference.pdmodel"}
WEIGHTS_FORMAT = "pdparams"
ONNX_FILE = "inference.onnx"
PLAN_FILE = "inference.plan"  # for the engine native
METADATA_FILE = "inference.metadata.json"  # what programs need that do not read inference.yml
INT8_STEM = "inference.int8"
# Files of the int8 graph that an engine runs, the graph first.
INT8_FILES = {
    "paddle": (f"{INT8_STEM}.pdmodel", f"{INT8_STEM}.pdiparams"),
    "onnxruntime": (f"{INT8_STEM}.onnx",),
    "openvino": (f"{INT8_STEM}.xml", f"{INT8_STEM}.bin"),
}
UNKNOWN_FILE = "inference.unknown.npz"  # an index of training embeddings, for the score `distance`
# Outputs that a graph may have behind its first one. embedding: what the classifier takes, (N, D), not normalised;
# logits: (N, class_num), of which the probabilities are the softmax or, of tags, the sigmoid.
Further = Literal["embedding", "logits"]

Ops = Iterable[Tuple[str, Optional[Mapping[str, Any]]]]  # (name, parameters) of transforms
Channels = Literal["rgb", "bgr"]  # order of the photos of a graph that prepares them itself


@dataclass
class Unknown:
    """Section `unknown`: calibration of the probabilities, and the images that are of no class.

    An image is unknown when its score exceeds the threshold, of its best class when there is one for each.
    """

    score: UnknownScore
    temperature: PositiveFloat  # of the softmax (Guo et al., arXiv 1706.04599)
    thresholds: List[float]  # one, or one for each class
    coverage: Probability  # share of the images of the fit that was to stay known
    measured: Dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.thresholds:
            raise ConfigError("thresholds is empty; export the model again")


@dataclass
class Photos:
    """Section `photos`: the graph takes uint8 photos (N, H, W, 3) of any size and has the preprocessing in it.

    `channels` is the order of the colours: those of the decoded file, or reversed.
    """

    channels: Channels
    transform_ops: TransformOps


@dataclass
class Bundle:
    """Content of an exported folder, or of a trained network before its export."""

    folder: str
    # "json" (Paddle 3), "pdmodel" (Paddle 2, and int8 everywhere), "onnx": nothing for Paddle here, or "pdparams": no
    # graph, but weights
    format: str
    # Preprocessing after decoding; None when the folder has no inference.yml.
    transform_ops: Optional[List[Op]] = None
    decode: List[Op] = field(default_factory=list)  # the decoding op, [] for DecodeImage's defaults
    photos: Optional[Photos] = None  # None: the graph takes images that `transform_ops` have prepared
    postprocess: PostProcess = field(default_factory=Topk)  # the kind of answer, without names
    chosen: Optional[Chosen] = None  # what chose its threshold
    class_names: Optional[ClassNames] = None
    # "probs" or "logits", what the graph returns. Other exporters do not say; PaddleClas, whose layout this is,
    # always ends the graph with a softmax, so "probs" is assumed then.
    output: str = "probs"
    multilabel: bool = False  # the classes are tags, each with a sigmoid of its own
    further: List[Further] = field(default_factory=list)  # the graph's outputs behind that one, in order
    class_num: Optional[int] = None  # like the next two, as recorded by the exporter
    image_shape: Optional[List[int]] = None
    model_name: str = ""
    precision: str = "fp32"  # "fp32", or "int8": the graph says what is to be computed in int8
    # {engine: {precision: top-1 in percent}} of what passed the accuracy gate of the export, {} when there was none.
    precisions: Dict[str, Dict[str, float]] = field(default_factory=dict)
    weights: str = ""  # checksum of the weights behind the graph, "" when the exporter did not say
    unknown: Optional[Unknown] = None  # None: every image is of some class
    proved_on: str = ""  # the processor on which the export was compared with the network, where known
    onnx_file: Optional[str] = None  # path of inference.onnx
    plan_file: Optional[str] = None  # path of inference.plan
    made_of: str = ""  # checksum of the network of a teacher that tools/fit_teacher.py wrote
    files: Dict[str, str] = field(default_factory=dict)  # SHA-256 of the other files by name, where known
    stem: str = "inference"  # name of the graph's files without suffix

    @property
    def outputs(self) -> List[str]:
        """Names of the graph's outputs, in order."""
        return [self.output, *self.further]

    @property
    def input(self) -> str:
        """Name of the graph's input in ONNX."""
        return "x" if self.photos is None else self.photos.channels

    @property
    def is_exported(self) -> bool:
        """False for weights without a graph."""
        return self.format != WEIGHTS_FORMAT

    @property
    def graph_file(self) -> str:
        return os.path.join(self.folder, f"{self.stem}.{self.format}")

    @property
    def params_file(self) -> str:
        return os.path.join(self.folder, f"{self.stem}.pdiparams")

    def verify_checksums(self, *paths: str) -> None:
        """Refuse files of the folder that inference.yml was not written for; missing ones are passed over.

        Raises WeightsError: one is of another export, or damaged.
        """
        for path in paths:
            name = os.path.basename(path)
            own = name in self.files and path == os.path.join(self.folder, name)
            if own and checksum(path) not in ("", self.files[name]):
                raise WeightsError(
                    f"{path} is damaged, or not of the export that {CONFIG_FILE} beside it describes: its SHA-256 is "
                    "another one; copy the whole folder again, or export the model anew"
                )


@dataclass
class _PreProcess:
    transform_ops: TransformOps


@dataclass
class _PostProcess:
    """PaddleX's and PaddleClas' section, of one kind of answer."""

    Topk: Optional[Annotated[postprocess.Topk, Unnamed("Topk")]] = None
    ThreshOutput: Optional[Annotated[postprocess.ThreshOutput, Unnamed("ThreshOutput")]] = None
    MultiLabelThreshOutput: Optional[
        Annotated[postprocess.MultiLabelThreshOutput, Unnamed("MultiLabelThreshOutput")]
    ] = None
    PersonAttribute: Optional[Annotated[postprocess.PersonAttribute, Unnamed("PersonAttribute")]] = None
    VehicleAttribute: Optional[Annotated[postprocess.VehicleAttribute, Unnamed("VehicleAttribute")]] = None
    TableAttribute: Optional[Annotated[postprocess.TableAttribute, Unnamed("TableAttribute")]] = None
    ScoreOutput: Optional[Annotated[postprocess.ScoreOutput, Unnamed("ScoreOutput")]] = None

    def __post_init__(self) -> None:
        if len(self.given) > 1:
            raise ConfigError(f"{' and '.join(kind.name for kind in self.given)} are given; keep one")

    @property
    def given(self) -> List[PostProcess]:
        """The kinds that are there."""
        return [kind for kind in (getattr(self, name) for name in postprocess.KINDS) if kind is not None]


@dataclass
class _Own:
    version: str = ""
    arch: str = ""
    paddle: str = ""
    format: str = ""
    precision: Literal["fp32", "int8"] = "fp32"
    weights: str = ""
    output: Literal["probs", "logits"] = "probs"
    multilabel: bool = False
    further: List[Further] = field(default_factory=list)
    class_num: Optional[PositiveInt] = None
    named: bool = True
    image_shape: Optional[List[PositiveInt]] = None
    decode: TransformOps = field(default_factory=list)
    photos: Optional[Photos] = None
    postprocess: Optional[Annotated[PostProcess, Unnamed("Topk")]] = None
    chosen: Optional[Chosen] = None
    precisions: Dict[str, Dict[str, float]] = field(default_factory=dict)
    scored_images: Optional[PositiveInt] = None
    made_of: str = ""
    unknown: Optional[Unknown] = None
    files: Dict[str, str] = field(default_factory=dict)
    parity: Dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if [op.name for op in self.decode] not in ([], ["DecodeImage"]):
            raise ConfigError(
                "decode is one DecodeImage; for example decode: [{DecodeImage: {to_rgb: true}}]"
            )


@dataclass
class _InferenceYml:
    """The sections read here; others (PaddleX's Hpi) belong to other tools and are left alone."""

    PreProcess: _PreProcess
    PostProcess: _PostProcess = field(default_factory=_PostProcess)
    ppcls_light: _Own = field(default_factory=_Own)


def weights_digest(state: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 of weights, which `Bundle.weights` has; the scales of quantization do not count.

    Half precision, in which a training may save them, counts as the float32 that is exported.
    """
    digest = hashlib.sha256()
    for key, value in sorted(state.items()):
        if "._fake_quant" not in key:
            whole = value.astype(np.float32) if value.dtype == np.float16 else value
            digest.update(key.encode() + whole.tobytes())
    return digest.hexdigest()


def read_bundle(folder: StrPath) -> Bundle:
    """Read the description of the network in `folder`; the network itself is not loaded.

    Raises ConfigError: no such folder, no graph or parameters in it (the message lists what is there), or
    inference.yml is wrong (file:line and key).
    """
    folder = os.fspath(folder)
    if not os.path.isdir(folder):
        raise ConfigError(
            f"{folder}: no such folder; name one that {command('export')} or {command('fit-teacher')} wrote"
        )
    present = sorted(entry.name for entry in os.scandir(folder) if entry.is_file())
    formats = [name for name, file in GRAPH_FILES.items() if file in present]
    onnx_file = os.path.join(folder, ONNX_FILE) if ONNX_FILE in present else None
    if onnx_file and CONFIG_FILE in present and not formats:
        formats = ["onnx"]
    elif not formats or PARAMS_FILE not in present:
        wanted = PARAMS_FILE if formats else " or ".join(GRAPH_FILES.values())
        raise ConfigError(
            f"{folder}: no {wanted} here, {'only: ' + ', '.join(present) if present else 'and no other file'}; "
            f"export the model with {command('export')}, or name the folder that has the files"
        )
    bundle = Bundle(folder, formats[0], onnx_file=onnx_file)
    if PLAN_FILE in present:
        bundle.plan_file = os.path.join(folder, PLAN_FILE)
    if CONFIG_FILE in present:
        _read_yml(os.path.join(folder, CONFIG_FILE), bundle)
    return bundle


def _read_yml(path: str, bundle: Bundle) -> None:
    tree = read_tree(path)
    sections = {name: tree.value[name] for name in _InferenceYml.__dataclass_fields__ if name in tree.value}
    content = bind(_InferenceYml, Node(sections, tree.where))
    own = content.ppcls_light
    others = tree.value["Global"].value if "Global" in tree.value else None
    name = others.get("model_name") if isinstance(others, dict) else None
    bundle.photos = own.photos
    bundle.transform_ops = (own.photos or content.PreProcess).transform_ops
    (others_kind,) = content.PostProcess.given or [Topk()]
    labels = postprocess.label_map(others_kind).names
    if own.postprocess is not None and content.PostProcess.given:
        _compare_kinds(path, own.postprocess, others_kind)
    bundle.postprocess = postprocess.bare(own.postprocess or others_kind)
    bundle.chosen = own.chosen
    bundle.class_names = ClassNames(tuple(labels), f"label_list of {path}") if labels and own.named else None
    bundle.decode, bundle.output, bundle.precision = own.decode, own.output, own.precision
    bundle.further, bundle.unknown = list(own.further), own.unknown
    # Other exporters end the graph with a sigmoid where they write a kind of tags.
    bundle.multilabel = own.multilabel or (not own.version and isinstance(others_kind, postprocess.OF_TAGS))
    bundle.class_num, bundle.image_shape = own.class_num, own.image_shape
    bundle.weights, bundle.files, bundle.precisions = own.weights, own.files, own.precisions
    bundle.made_of = own.made_of
    bundle.proved_on = ", ".join(
        str(own.parity[key]) for key in ("processor", "instruction_set") if own.parity.get(key)
    )
    bundle.model_name = own.arch or (str(name.plain()) if name else "")


def _compare_kinds(path: str, kind: PostProcess, others: PostProcess) -> None:
    """Warn where somebody changed `others`, which is for other tools, and would see no other answers here."""
    ((name, written),) = for_others(kind, {}).items()
    if others.name != name or any(getattr(others, key) != value for key, value in written.items()):
        logger.warning(
            "%s: ppcls_light.postprocess (%s) counts here, not PostProcess.%s, which is for other tools and differs",
            *(path, for_us(kind), others.name),
        )


def write_inference_yml(
    folder: StrPath,
    transform_ops: Ops,
    kind: PostProcess,
    class_names: Optional[Iterable[str]],
    own: Mapping[str, Any],
) -> None:
    """Write `folder`/inference.yml, atomically.

    `transform_ops` are those of a dataset or of `Infer.transforms`: DecodeImage moves to our own section, and
    ToCHWImage is added at the end when missing, as deployment expects. `own` is the `ppcls_light` section, with at
    least "arch"; where it has "photos", {"channels"}, the graph does the ops.
    """
    decode, rest = split_decode(transform_ops)
    own, ops = {**own, "decode": [plain_op(op) for op in decode]}, [plain_op(op) for op in rest]
    if "photos" in own:
        own["photos"], ops = {**own["photos"], "transform_ops": ops}, []
    if class_names is None and own.get("class_num"):
        # PaddleX cannot do without names: the ids stand in for them.
        class_names, own["named"] = map(str, range(own["class_num"])), False
    labels = {} if class_names is None else {"label_list": list(class_names)}
    if not isinstance(kind, Topk):
        own["postprocess"] = for_us(kind)
    content = {
        "Global": {"model_name": paddlex_name(own["arch"], kind)},
        "PreProcess": {"transform_ops": ops},
        "PostProcess": for_others(kind, labels),
        "ppcls_light": own,
    }
    write_text(os.path.join(folder, CONFIG_FILE), dump_yaml(content), ExportError)


def for_us(kind: PostProcess) -> Dict[str, Any]:
    """Return the section `postprocess` of this package, which knows all kinds."""
    return {key: value for key, value in plain(postprocess.bare(kind)).items() if value is not None}


def split_decode(transform_ops: Ops) -> Tuple[List[Op], List[Op]]:
    """Return ([the DecodeImage op, if any], the other ops) as lists of `Op`.

    The other ops end in ToCHWImage, unless one of them gives (C, H, W) by itself.
    """
    ops = [Op(name, dict(params or {})) for name, params in transform_ops]
    decode = [op for op in ops if op.name == "DecodeImage"]
    if len(decode) > 1:
        raise ConfigError("transform_ops has DecodeImage more than once; keep the first")
    rest = [op for op in ops if op.name != "DecodeImage"]
    if not build_transforms(rest).makes_chw:
        rest.append(Op("ToCHWImage", {}))
    return decode, rest
