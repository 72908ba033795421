import os
import sys

import numpy as np
import pytest
import yaml
from paddle import nn

from ppcls_light.bundle import Bundle, read_bundle
from ppcls_light.bundle.folder import write_inference_yml
from ppcls_light.bundle.onnx import convert, to_onnx
from ppcls_light.config.postprocess import Topk
from ppcls_light.errors import ConfigError, DeviceError, ExportError
from ppcls_light.export import export_model
from ppcls_light.export.fold.steps import fold
from ppcls_light.export.static import save_static
from ppcls_light.models import create_model, list_models
from ppcls_light.prediction import Predictor

pytest.importorskip("paddle2onnx", reason="needs paddle2onnx: the extra onnx")
onnx = pytest.importorskip("onnx", reason="needs onnx: the extra onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime: the extra onnx")

SIZE = 64
OPS = [("ResizeImage", {"size": SIZE}), ("NormalizeImage", {"scale": 1 / 255, "order": ""})]
FAMILIES = ("EdgeNeXt_*", "FasterNet_*", "MicroNet_*", "PPLCNet_*")
QUICK = {"EdgeNeXt_XX_Small", "FasterNet_T0", "MicroNet_M0", "PPLCNet_x0_25"}
# Of these the width is smaller: it changes no operator, and theirs takes a minute.
NARROW = {
    "EdgeNeXt_Base": {"dims": [24, 48, 88, 168]},
    **{name: {"embed_dim": 48} for name in ("FasterNet_S", "FasterNet_M", "FasterNet_L")},
    "ResNet50_vd": {"depths": [1, 2, 1, 1]},
}
VARIANTS = [
    pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
    for family in FAMILIES
    for name in list_models(family)
]


def run_onnx(path, *batches):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
    return [session.run(["probs"], {"x": images})[0] for images in batches]


def batch_of(count):
    return np.random.default_rng(count).normal(size=(count, 3, SIZE, SIZE)).astype("float32")


@pytest.fixture
def small(randomise):
    return randomise(
        nn.Sequential(
            *[nn.Conv2D(3, 8, 3), nn.BatchNorm2D(8), nn.Hardswish()],
            *[nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(8, 4)],
        )
    )


def test_there_are_25_variants():
    assert len(VARIANTS) == 25


@pytest.mark.parametrize("name", [*VARIANTS, "ResNet50_vd"])
def test_onnx_runtime_equals_paddle_inference(name, randomise, tmp_path):
    model = fold(randomise(create_model(name, class_num=10, **NARROW.get(name, {}))))
    save_static(model, tmp_path, (3, SIZE, SIZE))
    write_inference_yml(tmp_path, OPS, Topk(topk=5), None, {"arch": name})
    bundle, path = read_bundle(tmp_path), tmp_path / "inference.onnx"
    convert(bundle.graph_file, bundle.params_file, os.fspath(path), "x", "probs")
    onnx.checker.check_model(path)
    predictor = Predictor(tmp_path, cpu_threads=1)
    batches = batch_of(1), batch_of(8)
    for batch, answers in zip(batches, run_onnx(path, *batches)):
        expected = predictor.run(batch)
        assert expected.max() > 0.2  # not the uniform distribution, in which nothing could differ
        np.testing.assert_allclose(answers, expected, atol=1e-4)


def test_an_export_with_onnx_proves_and_records_it(small, tmp_path):
    report = export_model(small, tmp_path, (3, SIZE, SIZE), OPS, onnx=True)
    assert report.onnx_max_abs_diff <= 1e-4
    recorded = yaml.safe_load((tmp_path / "inference.yml").read_text())["ppcls_light"]["parity"]
    assert recorded["onnx_max_abs_diff"] == report.onnx_max_abs_diff
    bundle = read_bundle(tmp_path)
    assert bundle.onnx_file == str(tmp_path / "inference.onnx")
    graph = onnx.load(bundle.onnx_file).graph
    assert [value.name for value in (*graph.input, *graph.output)] == ["x", "probs"]
    assert {"Identity", "Constant", "BatchNormalization"}.isdisjoint(node.op_type for node in graph.node)
    assert all(len(node.input) == 3 for node in graph.node if node.op_type == "Conv")  # the bias is in it
    expected = Predictor(tmp_path).run(batch_of(3))
    np.testing.assert_allclose(*run_onnx(bundle.onnx_file, batch_of(3)), expected, atol=1e-5)

    for name in os.listdir(tmp_path):
        if name not in ("inference.onnx", "inference.yml"):
            (tmp_path / name).unlink()
    assert read_bundle(tmp_path).format == "onnx"
    with pytest.raises(DeviceError, match=r"inference\.onnx alone, which Paddle does not run; choose"):
        Predictor(tmp_path)
    np.testing.assert_allclose(
        Predictor(tmp_path, engine="onnxruntime").run(batch_of(3)), expected, atol=1e-5
    )


def test_an_export_without_onnx_removes_that_of_an_earlier_one(small, tmp_path):
    (tmp_path / "inference.onnx").write_text("another network")
    export_model(small, tmp_path, (3, SIZE, SIZE), OPS)
    assert read_bundle(tmp_path).onnx_file is None


def test_an_onnx_file_without_its_preprocessing_is_no_folder_of_ours(tmp_path):
    (tmp_path / "inference.onnx").write_text("")
    with pytest.raises(
        ConfigError, match=r"no inference.json or inference.pdmodel here, only: inference.onnx"
    ):
        read_bundle(tmp_path)


def test_a_graph_that_cannot_be_converted_leaves_no_file(tmp_path, monkeypatch):
    (tmp_path / "inference.json").write_text("{}")
    (tmp_path / "inference.pdiparams").write_text("")
    target = tmp_path / "inference.onnx"
    with pytest.raises(ExportError, match=r"paddle2onnx cannot convert the graph"):
        to_onnx(read_bundle(tmp_path), target)
    with pytest.raises(ExportError, match=r"int8 graph; train without Slim\.quant and export with Global"):
        to_onnx(Bundle(str(tmp_path), "pdmodel", precision="int8"), target)
    monkeypatch.setitem(sys.modules, "paddle2onnx", None)
    with pytest.raises(ExportError, match=r'pip install "ppcls_light\[onnx\]"'):
        to_onnx(read_bundle(tmp_path), target)
    assert sorted(os.listdir(tmp_path)) == ["inference.json", "inference.pdiparams"]
