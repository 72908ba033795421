"""Data and model card: facts from the files beside the evaluation."""

import numpy as np
import pytest

from ppcls_light.bundle.folder import Bundle
from ppcls_light.bundle.onnx import checksum
from ppcls_light.config import load_config
from ppcls_light.data.image_list import ImageList
from ppcls_light.models.profile import ModelProfile
from ppcls_light.report.card import data_card, export_card, model_card
from ppcls_light.report.evaluation import Evaluation
from ppcls_light.runtime.auto import FILE, save_choice


@pytest.fixture
def bundle(tmp_path):
    for name in ("inference.json", "inference.pdiparams"):
        (tmp_path / name).write_bytes(b"12345")
    files = {"inference.json": "", "inference.pdiparams": "", "gone.onnx": ""}
    return Bundle(str(tmp_path), "json", files=files, precisions={"openvino": {"int8": 61.5}})


def remember(bundle, network, milliseconds):
    result = {"engine": "paddle", "onednn": True, "precision": "fp32", "difference": 0.0}
    failed = {**result, "engine": "openvino", "milliseconds": [], "left_out": "it is not installed"}
    measured = {**result, "milliseconds": milliseconds, "left_out": ""}
    key = {"network": network, "shape": [4, 3, 32, 32], "threads": 2, "processor": "a processor"}
    choice = {name: result[name] for name in ("engine", "onednn", "precision")}
    save_choice(bundle.folder, key, choice, [measured, failed])


def latencies(bundle):
    return {name: value for name, value in export_card(bundle).items() if name.startswith("latency")}


def test_an_export_has_sizes_accuracy_and_the_latencies_that_were_measured(bundle):
    card = export_card(bundle)
    assert card["inference.json (bytes)"] == card["inference.pdiparams (bytes)"] == 5
    assert "gone.onnx (bytes)" not in card
    assert card["top-1 of openvino int8"] == "61.50 %"
    assert latencies(bundle) == {}
    remember(bundle, checksum(bundle), [2.5, 1.25])
    ((name, value),) = latencies(bundle).items()
    assert value == "1.25 ms"
    assert "batch of 4, threads: 2, a processor" in name


def test_measurements_of_another_network_are_left_out(bundle):
    remember(bundle, "another", [2.5])
    assert latencies(bundle) == {}


@pytest.mark.parametrize("text", ["{", "[]", '{"measurements": [{"choice": {}}]}'])
def test_a_damaged_file_is_a_warning(bundle, text, caplog):
    with open(f"{bundle.folder}/{FILE}", "w") as file:
        file.write(text)
    assert latencies(bundle) == {}
    assert "damaged" in caplog.text


def test_preprocessing_has_the_values_that_are_set(config_file):
    config = load_config(config_file)
    card = model_card(config, "weights", ModelProfile([], 1, 2))
    assert "NormalizeImage (scale 0.00392156862745098)" in card["preprocessing"]


def test_classes_without_images_are_counted():
    images = ImageList("photos", [b"a.png", b"b.png", b"c.png"], [0, 2, 2], "list.txt")
    evaluation = Evaluation(images, np.eye(3), np.array([0, 1, 2]), ["x", "y", "z"], learned=True)
    card = data_card(evaluation)
    assert (card["list"], card["images"], card["classes"], card["classes without images"]) == (
        *("list.txt", 3, 3, 1),
    )
    assert card["most images of a class"] == "2 (z)"
    assert card["fewest images of a class"] == "0 (y)"
    assert card["learned by the network"].startswith("yes")
