import io
import shutil
import subprocess
import sys
import zipfile

import cv2
import numpy as np
import paddle
import pytest
from PIL import Image

from ppcls_light.errors import ConfigError, DataError, WeightsError
from ppcls_light.prediction import Predictor


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_one_row_an_input_in_input_order(exported, photos, batch_size):
    rows = Predictor(exported, batch_size=batch_size).predict(photos)
    assert [row["file_name"] for row in rows] == [str(path) for path in photos]
    assert [row["label_names"][0] if "error" not in row else None for row in rows] == [
        "blue",
        None,
        "red",
        None,
        "green",
    ]
    assert [row["class_ids"][0] for row in rows if "error" not in row] == [2, 0, 1]
    assert "1_broken.jpg: not an image" in rows[1]["error"]
    assert "3_missing.jpg" in rows[3]["error"]
    assert set(rows[1]) == {"file_name", "error"}


def test_scores_do_not_depend_on_the_batch(exported, photos):
    good = [photos[0], photos[2], photos[4]]
    together = Predictor(exported, batch_size=3).predict(good)
    alone = [Predictor(exported).predict([path])[0] for path in good]
    for one, other in zip(together, alone):
        assert one["class_ids"] == other["class_ids"]
        assert len(one["scores"]) == 2
        np.testing.assert_allclose(one["scores"], other["scores"], atol=2e-5)


def test_paths_bytes_and_arrays_are_the_same_image(exported, photos):
    path = photos[2]  # BMP: no loss, so that Pillow's pixels are the file's
    pixels = np.asarray(Image.open(io.BytesIO(path.read_bytes())))
    predictor = Predictor(exported, batch_size=3)
    by_path, by_bytes, by_array = predictor.predict([path, path.read_bytes(), pixels])
    assert by_bytes == {**by_path, "file_name": None}
    assert by_array == by_bytes
    row = predictor.predict([pixels.astype("float32")])[0]
    assert "uint8" in row["error"]


def test_one_thread_and_onednn_off_and_more_threads_agree(exported, photos):
    image = Predictor(exported).preprocess(photos[0])[None]
    reference = Predictor(exported).run(image)
    for options in ({"onednn": False}, {"cpu_threads": 1}, {"cpu_threads": 2}, {"ir_optim": False}):
        np.testing.assert_allclose(Predictor(exported, **options).run(image), reference, atol=1e-6)


def test_the_callers_settings_win_over_the_folders(exported, photos):
    swap = [
        ("DecodeImage", {"to_rgb": False}),
        ("ResizeImage", {"size": 32}),
        ("NormalizeImage", {"order": ""}),
    ]
    predictor = Predictor(exported, transform_ops=swap, topk=1, class_names={0: "red", 1: "green", 2: "blue"})
    row = predictor.predict([photos[2]])[0]
    assert (row["class_ids"], row["label_names"]) == ([2], ["blue"])  # red seen through BGR


@pytest.mark.parametrize("names", [["a", "b"], ["a", "b", "c", "d"]])
def test_names_that_do_not_fit_the_network(exported, names):
    with pytest.raises(DataError, match="only the first has red, green, blue; only the second has a, b"):
        Predictor(exported, class_names=names)


def test_preprocessing_that_does_not_fit_the_network(exported, photos):
    ops = [("ResizeImage", {"size": 30}), ("NormalizeImage", {"order": ""})]
    row = Predictor(exported, transform_ops=ops).predict(photos[:1])[0]
    assert "gives [3, 30, 30], the network takes [3, 32, 32]" in row["error"]


def test_a_folder_without_inference_yml(exported, photos, tmp_path):
    folder = shutil.copytree(exported, tmp_path / "bare")
    (folder / "inference.yml").unlink()
    with pytest.raises(ConfigError, match=r"no inference\.yml here.*PreProcess.transform_ops"):
        Predictor(folder)
    ops = [("ResizeImage", {"size": 32}), ("NormalizeImage", {"order": ""})]
    predictor = Predictor(folder, transform_ops=ops)
    row = predictor.predict([photos[4]])[0]
    assert row["class_ids"][0] == 1
    assert row["label_names"] == []
    wrong = Predictor(
        folder, transform_ops=[("NormalizeImage", {"order": "hwc"}), ("CropImage", {"size": 8})]
    )
    wrong.bundle.image_shape = None
    with pytest.raises(ConfigError, match=r"fails on an input of shape \[1, 1, 8, 8\].*transform_ops"):
        wrong.run(np.zeros((1, 1, 8, 8)))


def test_logits_become_probabilities(exported, photos):
    predictor = Predictor(exported)
    image = predictor.preprocess(photos[0])[None]
    once = predictor.run(image)
    assert once.sum() == pytest.approx(1, abs=1e-6)
    predictor.bundle.output = "logits"
    np.testing.assert_allclose(predictor.run(image), np.exp(once) / np.exp(once).sum(), rtol=1e-6)


def test_a_damaged_folder(exported, tmp_path, without_checksums):
    folder = shutil.copytree(exported, tmp_path / "cut")
    data = (folder / "inference.pdiparams").read_bytes()
    (folder / "inference.pdiparams").write_bytes(data[: len(data) // 2])
    with pytest.raises(WeightsError, match=r"cut/inference\.pdiparams is damaged, or not of the export that"):
        Predictor(folder)
    with pytest.raises(WeightsError, match=r"cut: .*damaged or incomplete.*export it again"):
        Predictor(without_checksums(folder))


def test_preprocess_raises_for_a_bad_image(exported, photos):
    with pytest.raises(DataError, match=r"1_broken\.jpg"):
        Predictor(exported).preprocess(photos[1])


def test_importing_the_package_needs_no_paddle():
    code = (
        "import sys, ppcls_light.prediction; sys.exit(any(m.split('.')[0] == 'paddle' for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_vendors_own_export(shared):
    """PP-LCNet_x0_25_textline_ori as its makers exported it: text lines are upright or turned by 180 degrees."""
    if int(paddle.__version__.split(".")[0]) < 3:
        pytest.skip("the vendor's folder has inference.json, which Paddle 2 cannot read")
    folder = shared / "weights" / "PP-LCNet_x0_25_textline_ori_infer"
    with zipfile.ZipFile(shared / "data" / "textline_crops.zip") as archive:
        names = [name for name in sorted(archive.namelist()) if name.endswith(".jpg")][::6]
        upright = [archive.read(name) for name in names]
    turned = [
        np.ascontiguousarray(cv2.imdecode(np.frombuffer(data, "uint8"), cv2.IMREAD_COLOR)[::-1, ::-1, ::-1])
        for data in upright
    ]
    rows = Predictor(folder, batch_size=16).predict(upright + turned)
    expected = ["0_degree"] * len(upright) + ["180_degree"] * len(turned)
    right = [row["label_names"] == [label] for row, label in zip(rows, expected)]
    assert len(right) > 600
    assert np.mean(right) >= 0.99


@pytest.mark.parametrize("content", ["null", "[1]", "text", "{model_name: {a: 1}}"])
def test_another_tools_section_may_be_anything(exported, tmp_path, content):
    folder = shutil.copytree(exported, tmp_path / "copy")
    yml = folder / "inference.yml"
    yml.write_text(yml.read_text().replace("Global:\n  model_name: Colours\n", f"Global: {content}\n"))
    assert f"Global: {content}" in yml.read_text()
    assert Predictor(folder).bundle.model_name == "Colours"


@pytest.mark.parametrize("decode", ["[DecodeImage, DecodeImage]", "[{CropImage: {size: 3}}]"])
def test_decoding_that_is_not_one_op(exported, tmp_path, decode):
    folder = shutil.copytree(exported, tmp_path / "copy")
    yml = folder / "inference.yml"
    yml.write_text(yml.read_text().split("  decode:")[0] + f"  decode: {decode}\n")
    with pytest.raises(ConfigError, match=r"inference\.yml:\d+: ppcls_light: decode is one DecodeImage"):
        Predictor(folder)


def test_decoding_twice_in_the_callers_ops(exported):
    with pytest.raises(ConfigError, match="DecodeImage more than once"):
        Predictor(
            exported, transform_ops=[("DecodeImage", {}), ("CropImage", {"size": 32}), ("DecodeImage", {})]
        )


def test_random_preprocessing_is_refused(exported, photos):
    ops = [("RandCropImage", {"size": 32}), ("NormalizeImage", {"order": ""})]
    with pytest.raises(ConfigError, match="RandCropImage is random"):
        Predictor(exported, transform_ops=ops).predict(photos)


def test_a_folder_in_the_place_of_the_graph(exported, tmp_path):
    folder = shutil.copytree(exported, tmp_path / "copy")
    graph = Predictor(exported).bundle.graph_file.rsplit("/", 1)[1]
    (folder / graph).unlink()
    (folder / graph).mkdir()
    with pytest.raises(ConfigError, match=rf"no .*{graph}.* here, only: inference\.pdiparams"):
        Predictor(folder)


@pytest.mark.parametrize(
    "settings",
    [
        {"batch_size": 0},
        {"batch_size": -1},
        {"batch_size": 1.5},
        {"topk": 0},
        {"topk": -1},
        {"topk": "1"},
        {"device": "cuda"},
    ],
)
def test_settings_that_mean_nothing(exported, settings):
    with pytest.raises(ConfigError, match=rf"{next(iter(settings))}"):
        Predictor(exported, **settings)
