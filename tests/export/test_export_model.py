import logging
import os
import shutil

import cv2
import numpy as np
import paddle
import pytest
import yaml
from paddle import nn

from ppcls_light.base.machine import instruction_set, processor_name
from ppcls_light.bundle import read_bundle
from ppcls_light.errors import ConfigError, DataError, ExportError, WeightsError
from ppcls_light.export import export_model
from ppcls_light.export.static import save_static
from ppcls_light.models import create_model
from ppcls_light.prediction import Predictor

SIZE = 64
OPS = [
    ("DecodeImage", {"to_rgb": True, "channel_first": False}),
    ("ResizeImage", {"resize_short": 72, "interpolation": "bicubic"}),
    ("CropImage", {"size": SIZE}),
    ("NormalizeImage", {"scale": 1 / 255, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "order": ""}),
]
NAMES = ["a", "b", "c: d", "犬"]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(3)
    for index in range(3):
        cells = rng.integers(0, 256, (6, 8, 3)).astype("uint8")
        ok, data = cv2.imencode(".jpg", cv2.resize(cells, (120, 90)))
        assert ok
        (folder / f"{index}.jpg").write_bytes(data.tobytes())
    return sorted(folder.iterdir())


@pytest.fixture(params=["PPLCNet_x0_25", "FasterNet_T0"])
def model(request, randomise):
    return randomise(create_model(request.param, class_num=4))


@pytest.fixture
def small(randomise):
    return randomise(nn.Sequential(ConvBN(), nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(8, 4)))


class ConvBN(nn.Layer):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2D(3, 8, 3)
        self.bn = nn.BatchNorm2D(8)

    def forward(self, x):
        return self.bn(self.conv(x))


class Misleading(ConvBN):
    """Defines conv and bn side by side, but normalises something else."""

    def forward(self, x):
        return self.conv(x) + self.bn(paddle.ones([1, 8, 1, 1]))


def test_the_exported_folder_answers_as_the_network(model, photos, tmp_path, caplog):
    folder = tmp_path / "new" / "inference"
    with caplog.at_level(logging.INFO, "ppcls_light"):
        report = export_model(model, folder, (3, SIZE, SIZE), OPS, NAMES, topk=2, images=photos)
    line = f'Export succeeded! The inference model exported has been saved in "{folder}{os.sep}inference".'
    assert line in caplog.messages
    assert report.max_abs_diff <= 1e-5
    assert (report.images, report.source, report.class_num) == (3, "given", 4)
    assert f"of 3 images differ by at most {report.max_abs_diff:.1e}" in str(report)
    assert model.training

    graph = "inference.json" if report.format == "json" else "inference.pdmodel"
    files = set(os.listdir(folder)) - {"inference.pdiparams.info"}  # Paddle 2 writes that one too
    assert files == {graph, "inference.pdiparams", "inference.yml"}
    assert b"batch_norm" not in (folder / graph).read_bytes()

    # the network itself on pixels prepared here with OpenCV and numpy alone
    model.eval()
    batch = []
    for path in photos:
        image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        image = cv2.resize(image, (96, 72), interpolation=cv2.INTER_CUBIC)[4:68, 16:80]
        batch.append(((image / 255 - [0.5, 0.4, 0.3]) / [0.2, 0.3, 0.4]).transpose(2, 0, 1))
    logits = model(paddle.to_tensor(np.stack(batch).astype("float32"))).numpy().astype("float64")
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert expected.max() > 0.3  # not the uniform distribution that hides a wrong network
    predictor = Predictor(folder, batch_size=3)
    np.testing.assert_allclose(
        predictor.run(np.stack([predictor.preprocess(path) for path in photos])), expected, atol=1e-5
    )
    for row, probs in zip(predictor.predict(photos), expected):
        assert row["class_ids"] == np.argsort(-probs)[:2].tolist()
        assert row["label_names"] == [NAMES[index] for index in row["class_ids"]]


def test_an_unfolded_graph_would_show_its_batch_norms(small, tmp_path):
    graph_format = save_static(small, str(tmp_path), (3, 8, 8))
    assert b"batch_norm" in (tmp_path / f"inference.{graph_format}").read_bytes()


def test_downscaling_dropout_keeps_its_factor(randomise, tmp_path):
    model = randomise(create_model("PPLCNet_x0_25", class_num=4))
    features = []
    model.dropout.register_forward_pre_hook(lambda layer, inputs: features.append(inputs[0].numpy()))
    model.eval()
    images = np.random.default_rng(0).normal(size=(2, 3, SIZE, SIZE)).astype("float32")
    model(paddle.to_tensor(images))
    model.dropout._forward_pre_hooks.clear()
    logits = 0.8 * features[0].reshape(2, -1) @ model.fc.weight.numpy() + model.fc.bias.numpy()
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    export_model(model, tmp_path / "out", (3, SIZE, SIZE), OPS)
    np.testing.assert_allclose(Predictor(tmp_path / "out").run(images), expected, atol=1e-5)


def test_inference_yml_is_what_paddlex_reads(small, tmp_path):
    export_model(small, tmp_path, (3, SIZE, SIZE), OPS, dict(enumerate(NAMES)), "PPLCNet_x1_0", topk=3)
    content = yaml.safe_load((tmp_path / "inference.yml").read_text(encoding="utf-8"))
    assert content["Global"] == {"model_name": "PP-LCNet_x1_0"}
    assert content["PreProcess"]["transform_ops"] == [
        {"ResizeImage": {"resize_short": 72, "interpolation": "bicubic"}},
        {"CropImage": {"size": SIZE}},
        {
            "NormalizeImage": {
                "scale": 1 / 255,
                "mean": [0.5, 0.4, 0.3],
                "std": [0.2, 0.3, 0.4],
                "order": "",
                "channel_num": 3,
            }
        },
        {"ToCHWImage": None},
    ]
    assert content["PostProcess"] == {"Topk": {"topk": 3, "label_list": NAMES}}
    own = content["ppcls_light"]
    assert own["output"] == "probs"
    assert own["paddle"] == paddle.__version__
    assert own["parity"]["source"] == "generated"
    bundle = read_bundle(tmp_path)
    assert (bundle.model_name, bundle.class_num, bundle.image_shape) == ("PPLCNet_x1_0", 4, [3, SIZE, SIZE])
    assert bundle.decode == [("DecodeImage", {"to_rgb": True, "channel_first": False})]


def test_the_folder_records_the_processor_and_older_folders_load_without(small, tmp_path):
    report = export_model(small, tmp_path, (3, SIZE, SIZE), OPS)
    path = tmp_path / "inference.yml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    recorded = content["ppcls_light"]["parity"]
    assert recorded["processor"] == report.processor == processor_name()
    assert recorded["instruction_set"] == report.instruction_set == instruction_set()
    assert read_bundle(tmp_path).proved_on.startswith(processor_name())
    for key in ("processor", "instruction_set", "same_class"):
        del recorded[key]
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    assert read_bundle(tmp_path).proved_on == ""


def test_a_second_export_replaces_the_first_and_keeps_other_files(small, tmp_path):
    export_model(small, tmp_path, (3, SIZE, SIZE), OPS, NAMES)
    other = "inference.json" if not (tmp_path / "inference.json").exists() else "inference.pdmodel"
    (tmp_path / other).write_text("a graph of another Paddle")
    (tmp_path / "notes.txt").write_text("mine")
    before = contents(tmp_path)
    export_model(small, tmp_path, (3, SIZE, SIZE), OPS, NAMES[::-1])
    after = contents(tmp_path)
    assert after["notes.txt"] == b"mine"
    assert after["inference.yml"] != before["inference.yml"]
    assert set(after) == set(before) - {other}
    assert not (tmp_path / "previous_1").exists()


def nan_weights(model):
    model[3].weight.set_value(np.full(model[3].weight.shape, np.nan, "float32"))


def misleading_order(model):
    model[0].__class__ = Misleading


@pytest.mark.parametrize(("spoil", "name"), [(nan_weights, "good"), (misleading_order, "new")])
def test_a_model_that_does_not_equal_its_export_leaves_nothing(spoil, name, small, tmp_path):
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "inference.pdiparams").write_text("an earlier export")
    before = contents(tmp_path / "good")
    spoil(small)
    with pytest.raises(ExportError, match="differs from the network"):
        export_model(small, tmp_path / name, (3, SIZE, SIZE), OPS, NAMES)
    assert contents(tmp_path / "good") == before
    assert os.listdir(tmp_path) == ["good"]


def test_a_bad_image_to_compare_on_is_named(small, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"bad\.jpg: .*not an image"):
        export_model(small, tmp_path / "out", (3, SIZE, SIZE), OPS, images=[tmp_path / "bad.jpg"])


def test_refusals_name_the_key(small, tmp_path):
    with pytest.raises(ExportError, match=r"\[3, 64, 64\].*Global.image_shape is \[3, 32, 32\]"):
        export_model(small, tmp_path / "out", (3, 32, 32), OPS, NAMES)
    with pytest.raises(ExportError, match=r"3 class names .* network of 4 classes"):
        export_model(small, tmp_path / "out", (3, SIZE, SIZE), OPS, NAMES[:3])
    with pytest.raises(ConfigError, match=r"ids must be 0\.\.3, each once; 0 is missing"):
        export_model(small, tmp_path / "out", (3, SIZE, SIZE), OPS, dict(enumerate(NAMES, 1)))
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="cannot be written"):
        export_model(small, tmp_path / "file", (3, SIZE, SIZE), OPS, NAMES)


def test_reading_a_folder_says_what_is_there(tmp_path):
    with pytest.raises(ConfigError, match="no such folder"):
        read_bundle(tmp_path / "absent")
    with pytest.raises(
        ConfigError, match=r"no inference.json or inference.pdmodel here, and no other file; export"
    ):
        read_bundle(tmp_path)
    (tmp_path / "best_model.pdparams").write_text("")
    with pytest.raises(
        ConfigError, match=r"no inference.json or inference.pdmodel here, only: best_model.pdparams"
    ):
        read_bundle(tmp_path)
    (tmp_path / "inference.json").write_text("{}")
    with pytest.raises(
        ConfigError, match=r"no inference.pdiparams here, only: best_model.pdparams, inference.json"
    ):
        read_bundle(tmp_path)
    (tmp_path / "inference.pdiparams").write_text("")
    (tmp_path / "inference.yml").write_text("PreProcess:\n  transform_ops:\n  - CropImag: {size: 3}\n")
    with pytest.raises(ConfigError, match=r"inference.yml:3.*did you mean 'CropImage'"):
        read_bundle(tmp_path)


def test_a_new_folder_appears_whole(small, tmp_path, monkeypatch):
    """Each rename of an export is looked at: none shows the folder with a part of its files."""
    folder, seen, rename = tmp_path / "new/inference", [], os.replace

    def look(source, target):
        seen.append(folder.exists())
        rename(source, target)
        if folder.exists():
            seen.append(sorted(os.listdir(folder)))

    monkeypatch.setattr(os, "replace", look)
    export_model(small, folder, (3, SIZE, SIZE), OPS)
    whole = sorted(os.listdir(folder))
    assert {"inference.pdiparams", "inference.yml"} < set(whole)
    assert [files for files in seen if files is not False] == [whole]
    assert os.listdir(folder.parent) == ["inference"]


def test_a_target_that_cannot_be_replaced_is_named(small, tmp_path):
    (tmp_path / "out/inference.yml").mkdir(parents=True)
    with pytest.raises(ExportError, match=r"inference\.yml: cannot be replaced: .*; remove it"):
        export_model(small, tmp_path / "out", (3, 64, 64), OPS)
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.endswith(".tmp")]


def test_an_export_of_other_weights_is_moved_and_never_lost(small, randomise, photos, tmp_path, caplog):
    folder = tmp_path / "inference"
    export = {"image_shape": (3, SIZE, SIZE), "transform_ops": OPS, "model_name": "small", "images": photos}
    export_model(small, folder, **export)
    (folder / "engine.json").write_text("{}")
    (folder / "notes.txt").write_text("mine")
    first, answer = contents(folder), Predictor(folder).predict(photos)
    other = randomise(nn.Sequential(ConvBN(), nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(8, 4)))
    with caplog.at_level(logging.WARNING, "ppcls_light"):
        export_model(other, folder, **export)
    assert f"is in {folder}/previous_1 now" in caplog.text
    assert contents(folder / "previous_1") == {name: first[name] for name in first if name != "notes.txt"}
    assert Predictor(folder / "previous_1").predict(photos) == answer
    assert Predictor(folder).predict(photos) != answer
    assert sorted(os.listdir(folder)) == sorted((set(first) | {"previous_1"}) - {"engine.json"})


def test_an_export_with_proved_precisions_is_not_replaced_by_one_without(small, tmp_path):
    export_model(small, tmp_path, (3, SIZE, SIZE), OPS, model_name="small")
    (tmp_path / "inference.int8.pdmodel").write_text("a graph that was proved")
    described = (tmp_path / "inference.yml").read_text()
    precisions = "precisions: {paddle: {fp32: 90.0, int8: 89.5}}"
    (tmp_path / "inference.yml").write_text(
        described.replace("ppcls_light:\n", f"ppcls_light:\n  {precisions}\n")
    )
    assert read_bundle(tmp_path).precisions
    export_model(small, tmp_path, (3, SIZE, SIZE), OPS, model_name="small")
    assert (tmp_path / "previous_1/inference.int8.pdmodel").read_text() == "a graph that was proved"
    assert not read_bundle(tmp_path).precisions


def test_a_damaged_or_foreign_export_is_moved_too(small, photos, tmp_path):
    folder = tmp_path / "inference"
    folder.mkdir()
    for name in ("inference.pdmodel", "inference.pdiparams", "inference.pdiparams.info"):
        (folder / name).write_bytes(b"of PaddleClas")
    export_model(small, folder, (3, SIZE, SIZE), OPS, model_name="small", images=photos)
    assert set(contents(folder / "previous_1")) == {
        "inference.pdmodel",
        "inference.pdiparams",
        "inference.pdiparams.info",
    }


def test_files_of_two_exports_are_never_one_network(small, randomise, photos, tmp_path):
    """As an export leaves them that was killed between two renames, or a person who copied one of the files."""
    folders = [tmp_path / "a", tmp_path / "b"]
    for seed, folder in enumerate(folders):
        export_model(randomise(small, seed), folder, (3, SIZE, SIZE), OPS, model_name="small", images=photos)
    name = "inference.pdiparams"
    shutil.copyfile(folders[1] / name, folders[0] / name)
    for folder in (folders[0], f"{folders[0]}/"):
        with pytest.raises(
            WeightsError, match=rf"{name} is damaged, or not of the export that inference\.yml"
        ):
            Predictor(folder)
    Predictor(folders[1])


def test_inference_yml_is_put_in_place_last(small, tmp_path, monkeypatch):
    placed, replace = [], os.replace

    def watched(source, target):
        if os.path.dirname(target) == str(tmp_path):
            placed.append(os.path.basename(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    export_model(small, tmp_path, (3, SIZE, SIZE), OPS, model_name="small")
    assert placed[-1] == "inference.yml"
    assert set(placed) == {path.name for path in tmp_path.iterdir()}


def test_a_hardswish_in_front_of_the_sigmoid_of_tags_stays(tmp_path, randomise):
    """Paddle's oneDNN passes would replace MicroNet's last one, and the comparison would refuse the export."""
    model = create_model("MicroNet_M0", class_num=3)
    randomise(model)
    report = export_model(model, tmp_path, (3, 64, 64), OPS, multilabel=True)
    assert report.same_top1
