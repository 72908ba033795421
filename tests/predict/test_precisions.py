"""bf16 and int8 for an exported folder: what is possible, what it costs in top-1, and graphs made once."""

import shutil

import numpy as np
import paddle
import pytest
from paddle import nn
from PIL import Image

from ppcls_light.base.machine import supports
from ppcls_light.bundle import read_bundle
from ppcls_light.errors import ConfigError, DataError, DeviceError
from ppcls_light.export.static import save_static
from ppcls_light.predict import Predictor
from ppcls_light.predict.judge import Judge
from ppcls_light.runtime import int8
from ppcls_light.runtime.options import EngineOptions
from ppcls_light.runtime.precisions import candidates, int8_bundle, int8_graph

VNNI, BF16 = {"avx2", "avx512_vnni"}, {"avx512_bf16"}


@pytest.fixture
def folder(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "inference")


@pytest.fixture
def labelled(tmp_path):
    """(list, root) of 48 pictures, mostly red, green or blue; two of the labels are wrong."""
    rng, lines = np.random.default_rng(0), []
    for index in range(48):
        pixels = rng.integers(0, 80, (32, 40, 3)).astype("uint8")
        pixels[:, :, index % 3] += 150
        Image.fromarray(pixels).save(tmp_path / f"{index:02d}.png")
        lines.append(f"{index:02d}.png {(index + (index in (7, 30))) % 3}\n")
    (tmp_path / "list.txt").write_text("".join(lines))
    return str(tmp_path / "list.txt"), str(tmp_path)


def test_candidates_are_what_the_processor_has(folder):
    bundle = read_bundle(folder)
    fp32 = [("paddle", "fp32"), ("onnxruntime", "fp32"), ("openvino", "fp32")]
    assert candidates(bundle, {"avx2"}) == fp32
    assert candidates(bundle, BF16) == [*fp32, ("paddle", "bf16"), ("openvino", "bf16")]
    assert candidates(bundle, VNNI) == [*fp32, ("onnxruntime", "int8"), ("openvino", "int8")]
    (folder / "int8").mkdir()
    assert ("paddle", "int8") in candidates(bundle, VNNI)
    assert ("paddle", "int8") not in candidates(bundle, BF16)
    bundle.precision = "int8"
    assert candidates(bundle, VNNI | BF16) == [("paddle", "int8")]
    assert candidates(bundle, BF16) == [("paddle", "fp32")]  # without oneDNN: see test_quantize.py
    bundle.precision, bundle.format = "fp32", "onnx"
    assert {engine for engine, _ in candidates(bundle, VNNI | BF16)} == {"onnxruntime", "openvino"}


def test_what_cannot_be_is_one_line_with_the_fix(folder, labelled, tmp_path, on_processor):
    for options in ({"engine": "auto", "precision": "auto"}, {"engine": "paddle", "precision": "auto"}):
        with pytest.raises(ConfigError, match="give labelled images by --labels LIST --image-root DIR"):
            Predictor(folder, **options)
    with pytest.raises(
        DeviceError, match=r"has no int8 graph for Paddle; make it with .*export_precision=int8"
    ):
        int8_bundle(read_bundle(folder))
    shutil.copytree(folder, folder / "int8")
    with pytest.raises(DeviceError, match="is not the int8 form of the network"):
        int8_bundle(read_bundle(folder))
    few = tmp_path / "few.txt"
    few.write_text("".join((tmp_path / "list.txt").read_text().splitlines(keepends=True)[:20]))
    with pytest.raises(
        DataError, match="10 images to calibrate int8 with and 10 others to score are too few"
    ):
        Predictor(folder, precision="auto", labelled=(few, tmp_path))
    few.write_text("00.png 3\n" * 40)
    with pytest.raises(DataError, match=r"few\.txt.*label 3 is outside 0\.\.2"):
        Predictor(folder, precision="auto", labelled=(few, tmp_path))
    with pytest.raises(ConfigError, match="max-drop: -1"):
        Predictor(folder, precision="auto", labelled=labelled, max_drop=-1)
    on_processor("avx2")
    with pytest.raises(DeviceError, match="int8 needs a processor with AVX512-VNNI"):
        Predictor(folder, engine="onnxruntime", precision="int8", labelled=labelled)
    with pytest.raises(DeviceError, match="int8 needs a processor with AVX512-VNNI"):
        int8_graph(read_bundle(folder), "onnxruntime")
    with pytest.raises(DeviceError, match="int8 needs a processor with AVX512-VNNI"):
        Predictor(folder, precision="int8")
    with pytest.raises(DeviceError, match="int8 needs a processor with AVX512-VNNI"):
        int8.make(read_bundle(folder), "openvino", [], None)


class Conv(nn.Layer):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2D(3, 8, 3)
        self.fc = nn.Linear(8, 3)

    def forward(self, x):
        return self.fc(nn.functional.relu(self.conv(x)).mean(axis=[2, 3]))


@pytest.fixture
def network(folder, int8_instructions, without_checksums):
    """The folder with a convolution in its network."""
    pytest.importorskip("paddle2onnx", reason="ONNX graphs are made by paddle2onnx")
    paddle.seed(0)
    save_static(Conv(), folder, (3, 32, 32))
    return without_checksums(folder)


def test_onnx_runtime_gets_scales_that_numpy_finds(network, labelled):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    bundle = int8.in_writable_folder(read_bundle(network))
    predictor = Predictor(network)
    paths = [f"{labelled[1]}/{index:02d}.png" for index in range(16)]
    path = int8.make(bundle, "onnxruntime", paths, predictor.preprocess)
    assert int8.find(bundle, "onnxruntime") == path
    graph = onnx.load(path).graph
    values = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    first = next(node for node in graph.node if node.op_type == "QuantizeLinear" and node.input[0] == "x")
    images = np.stack([predictor.preprocess(path) for path in paths])
    low, high = (np.mean([end(image) for image in images]) for end in (np.min, np.max))
    np.testing.assert_allclose(values[first.input[1]], (high - low) / 255, rtol=1e-3)
    (conv,) = [node for node in graph.node if node.op_type == "Conv"]
    weights = next(node for node in graph.node if node.output[0] == conv.input[1])
    original = next(
        one
        for one in map(onnx.numpy_helper.to_array, onnx.load(bundle.onnx_file).graph.initializer)
        if one.ndim == 4
    )
    expected = np.abs(original).max(axis=(1, 2, 3)) / 127
    np.testing.assert_allclose(values[weights.input[1]], expected, rtol=0.01)
    assert values[weights.input[0]].dtype == np.int8


def test_a_graph_is_made_once_for_a_network_and_its_images(network, labelled):
    pytest.importorskip("onnxruntime")
    options = {"engine": "onnxruntime", "precision": "int8"}
    with pytest.raises(DeviceError, match="no int8 graph for onnxruntime here"):
        Predictor(network, **options)
    float_scores = Predictor(network).predict([f"{labelled[1]}/00.png"])[0]["scores"]
    first = Predictor(network, labelled=labelled, max_drop=100, **options)
    assert first.predict([f"{labelled[1]}/00.png"])[0]["scores"] == pytest.approx(float_scores, abs=0.05)
    (made,) = network.glob("*.int8.onnx")
    stamp = made.stat().st_mtime_ns
    Predictor(network, labelled=labelled, max_drop=100, **options)
    Predictor(network, **options)
    assert made.stat().st_mtime_ns == stamp
    paddle.seed(1)
    save_static(Conv(), network, (3, 32, 32))
    with pytest.raises(DeviceError, match="no int8 graph"):
        Predictor(network, **options)
    Predictor(network, labelled=labelled, max_drop=100, **options)
    (again,) = network.glob("*.int8.onnx")
    assert again.name != made.name


def test_openvino_int8_answers_near_fp32(network, labelled):
    pytest.importorskip("openvino")
    pytest.importorskip("nncf")
    options = {"engine": "openvino", "precision": "int8"}
    in_float, quantized = Predictor(network), Predictor(network, labelled=labelled, max_drop=100, **options)
    images = np.stack([in_float.preprocess(f"{labelled[1]}/{index:02d}.png") for index in range(6)])
    expected, actual = in_float.run(images), quantized.run(images)
    assert {path.suffix for path in network.glob("*.int8.*")} == {".xml", ".bin"}
    # NNCF corrects biases by means over the calibration images, which leaves single images farther off.
    assert 0 < np.abs(actual - expected).max() < 0.15


def test_the_change_is_that_of_the_images_that_did_not_calibrate(folder, labelled, monkeypatch):
    if not supports("bf16"):
        pytest.skip("needs a processor with bf16 instructions")
    predictor = Predictor(folder)
    judge = Judge(predictor.bundle, *labelled, predictor.preprocess, 1.0)
    options = EngineOptions(precision="bf16", batch_size=5)
    reason, words = judge.accept(options)
    scored = {path.split("/")[-1] for path in judge._images.scored}
    wrong = sum(name in scored for name in ("07.png", "30.png"))
    assert len(scored) == 24
    assert reason == ""
    assert f"{100 - 100 * wrong / 24:.2f} % in fp32) on 24 images" in words
    right = judge._answers
    monkeypatch.setattr(
        judge, "_answers", lambda of: np.roll(right(of), 1, axis=1) if of.precision == "bf16" else right(of)
    )
    assert "more than the 1 allowed (--max-drop)" in judge.accept(options)[0]


def test_labelled_images_of_another_class_order_are_refused(folder, labelled, tmp_path):
    for name in ("red", "green", "blue"):
        (tmp_path / name).mkdir()
    lines = []
    for index in range(48):
        name = ("blue", "green", "red")[index % 3]
        shutil.move(tmp_path / f"{index:02d}.png", tmp_path / name)
        lines.append(f"{name}/{index:02d}.png {index % 3}\n")
    (tmp_path / "list.txt").write_text("".join(lines))
    with pytest.raises(DataError, match=r"list\.txt gives .*'blue' label 0, which is 'red' in label_list of"):
        Predictor(folder, engine="paddle", precision="auto", labelled=labelled)
