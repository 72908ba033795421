"""Labels that a transform makes (`CustomLabelDataset`), from YAML through the reader to a training."""

import json

import numpy as np
import pytest
import yaml
from PIL import Image

from ppcls_light import jobs
from ppcls_light.check.configured import splits_of_config
from ppcls_light.check.lists import require_files
from ppcls_light.config import load_config
from ppcls_light.engine.distributed import Runtime
from ppcls_light.engine.readers import build_reader
from ppcls_light.errors import ConfigError, DataError

NORMALIZE = {"NormalizeImage": {"scale": 1.0, "mean": [0, 0, 0], "std": [1, 1, 1], "order": ""}}
KEYS = {"RandomRot90": ("random_rot90_orientation", 4), "BlurImage": ("blur_image", 2)}


@pytest.fixture
def write(tmp_path, photos, config_file):
    """A function of an op that writes a config of a CustomLabelDataset with its label, and returns the path."""

    def with_op(op, **changes):
        key, class_num = KEYS[op]
        names = [line.split()[0] for line in (photos / "train_list.txt").read_text().splitlines()]
        (photos / "samples.txt").write_text("".join(f"{name};a remark\n" for name in names))
        content = yaml.safe_load(config_file.read_text())
        content["Arch"]["class_num"] = class_num
        content["DataLoader"]["Train"]["dataset"] = {
            "name": "CustomLabelDataset",
            "image_root": str(photos),
            "sample_list_path": str(photos / "samples.txt"),
            "delimiter": ";",
            "label_key": key,
            "transform_ops": [{"DecodeImage": None}, {op: None}, NORMALIZE],
            **changes,
        }
        del content["Infer"]["PostProcess"]["class_id_map_file"]
        path = tmp_path / "drawn.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return with_op


def batches(path, epoch, *overrides):
    with build_reader(load_config(path, overrides), "Train", Runtime("cpu")).loader as loader:
        return [(batch.images, batch.labels, batch.indices) for batch in loader.epoch(epoch)]


def originals(photos, path):
    names = [line.split(";")[0] for line in (photos / "samples.txt").read_text().splitlines()]
    return [np.asarray(Image.open(photos / name)) for name in names]


def test_a_label_says_how_often_its_image_was_turned(write, photos):
    path = write("RandomRot90")
    files, seen = originals(photos, path), set()
    for images, labels, indices in batches(path, 0):
        for image, label, index in zip(images, labels, indices):
            assert np.array_equal(np.rot90(image.transpose(1, 2, 0), -label), files[index])
            seen.add(int(label))
    assert seen == {0, 1, 2, 3}


def test_a_label_says_whether_its_image_was_blurred(write, photos):
    path = write("BlurImage")
    files, seen = originals(photos, path), set()
    for images, labels, indices in batches(path, 0):
        for image, label, index in zip(images, labels, indices):
            assert np.array_equal(image.transpose(1, 2, 0), files[index]) == (label == 0)
            seen.add(int(label))
    assert seen == {0, 1}


def test_labels_are_of_seed_epoch_and_index_whatever_workers(write):
    path = write("RandomRot90")

    def by_index(epoch, *overrides):
        rows = [
            zip(indices.tolist(), labels.tolist()) for _, labels, indices in batches(path, epoch, *overrides)
        ]
        return dict(pair for row in rows for pair in row)

    first = by_index(1)
    assert by_index(1, "DataLoader.Train.loader.num_workers=2") == first
    assert by_index(1, "DataLoader.Train.sampler.batch_size=13").items() >= first.items()
    assert by_index(2) != first != by_index(1, "Global.seed=1")


def test_a_training_learns_of_them_and_scores_an_ordinary_list(write, tmp_path, capsys):
    path = write("RandomRot90")
    jobs.train(load_config(path, ["Global.epochs=1", "DataLoader.Train.sampler.batch_size=8"]))
    log = capsys.readouterr().out
    assert "of which only distillation learns" not in log
    assert "DataLoader.Train has no image" not in log
    assert "DataLoader.Eval has no image of 1 of the 4" in log
    rows = map(json.loads, (tmp_path / "output" / "metrics.jsonl").read_text().splitlines())
    scored = [row for row in rows if "top1" in json.dumps(row)]
    assert scored, "top-1 is of the drawn labels"


@pytest.mark.parametrize(
    ("changes", "overrides", "problem"),
    [
        (
            {"label_key": "blur_imag"},
            (),
            r"drawn.yaml:\d+: .*dataset: label_key: .*did you mean 'blur_image'.*RandomRot90 gives",
        ),
        ({"label_key": "blur_image"}, (), "no op of transform_ops gives 'blur_image'; add BlurImage"),
        (
            {"transform_ops": [{"DecodeImage": None}, *[{"RandomRot90": None}] * 2]},
            (),
            "2 ops .* keep one of them",
        ),
        ({}, ("Arch.class_num=3",), "0 to 3, and Arch.class_num is 3; use -o Arch.class_num=4"),
        ({}, ("DataLoader.Train.sampler.balanced=true",), "leave out balanced"),
    ],
)
def test_what_cannot_be_is_one_line(write, changes, overrides, problem):
    with pytest.raises(ConfigError, match=problem):
        load_config(write("RandomRot90", **changes), overrides)


def test_labels_in_a_list_without_a_delimiter_are_told_as_such(write, photos):
    config = load_config(
        write("RandomRot90", delimiter=None, sample_list_path=str(photos / "train_list.txt"))
    )
    with pytest.raises(DataError, match=r"lines are wrong; .*: a path relative .* with its delimiter behind"):
        build_reader(config, "Train", Runtime("cpu"))


def test_an_evaluation_has_labels_of_its_own(write):
    path = write("RandomRot90")
    content = yaml.safe_load(path.read_text())
    content["DataLoader"]["Eval"]["dataset"] = content["DataLoader"]["Train"]["dataset"]
    with pytest.raises(ConfigError, match=r"DataLoader\.Eval\.dataset\.name: .*ImageNetDataset"):
        load_config(content)


def test_images_are_checked_and_their_list_is_left_to_the_user(write):
    config = load_config(write("RandomRot90"))
    splits = splits_of_config(config)
    assert [splits.class_name(index) for index in splits.members(0)] == [""] * 26
    with pytest.raises(
        ConfigError, match=r"samples\.txt: lists without labels are not written anew; delete the lines"
    ):
        require_files(splits)
