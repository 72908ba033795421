"""Trainings on tags: any number of them per image, each with a probability of its own."""

import json
import logging

import numpy as np
import pytest

from ppcls_light import jobs
from ppcls_light.config import load_config
from ppcls_light.data.classes import ClassNames
from ppcls_light.engine import checkpoint
from ppcls_light.engine.distributed import Runtime
from ppcls_light.engine.readers import split_images
from ppcls_light.engine.trainer import Trainer
from ppcls_light.errors import ConfigError
from tests.conftest import TAGS

CPU = Runtime("cpu")


def trainer(config_file, *overrides):
    return Trainer(load_config(config_file, list(overrides)), CPU)


def write_table(path, lists, order=TAGS):
    """Write a list of numbers as a table whose columns have another order."""
    lines = [line.split("\t") for line in lists.read_text().splitlines()]
    rows = [(name, dict(zip(TAGS, values.split(",")))) for name, values in lines]
    text = [
        ",".join(["path", *order]),
        *(",".join([name, *(tags[tag] for tag in order)]) for name, tags in rows),
    ]
    path.write_text("\n".join(text))
    return path


def test_a_training_learns_the_tags_and_keeps_their_names(tagged_config, tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="ppcls_light")
    config = load_config(tagged_config, ["Global.epochs=3"])
    jobs.train(config)
    output = tmp_path / "output"
    assert checkpoint.load(str(output / "latest")).states["class_names"] == list(TAGS)
    rows = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    scored = [row for row in rows if row["split"] == "eval"]
    assert list(scored[-1]["values"])[:2] == ["MultiLabelLoss", "loss"]
    assert {"mAP", "ma", "instance_f1"} <= set(scored[-1]["values"])
    assert max(row["values"]["mAP"] for row in scored) > 0.9  # two thirds and one third by chance
    best = checkpoint.load(str(output / "best_model")).states
    assert best["best"] == max(row["values"]["mAP"] for row in scored)
    trained = [f"Global.pretrained_model={output}/best_model"]
    again = jobs.evaluate(load_config(tagged_config, trained), predictions=str(tmp_path / "rows.jsonl"))
    assert again["mAP"] == pytest.approx(best["best"], abs=1e-6)
    first = json.loads((tmp_path / "rows.jsonl").read_text().splitlines()[2])
    assert (first["file_name"][-6:], first["label"], first["unknown"]) == ("02.png", [0, 1], [])


def test_a_table_is_numbered_by_the_names_of_the_training(tagged_config, tagged_photos):
    table = write_table(tagged_photos / "val.csv", tagged_photos / "val_tags.txt", TAGS[::-1])
    paths = [f"DataLoader.{split}.dataset.cls_label_path={table}" for split in ("Train", "Eval")]
    names = ClassNames(TAGS, "the training")
    mapped = load_config(tagged_config, paths)
    numbers = split_images(load_config(tagged_config), "Eval", names)[0].labels
    for images, found in (split_images(mapped, "Train"), split_images(mapped, "Eval", names)):
        assert found.names == TAGS
        assert np.array_equal(images.labels, numbers)
    unmapped = load_config(tagged_config, [*paths, "Infer.PostProcess.class_id_map_file=null"])
    images, found = split_images(unmapped, "Train")
    assert found.names == TAGS[::-1]
    assert np.array_equal(images.labels, numbers[:, ::-1])
    with pytest.raises(ConfigError, match=r"cannot be numbered.*class_id_map_file"):
        split_images(unmapped, "Eval")


def test_a_number_of_tags_that_is_not_class_num_is_named_with_the_fix(tagged_config, tagged_photos):
    lists = tagged_photos / "train_tags.txt"
    lists.write_text("train/00.png\tbright,striped,old\n")
    config = load_config(tagged_config, ["Infer.PostProcess.class_id_map_file=null"])
    with pytest.raises(ConfigError, match=r"3 tags, but Arch.class_num is 2; use -o Arch.class_num=3"):
        split_images(config, "Train")
