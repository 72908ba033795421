"""`export_model`: folding, saving, inference.yml, verification and the move into the target folder."""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import tempfile
from dataclasses import dataclass, field
from typing import Any, Collection, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

import cv2
import numpy as np
import paddle
from paddle import nn

from .. import __version__
from ..base.files import StrPath, checksum
from ..base.machine import require
from ..bundle.chosen import Chosen
from ..bundle.folder import (
    CONFIG_FILE,
    ONNX_FILE,
    Ops,
    read_bundle,
    weights_digest,
    write_inference_yml,
)
from ..bundle.metadata import describe
from ..bundle.onnx import INT8_TO_ONNX, to_onnx
from ..compress import is_quantized
from ..config.postprocess import PostProcess, Topk, check_network, default_kind
from ..data.classes import ClassNames, as_class_names
from ..errors import ExportError
from ..prediction.unknown import OUTPUT_OF
from .accuracy import AccuracyGate
from .fold.steps import fold
from .int8 import save_int8
from .plan import write_plan
from .precisions import add_precisions
from .preprocess import Preprocessing
from .staging import staged
from .static import STEM, save_static
from .targets import TARGETS
from .targets.convert import convert
from .unknown import UnknownFit, fit_unknown
from .verify import verify
from .web.export import WebExport
from .web.page import FOLDER

logger = logging.getLogger(__name__)

Names = Union[None, ClassNames, Sequence[str], Mapping[int, str]]

MAX_IMAGES = 16


@dataclass(frozen=True)
class ExportReport:
    """Result of an export, and its agreement with the network.

    Attributes:
        folder: where the files are.
        format: "json" (Paddle 3) or "pdmodel" (Paddle 2, and int8 everywhere).
        precision: "fp32", or "int8" for a network after quantization-aware training.
        class_num: classes.
        images: number of images compared.
        source: "given" images or "generated" ones.
        max_abs_diff: largest difference of a probability: at most 1e-5, for int8 at most 0.1 on three images of
            four.
        same_top1: True if all best classes agree up to ties within that; always for fp32.
        same_class: number of images whose best class is the same, ties or not.
        onednn: True if Paddle Inference used oneDNN in the comparison.
        processor: that it ran on, by name.
        instruction_set: the highest of that, by oneDNN's name, such as "avx512_core_vnni"; "" where it is not known.
        onnx_max_abs_diff: largest difference of a probability between ONNX Runtime on inference.onnx and Paddle
            Inference, at batch 1 and 8: at most 1e-4; None without an inference.onnx.
        further: {output: largest difference of an image's, a share of its length (L2)} of outputs behind the
            probabilities, such as embedding: at most 1e-3, for int8 at most 0.5 on three images of four.
        precisions: {engine: {precision: top-1 in percent}} that passed the accuracy gate, {} without one.
        formats: {format: {precision: largest difference of a probability in its own runtime}}: in fp32 at most 1e-4, of
            a graph of photos 0.02, in fp16 0.05; {} without `formats`.
        web_max_abs_diff: largest difference of a probability of web/model.onnx, whose weights are in half precision, in
            ONNX Runtime: at most 0.05; None without `web`.
        preprocessing: of a graph of photos: grey_levels, the largest difference of a pixel from the transforms', and
            max_abs_diff, that of a probability by it: at most 0.02; {} without.
        unknown: what the fit of unknown images does, see `unknown.measured`; {} without one.
    """

    folder: str
    format: str
    precision: str
    class_num: int
    images: int
    source: str
    max_abs_diff: float
    same_top1: bool
    same_class: int
    onednn: bool
    processor: str
    instruction_set: str
    onnx_max_abs_diff: Optional[float] = None
    further: Dict[str, float] = field(default_factory=dict)
    formats: Dict[str, Dict[str, float]] = field(default_factory=dict)
    web_max_abs_diff: Optional[float] = None
    preprocessing: Dict[str, float] = field(default_factory=dict)
    precisions: Dict[str, Dict[str, float]] = field(default_factory=dict)
    unknown: Dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        images = "" if self.source == "given" else "generated "
        text = (
            f"in Paddle Inference{' with oneDNN' if self.onednn else ''} the {self.precision} probabilities of "
            f"{self.images} {images}images differ by at most {self.max_abs_diff:.1e}"
        )
        if self.precision == "int8":
            text += f", the best class is the same on {self.same_class} of them"
        if self.onnx_max_abs_diff is not None:
            text += f", between inference.onnx in ONNX Runtime and it by {self.onnx_max_abs_diff:.1e}"
        for name, differences in self.formats.items():
            of = " and ".join(f"in {kind} by {largest:.1e}" for kind, largest in differences.items())
            text += f", of {name} in {TARGETS[name].title} {of}"
        if self.web_max_abs_diff is not None:
            text += f", of web/model.onnx in ONNX Runtime by {self.web_max_abs_diff:.1e}"
        if self.preprocessing:
            text += (
                ", pixels of the preprocessing in the graph and of the transforms by {grey_levels:.2f} grey levels and "
                "the probabilities by {max_abs_diff:.1e}"
            ).format(**self.preprocessing)
        for name, difference in self.further.items():
            text += f", the {name} by {difference:.1e} of its length"
        return text + ("" if self.source == "given" else "; no real images were given")


def export_model(
    model: nn.Layer,
    folder: StrPath,
    image_shape: Sequence[int],
    transform_ops: Ops,
    class_names: Names = None,
    model_name: Optional[str] = None,
    topk: int | None = None,
    images: Optional[Iterable[StrPath]] = None,
    onnx: bool = False,
    formats: Collection[str] = (),
    half: bool = False,
    gate: Optional[AccuracyGate] = None,
    fold_steps: Optional[Collection[str]] = None,
    embedding: bool = False,
    unknown: Optional[UnknownFit] = None,
    multilabel: bool = False,
    postprocess: PostProcess | None = None,
    chosen: Chosen | None = None,
    softmax: bool = True,
    preprocess: bool = False,
    web: bool = False,
    cdn: bool = False,
    webgpu: bool = False,
) -> ExportReport:
    """Export a trained network for Paddle Inference into `folder`, and prove that the export equals it.

    A deep copy is put into eval mode, its batch norms are folded into the convolutions, a softmax or a sigmoid is
    added, and the graph is saved with a dynamic batch. The folder is then opened in a new process and compared with
    `model` itself on image files. A network after quantization-aware training becomes an int8 graph.
    `model` is not changed. Files appear in `folder` only after that comparison has passed: when it fails, an earlier
    export stays as it was. One of the same weights in the same precisions is replaced; any other is moved to
    `folder`/previous_N, and a warning says so.

    Args:
        model: Layer, images (N, C, H, W) to logits (N, class_num).
        folder: destination; made when missing. Other files in it are kept.
        image_shape: (C, H, W).
        transform_ops: (name, params) pairs that turn an image file into the network's input, as of
            `Infer.transforms` or of the evaluation dataset; they go into inference.yml.
        class_names: one name per class: a list, or {id: name}. None: results carry ids only.
        model_name: name of the architecture, such as "PPLCNet_x0_25"; None: `model.model_name`.
        topk: number of classes that a result lists; None: what `postprocess` says.
        images: paths of image files to compare on, of which up to 16, evenly spaced, are used; None: generated
            ones, which will not do for int8: its range is that of the images that it was trained on.
        gate: for a network trained in float: its int8 graphs are exported, too, one for each engine that passes; with
            `formats` those of the formats in place of the engines, each of which must pass.
        fold_steps: those that an fp32 export takes, see `fold.steps.fold`; None: all.
        onnx: write inference.onnx beside the Paddle graph, too, and compare the two.
        formats: of `TARGETS`: their files are written beside the Paddle graph, and compared in their own runtimes.
        half: each of `formats` has files in fp16, too.
        embedding: give the graph the embeddings as a second output, see `models.embedding`.
        unknown: fit when an image is of no class, and how sure the answers are; its score needs an output of its own.
        multilabel: the classes are tags, each with a sigmoid of its own in place of the softmax.
        chosen: what chose the threshold of `postprocess`, to be told by inference.yml.
        preprocess: the graph takes uint8 photos (N, H, W, 3) and applies `transform_ops` itself, see `preprocess`.
        web: write the folder web/, too: a page that classifies in the browser, see `web`.
        cdn: that page takes its runtime from a CDN.
        webgpu: that page also has the runtime for GPUs, used where the answers are equal and faster.
        softmax: false leaves out the softmax of one class per image, so that the graph gives logits.
        postprocess: the kind of answer, without names; None: `Topk`, of tags `MultiLabelThreshOutput`.

    Raises:
        DeviceError: the network is quantized or `gate` is given, and the processor has no int8.
        ExportError: the names do not fit the classes, the exported model does not equal `model`, no engine passes
            `gate` in int8, `transform_ops` have no form in a graph, or one of `formats` cannot be written or proved.
    """
    quantized = is_quantized(model)
    _check_possible(quantized, onnx, formats, half, gate, images is None, preprocess, web)
    folder = os.path.realpath(folder)
    reference = copy.deepcopy(model)
    reference.eval()
    transform_ops = list(transform_ops)
    further = ["embedding"] if embedding else []
    preprocessing = Preprocessing(transform_ops, image_shape) if preprocess else None
    page = WebExport(preprocessing or Preprocessing(transform_ops, image_shape), cdn, webgpu) if web else None
    kind = Topk(topk=topk) if topk is not None else postprocess or default_kind(multilabel)
    if unknown is not None and OUTPUT_OF[unknown.score] not in further:
        further.append(OUTPUT_OF[unknown.score])
    with staged(folder) as stage, _sample_images(images) as paths:
        if quantized:
            precision, graph_format = (
                "int8",
                save_int8(*(model, stage, image_shape, further, multilabel, softmax)),
            )
        else:
            folded = fold(model, fold_steps, keep_embedding="embedding" in further)
            precision = "fp32"
            options = (image_shape, softmax, further, multilabel, preprocessing)
            graph_format = save_static(folded, stage, *options)
            if preprocessing is None:
                write_plan(folded, stage, multilabel, softmax)
            if page is not None:
                page.write_graphs(folded, stage, kind, further, multilabel)
        own: Dict[str, Any] = {
            "version": __version__,
            "arch": model_name or getattr(model, "model_name", type(model).__name__),
            "paddle": paddle.__version__,
            "format": graph_format,
            "precision": precision,
            "weights": weights_checksum(model),
            "output": "probs" if softmax or multilabel else "logits",
            **({"multilabel": True} if multilabel else {}),
            **({"further": further} if further else {}),
            "image_shape": list(image_shape),
            **({} if preprocessing is None else {"photos": {"channels": preprocessing.channels}}),
            **({} if chosen is None else {"chosen": chosen.outcome()}),
        }
        write_inference_yml(stage, transform_ops, kind, None, own)
        converted = _convert(stage, onnx, formats, half)
        parity = verify(
            *(stage, reference, transform_ops, image_shape, paths),
            *(precision, onnx, further, multilabel, preprocessing),
            converted=converted,
            page=page,
        )
        own["class_num"] = parity.pop("class_num")
        own["parity"] = {"source": "generated" if images is None else "given", **parity}
        names = _checked_names(class_names, own["class_num"])
        check_network(kind, own["class_num"], multilabel)
        if gate is not None:
            own["precisions"] = add_precisions(model, stage, image_shape, transform_ops, gate, formats)
            own["scored_images"] = len(gate.images.scored)
        if unknown is not None:
            own["unknown"] = fit_unknown(stage, unknown, own["weights"])
        if formats and not onnx:
            os.remove(os.path.join(stage, ONNX_FILE))
        own["files"] = {
            name: checksum(os.path.join(stage, name))
            for name in sorted(os.listdir(stage))
            if name != CONFIG_FILE and name != FOLDER
        }
        write_inference_yml(stage, transform_ops, kind, names, own)
        describe(stage, beside=bool(formats))
        if page is not None:
            page.write_page(stage)
    report = ExportReport(
        *(folder, graph_format, precision, own["class_num"]),
        **own["parity"],
        precisions=own.get("precisions", {}),
        unknown=own.get("unknown", {}).get("measured", {}),
    )
    found = "agree" if report.precision == "fp32" else "compared"
    logger.info("Exported and original model %s: %s", found, report)
    logger.info(
        'Export succeeded! The inference model exported has been saved in "%s".', os.path.join(folder, STEM)
    )
    return report


def _check_possible(
    quantized: bool,
    onnx: bool,
    formats: Collection[str],
    half: bool,
    gate: Optional[AccuracyGate],
    no_images: bool,
    preprocess: bool,
    web: bool,
) -> None:
    """Raise, before any work, ExportError or DeviceError where these wishes cannot be met, or not together."""
    if (preprocess or web) and not hasattr(paddle.inference.Config, "enable_new_ir"):
        raise ExportError(
            f"{'Global.export_preprocess' if preprocess else '--format web'}: Paddle {paddle.__version__} cannot save "
            "this graph; install Paddle 3, or leave it out"
        )
    asked = ["fp32", *(["fp16"] if half else []), *(["int8"] if gate is not None else [])]
    for name in formats:
        TARGETS[name].check(asked, preprocess)
    if not quantized and (gate is None or formats):
        return
    # Proved in Paddle Inference, in int8.
    require("int8", "an int8 export", "export on a processor that has them, or in fp32")
    if preprocess:
        raise ExportError("Global.export_preprocess: the graph of photos is in fp32; leave it out, or int8")
    if quantized and (onnx or formats or web):
        raise ExportError(INT8_TO_ONNX)
    if quantized and no_images:
        raise ExportError(
            "an int8 model is compared on real images, and there are none; give those of DataLoader.Eval.dataset"
        )


def _convert(stage: str, onnx: bool, formats: Collection[str], half: bool) -> List[Tuple[str, str]]:
    """Write inference.onnx where it is needed, and the files of `formats`; return (format, precision) of these."""
    file = os.path.join(stage, ONNX_FILE)
    if onnx or formats:
        to_onnx(read_bundle(stage), file)
    converted = [(name, precision) for name in formats for precision in ("fp32", *(["fp16"] if half else []))]
    for name, precision in converted:
        convert(stage, name, precision, file)
    return converted


def weights_checksum(model: nn.Layer) -> str:
    """Return the `weights_digest` of a network: the same before `calibrate` and after."""
    return weights_digest({key: value.numpy() for key, value in model.state_dict().items()})


def _checked_names(class_names: Names, class_num: int) -> Optional[ClassNames]:
    if class_names is None:
        return None
    names = as_class_names(class_names, "the class names")
    if len(names) != class_num:
        raise ExportError(
            f"{names.source}: {len(names)} class names for a network of {class_num} classes; give one for each id from "
            f"0 to {class_num - 1}"
        )
    return names


@contextlib.contextmanager
def _sample_images(images: Optional[Iterable[StrPath]]) -> Iterator[List[str]]:
    """Yield up to 16 paths: of `images`, evenly spaced, or of pictures drawn into a temporary folder."""
    if images is not None:
        paths = [os.fspath(path) for path in images]
        if not paths:
            raise ExportError("no images to compare on; leave `images` out to compare on generated ones")
        yield paths[:: -(-len(paths) // MAX_IMAGES)]  # evenly spaced: a sorted list begins with one class
        return
    with tempfile.TemporaryDirectory() as scratch:
        rng = np.random.default_rng(0)
        paths = []
        for index in range(4):
            # few random cells enlarged: smooth colours, like a photo's, rather than noise that averages out
            cells = rng.integers(0, 256, (3 + index, 4 + index, 3)).astype("uint8")
            picture = cv2.resize(cells, (320, 256), interpolation=cv2.INTER_CUBIC)
            paths.append(os.path.join(scratch, f"{index}.jpg"))
            with open(paths[-1], "wb") as file:
                file.write(cv2.imencode(".jpg", picture)[1].tobytes())
        yield paths
