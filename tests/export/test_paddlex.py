"""PaddleX serves the exported folder as it is. `make test-paddlex` has an environment with PaddleX."""

import os

import cv2
import numpy as np
import pytest

from ppcls_light.bundle.paddlex import paddlex_name
from ppcls_light.config.postprocess import MultiLabelThreshOutput
from ppcls_light.export import export_model
from ppcls_light.models import create_model
from ppcls_light.prediction import Predictor

pytestmark = pytest.mark.paddlex

# it would look for hosts to download from
os.environ.setdefault("PADDLE_PDX_DISABLE_MODEL_SOURCE_CHECK", "True")
paddlex = pytest.importorskip("paddlex", reason="needs PaddleX: make test-paddlex")

NORMALIZE = (
    "NormalizeImage",
    {"scale": 1 / 255, "order": "", "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]},
)
SHORT_AND_CROP = [
    ("DecodeImage", {"to_rgb": True}),
    ("ResizeImage", {"resize_short": 72, "interpolation": "bilinear", "backend": "cv2"}),
    ("CropImage", {"size": 64}),
    NORMALIZE,
]
PIL_BICUBIC = [
    ("DecodeImage", {"to_np": False, "backend": "pil"}),
    (
        "ResizeImage",
        {"resize_short": 72, "interpolation": "bicubic", "backend": "pil", "return_numpy": False},
    ),
    ("CropImage", {"size": 64}),
    NORMALIZE,
]
WHOLE = [("ResizeImage", {"size": [64, 64]}), NORMALIZE]


@pytest.fixture
def photos(tmp_path):
    rng, paths = np.random.default_rng(5), []
    for index, (height, width) in enumerate([(90, 120), (130, 100), (80, 80)]):
        cells = rng.integers(0, 256, (5, 6, 3)).astype("uint8")
        paths.append(str(tmp_path / f"{index}.png"))
        cv2.imwrite(paths[-1], cv2.resize(cells, (width, height), interpolation=cv2.INTER_CUBIC))
    return paths


def exported(name, folder, randomise, ops, names, onnx=False):
    model = randomise(create_model(name, class_num=6))
    export_model(model, folder, (3, 64, 64), ops, names, topk=3, onnx=onnx)
    return folder


@pytest.mark.parametrize(
    ("name", "known_as", "ops", "names"),
    [
        ("PPLCNet_x0_25", "PP-LCNet_x0_25", SHORT_AND_CROP, list("abcdef")),
        ("PPLCNet_x1_0", "PP-LCNet_x1_0", WHOLE, None),
        ("FasterNet_T0", "FasterNet-T0", PIL_BICUBIC, list("abcdef")),
    ],
)
def test_paddlex_gives_the_same_ids_and_scores(name, known_as, ops, names, randomise, photos, tmp_path):
    folder = exported(name, tmp_path / "inference", randomise, ops, names)
    rows = Predictor(folder).predict(photos)
    model = paddlex.create_model(model_name=known_as, model_dir=str(folder))
    results = list(model.predict(photos, batch_size=2))
    assert len(results) == len(photos)
    for row, result in zip(rows, results):
        assert row["scores"][0] > 0.3  # not the uniform distribution, in which any order would do
        assert result["class_ids"].tolist() == row["class_ids"]
        np.testing.assert_allclose(result["scores"], row["scores"], atol=2e-5)
        assert result["label_names"] == (row["label_names"] or [str(index) for index in row["class_ids"]])


def test_paddlex_finds_the_same_tags(randomise, photos, tmp_path):
    network = randomise(create_model("PPLCNet_x1_0", class_num=6))
    kind = MultiLabelThreshOutput(threshold=0.6)
    folder = export_model(
        *(network, tmp_path / "inference", (3, 64, 64), WHOLE, list("abcdef")),
        multilabel=True,
        postprocess=kind,
    ).folder
    model = paddlex.create_model(model_name="PP-LCNet_x1_0_ML", model_dir=folder)
    for row, result in zip(Predictor(folder).predict(photos), model.predict(photos, batch_size=2)):
        found = dict(zip(result["label_names"], result["scores"]))  # in the order of scores
        assert found == pytest.approx(dict(zip(row["label_names"], row["scores"])), abs=2e-5)
        assert 0 < len(found) < 6


def test_paddlex_reads_the_classes_of_an_export_with_embeddings(randomise, photos, tmp_path):
    network = randomise(create_model("PPLCNet_x0_25", class_num=6))
    folder = export_model(network, tmp_path / "inference", (3, 64, 64), WHOLE, topk=3, embedding=True).folder
    assert Predictor(folder).embed(photos).shape == (3, 1280)
    model = paddlex.create_model(model_name="PP-LCNet_x0_25", model_dir=folder)
    for row, result in zip(Predictor(folder).predict(photos), model.predict(photos, batch_size=2)):
        assert result["class_ids"].tolist() == row["class_ids"]
        np.testing.assert_allclose(result["scores"], row["scores"], atol=2e-5)


def test_paddlex_reads_the_folder_beside_an_onnx_file(randomise, photos, tmp_path):
    pytest.importorskip("paddle2onnx", reason="needs paddle2onnx: the extra onnx")
    pytest.importorskip("onnxruntime", reason="needs onnxruntime: the extra onnx")
    folder = exported("PPLCNet_x0_25", tmp_path / "inference", randomise, WHOLE, None, onnx=True)
    model = paddlex.create_model(model_name="PP-LCNet_x0_25", model_dir=str(folder))
    for row, result in zip(Predictor(folder).predict(photos), model.predict(photos)):
        assert result["class_ids"].tolist() == row["class_ids"]


@pytest.mark.parametrize("name", ["EdgeNeXt_XX_Small", "MicroNet_M0"])
def test_paddlex_has_no_name_for_these(name, randomise, tmp_path):
    folder = exported(name, tmp_path / "inference", randomise, WHOLE, None)
    # 3.4 says that it is not registered, 3.7 that it has no engine
    with pytest.raises(Exception, match=rf"`{name}` is not registered|No engine bindings .* '{name}'"):
        paddlex.create_model(model_name=paddlex_name(name), model_dir=str(folder))
