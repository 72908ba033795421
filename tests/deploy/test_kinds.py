"""Kinds of answers of exported folders: the same rows from every engine, and what a deploy YAML changes."""

import json
import shutil
from importlib.util import find_spec

import numpy as np
import pytest
import yaml
from paddle import nn
from PIL import Image

from ppcls_light.config.postprocess import MultiLabelThreshOutput, ThreshOutput, Topk
from ppcls_light.errors import ConfigError, DataError
from ppcls_light.export import export_model
from ppcls_light.prediction import Predictor
from ppcls_light.prediction.deploy import predictor_from_config, read_deploy_config
from ppcls_light.prediction.job import classify_files
from ppcls_light.runtime.engines import missing_library
from ppcls_light.serve.remote import ModelOptions
from ppcls_light.serve.worker import _Classifier

COLOURS = {"red": (230, 30, 30), "yellow": (220, 210, 20), "grey": (90, 90, 90), "night": (10, 10, 20)}
NAMES = ["reddish", "greenish", "bluish"]
OPS = [
    ("ResizeImage", {"size": [16, 16]}),
    ("NormalizeImage", {"order": "", "mean": [0.5] * 3, "std": [0.5] * 3}),
]
SHARPNESS = 4


def network(classes=3):
    """Return a network whose logits are 4 times the mean channels, from -1 to 1."""
    linear = nn.Linear(3, classes)
    linear.weight.set_value(np.eye(3, classes, dtype="float32") * SHARPNESS)
    linear.bias.set_value(np.zeros(classes, "float32"))
    return nn.Sequential(nn.AdaptiveAvgPool2D(1), nn.Flatten(), linear)


def logits(colour, classes=3):
    return (np.array(COLOURS[colour]) / 127.5 - 1)[:classes] * SHARPNESS


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("colours")
    for name, colour in COLOURS.items():
        Image.fromarray(np.full((16, 16, 3), colour, "uint8")).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def tags(tmp_path_factory):
    """A folder whose classes are tags, with inference.onnx where that can be made."""
    folder = tmp_path_factory.mktemp("tags") / "inference"
    in_onnx = find_spec("paddle2onnx") is not None and not missing_library("onnxruntime")
    export_model(network(), folder, (3, 16, 16), OPS, NAMES, "Paint", multilabel=True, onnx=in_onnx)
    return folder


@pytest.fixture(scope="module")
def binary(tmp_path_factory):
    """A folder of two classes with a threshold."""
    folder = tmp_path_factory.mktemp("binary") / "inference"
    kind = ThreshOutput(threshold=0.9, label_0="plain", label_1="loud")
    export_model(network(2), folder, (3, 16, 16), OPS, None, "Paint", postprocess=kind)
    return folder


def rows_by_name(rows):
    return {row["file_name"].rsplit("/", 1)[-1].split(".")[0]: row for row in rows}


@pytest.mark.parametrize("engine", ["paddle", "onnxruntime", "openvino"])
def test_tags_have_a_sigmoid_each_once_in_every_engine(tags, photos, engine):
    pytest.importorskip(engine)
    predictor = Predictor(tags, engine=engine, batch_size=3)
    assert predictor.postprocess == MultiLabelThreshOutput()
    for name, row in rows_by_name(predictor.predict(sorted(photos.iterdir()))).items():
        probs = 1 / (1 + np.exp(-logits(name)))
        assert row["class_ids"] == np.flatnonzero(probs >= 0.5).tolist()
        assert row["label_names"] == [NAMES[tag] for tag in row["class_ids"]]
        np.testing.assert_allclose(row["scores"], probs[row["class_ids"]], atol=1e-4)
    assert predictor.predict(photos / "night.png")[0]["class_ids"] == []
    assert predictor.predict(photos / "yellow.png")[0]["label_names"] == ["reddish", "greenish"]


def test_the_folder_says_so_to_others_and_theirs_are_read(tags, tmp_path, photos):
    folder = shutil.copytree(tags, tmp_path / "theirs")
    described = yaml.safe_load((folder / "inference.yml").read_text())
    assert described["PostProcess"] == {"MultiLabelThreshOutput": {"threshold": 0.5, "label_list": NAMES}}
    assert described["Global"]["model_name"] == "Paint_ML"  # by which PaddleX chooses what reads it
    assert described["ppcls_light"]["multilabel"] is True
    assert described["ppcls_light"]["output"] == "probs"
    del described["ppcls_light"]  # as PaddleX and PaddleClas write it
    described["PostProcess"]["MultiLabelThreshOutput"]["threshold"] = 0.98
    (folder / "inference.yml").write_text(yaml.safe_dump(described))
    predictor = Predictor(folder)
    assert predictor.bundle.multilabel
    assert predictor.predict(photos / "red.png")[0]["label_names"] == []
    assert predictor.predict(photos / "red.png")[0].keys() == {
        "class_ids",
        "scores",
        "file_name",
        "label_names",
    }


def test_paddlex_is_given_one_threshold_and_this_package_all(tmp_path):
    kind = MultiLabelThreshOutput(threshold=[0.2, 0.4, 0.9])
    folder = export_model(
        *(network(), tmp_path / "three", (3, 16, 16), OPS, NAMES, "Paint"), multilabel=True, postprocess=kind
    ).folder
    described = yaml.safe_load((tmp_path / "three/inference.yml").read_text())
    assert described["PostProcess"]["MultiLabelThreshOutput"]["threshold"] == 0.5  # their mean
    assert Predictor(folder).postprocess == kind


def test_a_number_of_best_ones_can_be_asked_of_any_folder(tags, binary, photos):
    row = Predictor(tags, topk=2).predict(photos / "night.png")[0]
    assert row["class_ids"] == [2, 0]  # a little blue, and of the equal others the first
    assert Predictor(binary, topk=1).predict(photos / "grey.png")[0]["class_ids"] == [0]


def test_a_threshold_travels_with_the_folder(binary, photos):
    predictor = Predictor(binary)
    assert predictor.postprocess == ThreshOutput(threshold=0.9, label_0="plain", label_1="loud")
    assert predictor.topk is None
    found = rows_by_name(predictor.predict(sorted(photos.iterdir())))
    assert {name: row["label_names"] for name, row in found.items()} == {name: ["plain"] for name in COLOURS}
    described = yaml.safe_load((binary / "inference.yml").read_text())
    assert described["PostProcess"]["Topk"]["topk"] == 1  # for PaddleX


@pytest.mark.parametrize(
    ("overrides", "kind"),
    [
        (["PostProcess.threshold=0.4"], ThreshOutput(threshold=0.4, label_0="plain", label_1="loud")),
        (["PostProcess.ThreshOutput.threshold=0.3"], ThreshOutput(threshold=0.3, label_0="plain", label_1="loud")),
        (
            ["PostProcess={main_indicator: ThreshOutput, ThreshOutput: {label_0: a, label_1: b}, Topk: {topk: 5}}"],
            ThreshOutput(threshold=0.9, label_0="a", label_1="b"),
        ),
        (["PostProcess.name=Topk"], Topk()),
        (["PostProcess.topk=1"], Topk(topk=1)),
        (["PostProcess.Topk.topk=2"], Topk(topk=2)),
    ],
)  # fmt: skip
def test_keys_of_a_deploy_yaml_lie_over_those_of_the_folder(binary, photos, overrides, kind):
    paths = [f"Global.inference_model_dir={binary}", f"Global.infer_imgs={photos}"]
    assert predictor_from_config(read_deploy_config({}, [*paths, *overrides])).postprocess == kind


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["PostProcess.main_indicator=MultiLabelThreshOutput"], "MultiLabelThreshOutput is of tags, and this network"),
        (["PostProcess={name: Topk, threshold: 0.5}"], "PostProcess.threshold: Topk has no such key"),
        (["PostProcess.threshold=[0.5, 0.6]"], r"threshold: \[0.5, 0.6\] is of tags, and ThreshOutput has one number"),
        (["PostProcess={name: Topk, main_indicator: ThreshOutput}"], "main_indicator: it is ThreshOutput"),
        (["PostProcess.PersonAttribute.treshold=0.5"], "PersonAttribute.treshold.*'threshold'"),
        (["PostProcess={Topk: {topk: 1}, ScoreOutput: {decimal_places: 1}}"], "main_indicator is missing"),
    ],
)  # fmt: skip
def test_a_deploy_yaml_that_cannot_be_is_one_line(binary, photos, overrides, message):
    paths = [f"Global.inference_model_dir={binary}", f"Global.infer_imgs={photos}"]
    with pytest.raises(ConfigError, match=message):
        predictor_from_config(read_deploy_config({}, [*paths, *overrides]))


def test_names_to_show_in_the_other_order_are_refused(photos, tmp_path):
    export_model(network(2), tmp_path / "named", (3, 16, 16), OPS, ["someone", "nobody"], "Paint")
    swapped = "PostProcess={name: ThreshOutput, ThreshOutput: {label_0: nobody, label_1: someone}}"
    paths = [f"Global.inference_model_dir={tmp_path / 'named'}", f"Global.infer_imgs={photos}"]
    with pytest.raises(DataError, match="same classes in another order"):
        predictor_from_config(read_deploy_config({}, [*paths, swapped]))
    with pytest.raises(DataError, match="label 0 is 'someone' in the first and 'nobody' in the second"):
        predictor_from_config(
            read_deploy_config({}, [*paths, swapped.replace("label_1: someone", "label_1: two")])
        )
    others = "PostProcess={name: ThreshOutput, ThreshOutput: {label_0: empty, label_1: taken}}"
    output = f"Global.output={tmp_path / 'rows.jsonl'}"
    run(tmp_path / "named", photos, output, others)
    assert run(tmp_path / "named", photos, output, others, resume=True)[0].images == 4


def test_a_map_that_is_not_there_leaves_the_names_of_the_folder(tags, photos, caplog):
    paths = [f"Global.inference_model_dir={tags}", f"Global.infer_imgs={photos}"]
    config = read_deploy_config({}, [*paths, "PostProcess.class_id_map_file=gone.txt"])
    assert list(predictor_from_config(config).class_names) == NAMES
    assert "no such file: gone.txt; the names are the folder's" in caplog.text


def run(folder, photos, *overrides, **options):
    paths = [f"Global.inference_model_dir={folder}", f"Global.infer_imgs={photos}"]
    rows = []
    outcome = classify_files(read_deploy_config({}, [*paths, *overrides]), rows.append, **options)
    return outcome, rows


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv"])
def test_rows_of_tags_are_kept_and_gone_on_with(tags, photos, tmp_path, name):
    output = f"Global.output={tmp_path / name}"
    assert run(tags, photos, output)[0].images == 4
    first = (tmp_path / name).read_bytes()
    assert run(tags, photos, output, resume=True)[0].new == 0
    assert (tmp_path / name).read_bytes() == first
    with pytest.raises(DataError, match="another model or other settings wrote the rows"):
        run(tags, photos, output, "PostProcess.threshold=0.99", resume=True)
    nothing = [f"Global.output={tmp_path / f'no_{name}'}", "PostProcess.threshold=1"]
    run(tags, photos, *nothing)
    assert run(tags, photos, *nothing, resume=True)[0].images == 4


def test_images_are_sorted_into_folders_of_their_class(binary, tags, photos, tmp_path, caplog):
    copies, once = tmp_path / "sorted", f"PostProcess.SavePreLabel.save_dir={tmp_path / 'sorted'}"
    with caplog.at_level("INFO", "ppcls_light"):
        run(binary, photos, once, "PostProcess.threshold=0.3")
    _, rows = run(binary, photos, "PostProcess.threshold=0.3")
    expected = sorted(f"{row['class_ids'][0]}/{row['file_name'].rsplit('/', 1)[-1]}" for row in rows)
    found = sorted(str(path.relative_to(copies)) for path in copies.rglob("*.png"))
    assert found == expected
    assert {path[0] for path in found} == {"0", "1"}
    assert f"4 images copied into {copies}/CLASS_ID" in caplog.text
    other = copies / expected[0]
    other.write_bytes(b"something else")
    run(binary, photos, once, "PostProcess.threshold=0.3")
    assert other.read_bytes() == b"something else"
    assert other.with_name(f"{other.stem}_2.png").read_bytes() == (photos / other.name).read_bytes()
    assert len(list(copies.rglob("*.png"))) == 5
    run(tags, photos, f"PostProcess.SavePreLabel.save_dir={tmp_path / 'none'}")
    assert not (tmp_path / "none").exists()


def test_a_graph_without_softmax_gives_logits_and_the_same_rows(photos, tmp_path):
    export_model(network(), tmp_path / "logits", (3, 16, 16), OPS, NAMES, "Paint", softmax=False)
    predictor = Predictor(tmp_path / "logits")
    assert predictor.bundle.output == "logits"
    image = predictor.preprocess(photos / "red.png")[None]
    np.testing.assert_allclose(predictor.engine.run(image)[0], logits("red"), atol=1e-4)
    exponentials = np.exp(logits("red"))
    np.testing.assert_allclose(predictor.run(image)[0], exponentials / exponentials.sum(), atol=1e-4)
    paths = [f"Global.inference_model_dir={tmp_path / 'logits'}", f"Global.infer_imgs={photos}"]
    scores = predictor_from_config(read_deploy_config({}, [*paths, "PostProcess.name=ScoreOutput"]))
    assert scores.predict(photos / "red.png")[0]["scores"] == pytest.approx(logits("red"), abs=0.006)


def test_a_server_answers_by_the_kind_or_with_the_best(tags, photos):
    classifier = _Classifier(ModelOptions(str(tags)))
    assert (classifier.describe()["topk"], classifier.describe()["answer"]) == (
        None,
        "MultiLabelThreshOutput",
    )
    data = (photos / "yellow.png").read_bytes()
    own, best = (classifier.classify([data], topk)["rows"][0] for topk in (None, 3))
    assert own["label_names"] == ["reddish", "greenish"]
    assert best["label_names"] == NAMES
    json.dumps([own, best])
