"""int8 graphs for ONNX Runtime and OpenVINO: their scales against numpy, their answers against fp32."""

import sys

import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls_light.bundle import read_bundle
from ppcls_light.bundle.folder import INT8_FILES, write_inference_yml
from ppcls_light.config.postprocess import Topk
from ppcls_light.errors import DeviceError
from ppcls_light.export.int8 import make_int8
from ppcls_light.export.static import save_static
from ppcls_light.prediction import Predictor

SHAPE = (3, 32, 32)
OPS = [("ResizeImage", {"size": 32}), ("NormalizeImage", {"order": ""})]
IMAGES = list(np.random.default_rng(0).normal(size=(16, *SHAPE)).astype("float32"))


class Conv(nn.Layer):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2D(3, 8, 3)
        self.fc = nn.Linear(8, 3)

    def forward(self, x):
        return self.fc(nn.functional.relu(self.conv(x)).mean(axis=[2, 3]))


@pytest.fixture
def bundle(tmp_path):
    """An exported folder with a convolution in its network, whose int8 graphs may be run."""
    paddle.seed(0)
    save_static(Conv(), str(tmp_path), SHAPE)
    write_inference_yml(tmp_path, OPS, Topk(topk=1), None, {"arch": "Conv", "image_shape": list(SHAPE)})
    bundle = read_bundle(tmp_path)
    bundle.precisions = {engine: {"int8": 0.0} for engine in INT8_FILES}
    return bundle


@pytest.mark.usefixtures("int8_instructions")
def test_onnx_runtime_gets_scales_that_numpy_finds(bundle, tmp_path):
    onnx = pytest.importorskip("onnx")
    for library in ("onnxruntime", "paddle2onnx"):
        pytest.importorskip(library)
    make_int8(bundle, "onnxruntime", IMAGES, None)
    graph = onnx.load(tmp_path / "inference.int8.onnx").graph
    values = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    first = next(node for node in graph.node if node.op_type == "QuantizeLinear" and node.input[0] == "x")
    low, high = (np.mean([end(image) for image in IMAGES]) for end in (np.min, np.max))
    np.testing.assert_allclose(values[first.input[1]], (high - low) / 255, rtol=1e-3)
    (conv,) = [node for node in graph.node if node.op_type == "Conv"]
    weights = next(node for node in graph.node if node.output[0] == conv.input[1])
    (fp32,) = tmp_path.glob("inference_*.onnx")
    arrays = map(onnx.numpy_helper.to_array, onnx.load(fp32).graph.initializer)
    original = next(array for array in arrays if array.ndim == 4)
    expected = np.abs(original).max(axis=(1, 2, 3)) / 127
    np.testing.assert_allclose(values[weights.input[1]], expected, rtol=0.01)
    assert values[weights.input[0]].dtype == np.int8


@pytest.mark.usefixtures("int8_instructions")
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_answers_in_int8_are_near_fp32_and_not_the_same(bundle, tmp_path, engine):
    for library in (engine, "paddle2onnx", "nncf"):
        pytest.importorskip(library)
    make_int8(bundle, engine, IMAGES, None)
    assert {path.name for path in tmp_path.glob("inference.int8.*")} == set(INT8_FILES[engine])
    expected = Predictor(bundle).run(IMAGES[:6])
    actual = Predictor(bundle, engine=engine, precision="int8").run(IMAGES[:6])
    # NNCF corrects biases by means over the calibration images, which leaves single images farther off.
    assert 0 < np.abs(actual - expected).max() < 0.15


def test_what_cannot_be_made_is_one_line(bundle, on_processor, monkeypatch):
    on_processor("avx2", "avx512_vnni")
    for engine, library, extra in (("onnxruntime", "onnx", "onnx"), ("openvino", "nncf", "int8")):
        monkeypatch.setitem(sys.modules, library, None)
        with pytest.raises(DeviceError, match=rf'made by {library}.*pip install "ppcls_light\[{extra}\]"'):
            make_int8(bundle, engine, IMAGES, None)
    on_processor("avx2")
    for engine in INT8_FILES:
        with pytest.raises(DeviceError, match="int8 needs a processor with AVX512-VNNI"):
            make_int8(bundle, engine, IMAGES, None)
