"""Formats of other runtimes: answers of each on photos are those of Paddle Inference, in every family."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import paddle
import pytest
import yaml
from paddle import nn

from ppcls_light.base.files import checksum
from ppcls_light.config.postprocess import ThreshOutput
from ppcls_light.errors import ExportError
from ppcls_light.export import export_model
from ppcls_light.export.targets import TARGETS
from ppcls_light.export.targets.convert import convert, predictor
from ppcls_light.export.verify import prepared
from ppcls_light.models import create_model
from ppcls_light.prediction import Predictor
from tools.benchmarks.formats import settle

pytest.importorskip("paddle2onnx", reason="needs paddle2onnx: the extra onnx")
onnx = pytest.importorskip("onnx", reason="needs onnx: the extra onnx")
skimage = pytest.importorskip("skimage", reason="its photos are those of the test")

OPS = [("ResizeImage", {"resize_short": 72}), ("CropImage", {"size": 64}), ("NormalizeImage", {"order": ""})]
NAMES = ["a", "b", "犬", "d", "e"]
FAMILIES = ["PPLCNet_x0_25", "FasterNet_T0", "MicroNet_M0", "EdgeNeXt_XX_Small"]
INSTALLED = [name for name, target in TARGETS.items() if all(map(importlib.util.find_spec, target.packages))]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Crops of the photos that scikit-image brings, as files."""
    folder, source = tmp_path_factory.mktemp("photos"), Path(skimage.__file__).parent / "data"
    rng, paths = np.random.default_rng(0), []
    for name in ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png"):
        image = cv2.imread(str(source / name))
        for index in range(5):
            top, left = (int(rng.integers(0, side - 120)) for side in image.shape[:2])
            paths.append(folder / f"{name}_{index}.png")
            assert cv2.imwrite(str(paths[-1]), image[top : top + 120, left : left + 100 + 5 * index])
    return paths


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request, tmp_path_factory, photos):
    if not INSTALLED:
        pytest.skip("no extra of another runtime is installed")
    images = np.stack(list(prepared(OPS, (3, 64, 64), photos)))
    paddle.seed(0)
    model = settle(create_model(request.param, class_num=len(NAMES)), images, spread=1)
    path = tmp_path_factory.mktemp(request.param)
    options = {"formats": INSTALLED, "half": True, "embedding": True, "images": photos[::5]}
    export_model(model, path, (3, 64, 64), OPS, NAMES, postprocess=ThreshOutput(threshold=0.8), **options)
    return path


@pytest.fixture(scope="module")
def expected(folder, photos):
    """Answers of Paddle Inference to the photos."""
    runner = Predictor(folder, engine="paddle", cpu_threads=1)
    answers = [runner.run_all(runner.preprocess(path)[None]) for path in photos]
    # photos that a network does not tell apart would prove nothing
    assert len({int(one["probs"].argmax()) for one in answers}) > 1
    return answers


@pytest.mark.parametrize("name", TARGETS)
def test_answers_are_those_of_paddle_inference(name, folder, photos, expected):
    if name not in INSTALLED:
        pytest.skip(f"needs {' and '.join(TARGETS[name].packages)}: the extra {TARGETS[name].extra}")
    for precision, most in (("fp32", 1e-4), ("fp16", 0.05)):
        found = predictor(folder, name, precision)
        for path, right in zip(photos, expected):
            answers = found.run_all(found.preprocess(path)[None])
            np.testing.assert_allclose(answers["probs"], right["probs"], atol=most)
            apart = np.linalg.norm(answers["embedding"] - right["embedding"])
            assert apart <= 2 * most * np.linalg.norm(right["embedding"])
            if np.diff(np.sort(right["probs"][0])[-2:]) > 2 * most:
                assert answers["probs"].argmax() == right["probs"].argmax()


def test_folder_says_what_programs_need(folder):
    content = yaml.safe_load((folder / "inference.yml").read_text(encoding="utf-8"))["ppcls_light"]
    files = {
        name
        for target in map(TARGETS.get, INSTALLED)
        for one in ("fp32", "fp16")
        for name in target.files[one]
    }
    assert files <= {path.name for path in folder.iterdir()}
    for name in {*files, "inference.metadata.json"}:
        assert content["files"][name] == checksum(folder / name)
    assert {name: set(found) for name, found in content["parity"]["formats"].items()} == {
        name: {"fp32", "fp16"} for name in INSTALLED
    }
    assert not (folder / "inference.onnx").exists()  # nobody asked for it
    told = json.loads((folder / "inference.metadata.json").read_text(encoding="utf-8"))
    assert told["class_names"] == NAMES
    assert told["outputs"] == ["probs", "embedding"]
    assert (told["image_shape"], told["postprocess"]["threshold"]) == ([3, 64, 64], 0.8)
    normalise = told["transform_ops"][-2]["NormalizeImage"]
    assert normalise["mean"] == [0.485, 0.456, 0.406]
    assert normalise["std"] == [0.229, 0.224, 0.225]
    assert normalise["scale"] == pytest.approx(1 / 255)


def _reversed_classifier(file):
    model = onnx.load(file)
    (tensor,) = (one for one in model.graph.initializer if list(one.dims) == [3, 2])
    values = onnx.numpy_helper.to_array(tensor)[:, ::-1].copy()
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    onnx.save(model, file)


def _damaged(file):
    Path(file).write_bytes(b"no graph")


@pytest.mark.parametrize(
    ("harm", "named"),
    [
        (_reversed_classifier, "openvino in fp32 differs from the network"),
        (_damaged, "OpenVINO's converter cannot"),
    ],
)
def test_wrong_file_is_not_exported(harm, named, tmp_path, photos, monkeypatch):
    pytest.importorskip("openvino")

    def harmed(folder, name, precision, onnx_file):
        harm(onnx_file)
        convert(folder, name, precision, onnx_file)

    monkeypatch.setattr("ppcls_light.export.export.convert", harmed)
    network = nn.Sequential(nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(3, 2))
    with pytest.raises(ExportError, match=named):
        export_model(network, tmp_path / "out", (3, 64, 64), OPS, images=photos, formats=["openvino"])
    assert not (tmp_path / "out").exists()


def test_wishes_that_cannot_be_met_are_refused_before_any_work(monkeypatch, tmp_path):
    target = TARGETS["openvino"]
    monkeypatch.setitem(TARGETS, "openvino", replace(target, packages=("openvino", "no_such_package")))
    with pytest.raises(ExportError, match=r'needs no_such_package.* pip install "ppcls_light\[openvino\]"'):
        export_model(nn.Identity(), tmp_path / "out", (3, 64, 64), OPS, formats=["openvino"])
    monkeypatch.setitem(TARGETS, "openvino", replace(target, packages=(), takes_photos=False))
    with pytest.raises(ExportError, match=r"leave out Global\.export_preprocess"):
        export_model(nn.Identity(), tmp_path / "out", (3, 64, 64), OPS, formats=["openvino"], preprocess=True)
    monkeypatch.setitem(TARGETS, "openvino", replace(target, packages=(), files={"fp32": ()}))
    with pytest.raises(ExportError, match="has no fp16 here"):
        export_model(nn.Identity(), tmp_path / "out", (3, 64, 64), OPS, formats=["openvino"], half=True)


def test_later_export_leaves_no_file_of_an_earlier_one(tmp_path, photos):
    pytest.importorskip("openvino")
    network = nn.Sequential(nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(3, 2))
    export_model(
        network, tmp_path, (3, 64, 64), OPS, images=photos, formats=["openvino"], half=True, onnx=True
    )
    first = {path.name for path in tmp_path.iterdir()}
    assert {"inference.xml", "inference.fp16.bin", "inference.metadata.json", "inference.onnx"} <= first
    export_model(network, tmp_path, (3, 64, 64), OPS, images=photos)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".pdiparams", ".yml"}
    assert not (tmp_path / "inference.metadata.json").exists()


def test_photos_reach_the_graph_that_takes_them(tmp_path, photos):
    pytest.importorskip("openvino")
    network = nn.Sequential(nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(3, 2))
    options = {"images": photos, "formats": ["openvino"], "preprocess": True}
    report = export_model(network, tmp_path, (3, 64, 64), OPS, **options)
    assert report.formats["openvino"]["fp32"] <= 1e-4
    found, expected = (
        predictor(tmp_path, "openvino", "fp32"),
        Predictor(tmp_path, engine="paddle", cpu_threads=1),
    )
    photo = cv2.imread(str(photos[0]))
    assert found.preprocess(photo).dtype == np.uint8
    for one in (found, expected):
        assert one.predict(photo)[0]["class_ids"] == expected.predict(photo)[0]["class_ids"]
    assert json.loads((tmp_path / "inference.metadata.json").read_text())["channels"] == "rgb"
