"""Linear classifier on a network's embeddings, as a teacher for few labelled images.

A large public network's embeddings and multinomial logistic regression on them: the linear evaluation of transfer
learning (Kornblith et al., arXiv 1805.08974, section 3). scikit-learn fits it.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np

from ..base.files import checksum, require_writable, results
from ..bundle.folder import CONFIG_FILE, ONNX_FILE, Bundle, write_inference_yml
from ..config import Config
from ..config.postprocess import Topk
from ..data.classes import ClassNames
from ..errors import ConfigError, DataError, ExportError
from .distributed import Runtime
from .log import LOGGER
from .readers import Reader, build_reader, check_classes
from .teacher_graph import described
from .teachers import embeddings_of

# Inverse strengths of the L2 penalty that are tried in this order; features have variance 1.
STRENGTHS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
HELD_OUT = 5  # a fifth of each class chooses among them


class Linear(NamedTuple):
    """Classifier: logits (N, K) = embeddings (N, D) @ weight + bias."""

    weight: np.ndarray  # float32 (D, K)
    bias: np.ndarray  # float32 (K,)
    strength: float  # of `STRENGTHS`, the one that was chosen

    def accuracy(self, embeddings: np.ndarray, labels: np.ndarray) -> float:
        """Return the top-1 of embeddings float32 (N, D), a share."""
        return float(((embeddings @ self.weight + self.bias).argmax(axis=1) == labels).mean())


def fit_and_write(config: Config, runtime: Runtime, folder: str, teacher: str | None = None) -> float:
    """Fit on a teacher's embeddings of the labelled images of DataLoader.Train, and write `folder`.

    `teacher` is one of the config's with `onnx` or `folder`, by default the first that gives embeddings to a
    `DistillationFeatureLoss`.

    Returns the top-1 on DataLoader.Eval, a share; without that section the one on the images of the fit.

    Raises ConfigError: there is no such teacher. UserError: see `embeddings_of`, `fit` and `write_teacher`.
    """
    name = teacher or next(iter(config.Loss.embeddings), None)
    if name not in config.Arch.graph_teachers:
        raise ConfigError(
            f"Arch.models: there is no teacher {name or 'of a DistillationFeatureLoss'} with onnx or folder; name one "
            f"by --teacher ({', '.join(config.Arch.graph_teachers) or 'none is here'})"
        )
    spec, reader = config.Arch.graph_teachers[name], build_reader(config, "Train", runtime)
    check_classes(config, reader, None)
    require_writable(os.path.join(folder, CONFIG_FILE))
    embeddings, labels = _labelled(config, runtime, name, reader)
    LOGGER.info("%d labelled images, embeddings of %d numbers", *embeddings.shape)
    linear = fit(embeddings, labels, config.Arch.class_num, config.Global.seed)
    write_teacher(described(spec), spec.output, linear, reader.class_names, folder)
    scored = "the labelled images of DataLoader.Train themselves"
    if config.DataLoader.Eval is not None:
        scored, reader = "DataLoader.Eval", build_reader(config, "Eval", runtime, reader.class_names)
        embeddings, labels = _labelled(config, runtime, name, reader)
    top1 = linear.accuracy(embeddings, labels)
    LOGGER.info("C %g: top-1 %.2f %% on %d images of %s", linear.strength, 100 * top1, len(labels), scored)
    return top1


def _labelled(config: Config, runtime: Runtime, name: str, reader: Reader) -> tuple[np.ndarray, np.ndarray]:
    """Return a teacher's embeddings (N, D) of the images that have a label and could be read, and the labels (N,)."""
    embeddings, labels = embeddings_of(config, name, reader, runtime), reader.images.labels
    known = np.isfinite(embeddings).all(axis=1) & (labels >= 0)
    return embeddings[known], labels[known]


def fit(embeddings: np.ndarray, labels: np.ndarray, class_num: int, seed: int = 0) -> Linear:
    """Fit multinomial logistic regression to embeddings float32 (N, D) with labels int (N,).

    The penalty is the one of least log loss on a held-out fifth of each class; the fit is then of all. Log loss and not
    accuracy chooses, for the answers are to be soft labels.

    Raises DataError: a class has no image, none has enough to hold some out, or there is only one.
    """
    if class_num < 2:
        raise DataError("there is one class, of which nothing can be told apart; add images of another")
    counts = np.bincount(labels, minlength=class_num)
    if not counts.all():
        raise DataError(f"class {int(counts.argmin())} has no labelled image that could be read; add some")
    held_out = _held_out(labels, np.random.default_rng(seed))
    if not held_out.any():
        raise DataError(f"no class has {HELD_OUT} labelled images, of which one is held out; add some")
    tried: list[tuple[float, float]] = []  # (log loss, strength)
    for strength in STRENGTHS:
        part = _fitted(embeddings[~held_out], labels[~held_out], strength)
        tried.append((_log_loss(part, embeddings[held_out], labels[held_out]), strength))
        top1 = part.accuracy(embeddings[held_out], labels[held_out])
        LOGGER.info("C %g: held-out top-1 %.2f %%, log loss %.4f", strength, 100 * top1, tried[-1][0])
        if len(tried) > 2 and tried[-1][0] > tried[-2][0] > tried[-3][0]:
            break  # the loss is a smooth function of the strength with one minimum
    return _fitted(embeddings, labels, min(tried)[1])


def _held_out(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        chosen[members[: len(members) // HELD_OUT]] = True
    return chosen


def _fitted(embeddings: np.ndarray, labels: np.ndarray, strength: float) -> Linear:
    from sklearn.linear_model import LogisticRegression

    mean, spread = embeddings.mean(axis=0), embeddings.std(axis=0) + 1e-6
    model = LogisticRegression(C=strength, max_iter=1000).fit((embeddings - mean) / spread, labels)
    weight, bias = model.coef_, model.intercept_
    if len(weight) == 1:  # of two classes scikit-learn keeps the difference of the logits
        weight, bias = np.concatenate([0 * weight, weight]), np.concatenate([0 * bias, bias])
    weight = (weight / spread).T
    return Linear(weight.astype(np.float32), (bias - mean @ weight).astype(np.float32), strength)


def _log_loss(linear: Linear, embeddings: np.ndarray, labels: np.ndarray) -> float:
    logits = (embeddings @ linear.weight + linear.bias).astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    own = logits[np.arange(len(labels)), labels]
    return float((np.log(np.exp(logits).sum(axis=1)) - own).mean())


def write_teacher(
    bundle: Bundle, output: str | None, linear: Linear, names: ClassNames | None, folder: str
) -> None:
    """Write `folder`: the graph of `bundle` with the classifier on its `output`, and inference.yml.

    The first output of the graph are the logits, the embeddings are the second; so the folder is a teacher, a model for
    predict_cls.py, and, with `output`, the embeddings. Files of another teacher that are there are set aside.

    Raises ExportError: the graph cannot be extended.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    assert bundle.onnx_file is not None
    assert bundle.transform_ops is not None
    model = onnx.load(bundle.onnx_file)
    graph, embedding = model.graph, output or model.graph.output[0].name
    names_of = ("float", "input", "weight", "bias", "logits")
    single, flat, weight, bias, result = (f"linear_teacher.{name}" for name in names_of)
    if any(result in node.output for node in graph.node):
        raise ExportError(
            f"{bundle.onnx_file} is such a teacher already; give the network that it was made of"
        )
    graph.node.append(helper.make_node("Cast", [embedding], [single], to=TensorProto.FLOAT))
    graph.node.append(helper.make_node("Flatten", [single], [flat], axis=1))
    graph.node.append(helper.make_node("Gemm", [flat, weight, bias], [result]))
    graph.initializer.append(numpy_helper.from_array(linear.weight, weight))
    graph.initializer.append(numpy_helper.from_array(linear.bias, bias))
    kept = next(value for value in graph.output if value.name == embedding)
    if not kept.type.tensor_type.shape.dim:
        raise ExportError(
            f"{bundle.onnx_file}: the graph does not say the shape of {embedding}; let "
            "onnx.shape_inference.infer_shapes add it"
        )
    size = kept.type.tensor_type.shape.dim[0]
    batch = size.dim_value or size.dim_param or "batch"
    logits = helper.make_tensor_value_info(result, TensorProto.FLOAT, [batch, len(linear.bias)])
    del graph.output[:]
    graph.output.extend([logits, kept])
    with results(folder, ExportError) as scratch:
        path = os.path.join(scratch, ONNX_FILE)
        onnx.save(model, path)
        onnx.checker.check_model(path)
        own = {
            "arch": os.path.splitext(os.path.basename(bundle.onnx_file))[0],
            "format": "onnx",
            "output": "logits",
            "further": ["embedding"],
            "class_num": len(linear.bias),
            "made_of": checksum(bundle.onnx_file),
            "files": {ONNX_FILE: checksum(path)},
        }
        ops = [*bundle.decode, *bundle.transform_ops]
        write_inference_yml(scratch, ops, Topk(topk=min(5, len(linear.bias))), names, own)
    LOGGER.info("wrote %s and %s in %s", ONNX_FILE, CONFIG_FILE, folder)
