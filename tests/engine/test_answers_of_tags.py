"""Answers of a network of tags: the same rows from infer, a checkpoint in Python and its export; heat maps of a tag."""

import json

import numpy as np
import pytest
from PIL import Image

import ppcls_light
from ppcls_light import jobs
from ppcls_light.config import load_config
from ppcls_light.config.postprocess import MultiLabelThreshOutput
from ppcls_light.engine.distributed import Runtime
from ppcls_light.engine.trainer import Trainer
from ppcls_light.errors import ConfigError
from tests.conftest import TAGS, write_config, write_photos, write_tagged_config, write_tags


@pytest.fixture(scope="module")
def tagged_photos(tmp_path_factory):
    return write_tags(write_photos(tmp_path_factory.mktemp("tags")))


@pytest.fixture(scope="module")
def tagged_config(tmp_path_factory, tagged_photos):
    folder = tmp_path_factory.mktemp("config")
    return write_tagged_config(write_config(folder, tagged_photos), tagged_photos)


@pytest.fixture(scope="module")
def weights(tagged_config):
    """Weights of a short training."""
    config = load_config(tagged_config, ["Global.epochs=2", "Global.eval_during_train=false"])
    Trainer(config, Runtime("cpu")).fit()
    return f"{config.Global.output_dir}/latest"


def same(rows, others):
    assert [row["class_ids"] for row in rows] == [row["class_ids"] for row in others]
    assert [row["label_names"] for row in rows] == [row["label_names"] for row in others]
    for row, other in zip(rows, others):
        np.testing.assert_allclose(row["scores"], other["scores"], atol=1e-4)


def test_infer_a_checkpoint_and_its_export_give_the_same_tags(
    tagged_config, tagged_photos, weights, tmp_path
):
    pytest.importorskip("matplotlib")
    options = [
        *(
            f"Global.pretrained_model={weights}",
            f"Infer.infer_imgs={tagged_photos}/val",
            "Infer.batch_size=5",
        ),
        *(f"Infer.save_dir={tmp_path}/rows", "Infer.PostProcess.name=MultiLabelThreshOutput"),
        "Infer.PostProcess.threshold=[0.3, 0.6]",
    ]
    config = load_config(tagged_config, options)
    rows = jobs.infer(config, picture=str(tmp_path / "grid.png"))
    assert json.loads((tmp_path / "rows.json").read_text()) == rows
    assert Image.open(tmp_path / "grid.png").width > 100
    paths = [row["file_name"] for row in rows]
    loaded = ppcls_light.load(weights, config=config)
    probs = loaded.run(np.stack([loaded.preprocess(path) for path in paths]))
    assert not np.allclose(probs.sum(axis=1), 1)  # no softmax
    for row, found in zip(rows, probs):
        assert row["class_ids"] == np.flatnonzero(found >= np.array([0.3, 0.6], "float32")).tolist()
        assert row["label_names"] == [TAGS[tag] for tag in row["class_ids"]]
    same(rows, loaded.predict(paths))
    report = jobs.export(load_config(tagged_config, [*options, f"Global.save_inference_dir={tmp_path}/out"]))
    exported = ppcls_light.load(report.folder)
    assert exported.postprocess == MultiLabelThreshOutput(threshold=[0.3, 0.6])
    assert exported.bundle.multilabel
    same(rows, exported.predict(paths))


def test_a_list_with_tags_names_the_images(tagged_config, tagged_photos, weights):
    lists = tagged_photos / "val_tags.txt"
    options = [
        f"Global.pretrained_model={weights}",
        f"Infer.infer_list={lists}",
        f"Infer.infer_imgs={tagged_photos}",
    ]
    rows = jobs.infer(load_config(tagged_config, options))
    names = [line.split("\t")[0] for line in lists.read_text().splitlines()]
    assert [row["file_name"] for row in rows] == [str(tagged_photos / name) for name in names]
    assert not any("error" in row for row in rows)


def test_a_heat_map_is_of_a_tag_by_name_or_of_the_most_probable(tagged_config, tagged_photos, weights):
    pytest.importorskip("matplotlib")
    image = next((tagged_photos / "val").iterdir())
    loaded = ppcls_light.load(weights, config=load_config(tagged_config))
    probs = loaded.run(loaded.preprocess(image)[None])[0]
    for tag, name in enumerate(TAGS):
        (found,) = ppcls_light.explain(loaded, image, label=name)
        assert (found.class_id, found.label_name) == (tag, name)
        assert found.score == pytest.approx(float(probs[tag]), abs=1e-6)  # a sigmoid
    (best,) = ppcls_light.explain(loaded, image)
    assert best.class_id == probs.argmax()


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("Global.unknown=energy", r"Global\.unknown: it is of one class per image, and these are tags"),
        ("Global.export_precision=int8", r"Global\.export_precision: it is of one class per image"),
    ],
)
def test_what_needs_one_class_per_image_is_refused(tagged_config, option, told):
    with pytest.raises(ConfigError, match=told):
        load_config(tagged_config, [option])
