"""MNN's files as its programs read them; test_formats.py has the answers of all families."""

import copy
import json
import sys

import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls_light.errors import ExportError
from ppcls_light.export import export_model
from ppcls_light.export.targets import mnn
from ppcls_light.prediction import Predictor

MNN = pytest.importorskip("MNN", reason="needs MNN: the extra mnn")
pytest.importorskip("paddle2onnx", reason="needs paddle2onnx: the extra onnx")
onnx = pytest.importorskip("onnx", reason="needs onnx: the extra onnx")

SIZE = 32
OPS = [("ResizeImage", {"size": SIZE}), ("NormalizeImage", {"order": ""})]


@pytest.fixture(scope="module")
def network():
    paddle.seed(0)
    layers = [
        nn.Conv2D(3, 64, 4, stride=4),
        nn.GELU(),
        nn.AdaptiveAvgPool2D(1),
        nn.Flatten(),
        nn.Linear(64, 5),
    ]
    layers[-1].weight.set_value(paddle.randn([64, 5]))
    return nn.Sequential(*layers)


@pytest.fixture(scope="module")
def folder(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("mnn")
    export_model(network, path, (3, SIZE, SIZE), OPS, formats=["mnn"], half=True, onnx=True)
    return path


def _tensor(array):
    shape = tuple(array.shape)
    return MNN.Tensor(
        shape, MNN.Halide_Type_Float, np.ascontiguousarray(array), MNN.Tensor_DimensionType_Caffe
    )


def _values(tensor):
    copy = _tensor(np.zeros(tensor.getShape(), np.float32))
    tensor.copyToHostTensor(copy)
    return np.array(copy.getData(), np.float32).reshape(tensor.getShape())


def test_program_of_mnn_finds_names_and_values(folder, network):
    interpreter = MNN.Interpreter(str(folder / "inference.mnn"))
    session = interpreter.createSession({"numThread": 1, "precision": "high"})
    image = interpreter.getSessionInput(session, "x")
    assert image.getShape() == (1, 3, SIZE, SIZE)
    told = json.loads((folder / "inference.metadata.json").read_text(encoding="utf-8"))
    normalise = next(op["NormalizeImage"] for op in told["transform_ops"] if "NormalizeImage" in op)
    mean, std = np.array(normalise["mean"]), np.array(normalise["std"])
    settings = {
        "sourceFormat": MNN.CV_ImageFormat_BGR,
        "destFormat": MNN.CV_ImageFormat_RGB,
        "mean": (*(mean * 255), 0.0),
        "normal": (*(1 / (std * 255)), 0.0),
    }
    photo = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3)).astype("uint8")
    MNN.CVImageProcess(settings).convert(photo, SIZE, SIZE, 0, image)
    predictor = Predictor(folder, engine="paddle")
    prepared = predictor.preprocess(photo, bgr=True)[None]
    np.testing.assert_allclose(_values(image), prepared, atol=1e-6)
    interpreter.runSession(session)
    found = _values(interpreter.getSessionOutput(session, "probs"))
    with paddle.no_grad():
        expected = nn.functional.softmax(network(paddle.to_tensor(prepared))).numpy()
    np.testing.assert_allclose(found, expected, atol=3e-5)


def test_any_batch_is_taken(folder):
    images = np.random.default_rng(0).normal(size=(3, 3, SIZE, SIZE)).astype("float32")
    interpreter = MNN.Interpreter(str(folder / "inference.mnn"))
    session = interpreter.createSession({"numThread": 1, "precision": "high"})
    image = interpreter.getSessionInput(session, "x")
    interpreter.resizeTensor(image, images.shape)
    interpreter.resizeSession(session)
    image.copyFrom(_tensor(images))
    interpreter.runSession(session)
    found = _values(interpreter.getSessionOutput(session, "probs"))
    np.testing.assert_allclose(found, Predictor(folder, engine="paddle").run(images), atol=1e-5)


def test_half_weights_are_the_nearest(folder, network):
    rounded = copy.deepcopy(network)
    for layer in (rounded[0], rounded[-1]):
        layer.weight.set_value(layer.weight.astype("float16").astype("float32"))
    image = np.random.default_rng(0).normal(size=(1, 3, SIZE, SIZE)).astype("float32")
    with paddle.no_grad():
        expected = nn.functional.softmax(rounded(paddle.to_tensor(image))).numpy()
    (found,) = mnn.load(str(folder), "fp16", 1)(image)
    np.testing.assert_allclose(found, expected, atol=3e-5)  # cut weights differ by 5e-4


def test_int8_is_of_the_weights(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scratch = tmp_path / ".__convert_external_data.bin"  # MNN's own name
    scratch.write_text("of another conversion")
    mnn.convert(str(folder / "inference.onnx"), str(tmp_path), "int8", np.empty(0))
    image = np.random.default_rng(0).normal(size=(1, 3, SIZE, SIZE)).astype("float32")
    (found,) = mnn.load(str(tmp_path), "int8", 1)(image)
    np.testing.assert_allclose(found, Predictor(folder, engine="paddle").run(image), atol=0.02)
    assert scratch.read_text() == "of another conversion"
    sizes = (path.stat().st_size for path in (tmp_path / "inference.int8.mnn", folder / "inference.mnn"))
    assert next(sizes) < 0.6 * next(sizes)  # the rest are biases and names


def test_failure_is_one_line_and_nothing_is_installed_or_printed(tmp_path, capfd):
    value = onnx.helper.make_tensor_value_info
    sizes = onnx.TensorProto.FLOAT, ["batch", 3, SIZE, SIZE]
    node = onnx.helper.make_node("Unheard", ["x"], ["probs"], domain="of")
    graph = onnx.helper.make_graph([node], "graph", [value("x", *sizes)], [value("probs", *sizes)])
    versions = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("of", 1)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=versions), tmp_path / "inference.onnx")
    with pytest.raises(ExportError, match=r"^These Op Not Support: ONNX::Unheard$"):
        mnn.convert(str(tmp_path / "inference.onnx"), str(tmp_path), "fp32", np.empty(0))
    assert not capfd.readouterr().out
    assert "MNN.tools" not in sys.modules
