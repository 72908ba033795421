"""Splits of folders and of configs: the images that a training would read."""

import numpy as np
import pytest

from ppcls_light.check.configured import splits_of_config
from ppcls_light.check.splits import splits_of_folder
from ppcls_light.config import load_config
from ppcls_light.errors import ConfigError, DataError

CONFIG = """
Global: {{output_dir: {root}/output, epochs: 1, image_shape: [3, 32, 32]}}
Arch: {{name: PPLCNet_x0_25, class_num: 2}}
Loss: {{Train: [{{CELoss: {{weight: 1.0}}}}]}}
Optimizer: {{name: SGD, lr: {{name: ConstLR, learning_rate: 0.1}}}}
DataLoader:
  Train:
    dataset: {{name: ImageNetDataset, image_root: {root}, {train}, transform_ops: [{{DecodeImage: null}}]}}
    sampler: {{name: BatchSampler, batch_size: 2}}
  Eval:
    dataset: {{name: ImageNetDataset, image_root: {root}, {eval}, transform_ops: [{{DecodeImage: null}}]}}
    sampler: {{name: BatchSampler, batch_size: 2}}
"""


def read(folder, train, evaluation):
    path = folder / "config.yaml"
    path.write_text(CONFIG.format(root=folder, train=train, eval=evaluation))
    return splits_of_config(load_config(path))


def test_lists_of_a_folder_and_of_a_config_are_the_same_images(listed):
    of_folder = splits_of_folder(str(listed))
    of_config = read(
        listed, f"cls_label_path: {listed}/train_list.txt", f"cls_label_path: {listed}/val_list.txt"
    )
    assert [part.name for part in of_folder.parts] == ["train", "val"]
    assert [part.name for part in of_config.parts] == ["Train", "Eval"]
    for splits in (of_folder, of_config):
        assert len(splits) == 18
        assert splits.name(12) == "val/cat/0.jpg"
        assert splits.path(12) == splits.source(12) == f"{listed}/val/cat/0.jpg"
        assert splits.class_names == ["cat", "dog"]
        assert splits.counts().tolist() == [[6, 3], [6, 3]]
        assert list(splits.members(1)) == list(range(12, 18))


def test_folders_of_a_split_are_read_without_lists(listed):
    for name in ("train_list.txt", "val_list.txt"):
        (listed / name).unlink()
    splits = splits_of_folder(str(listed))
    assert [part.name for part in splits.parts] == ["train", "val"]
    assert splits.name(12) == "val/cat/0.jpg"
    whole = splits_of_folder(str(listed / "train"))
    assert [part.name for part in whole.parts] == ["all"]
    assert whole.counts().tolist() == [[6], [6]]


def test_files_of_a_list_may_be_missing_and_labels_have_the_names_of_the_map(listed):
    (listed / "labels.txt").write_text("0 Katze\n1 Hund\n")
    (listed / "train/cat/0.jpg").unlink()
    splits = splits_of_folder(str(listed))
    assert len(splits) == 18
    assert splits.class_name(0) == "Katze"


def test_delimiter_and_unlabelled_images_of_a_config(listed):
    lines = [line.replace(" ", ";") for line in (listed / "train_list.txt").read_text().splitlines()]
    (listed / "semicolons.txt").write_text("\n".join(lines[:8]))
    (listed / "more.txt").write_text("train/dog/4.jpg\n")
    train = f"cls_label_path: {listed}/semicolons.txt, delimiter: ';', unlabelled: {listed}/more.txt"
    with pytest.raises(ConfigError, match="unlabelled"):  # which only a distillation may have
        read(listed, train, f"cls_label_path: {listed}/val_list.txt")
    splits = read(listed, train.split(", unlabelled")[0], f"cls_label_path: {listed}/val_list.txt")
    assert splits.parts[0].delimiter == ";"
    assert splits.labels.tolist() == [0] * 6 + [1] * 2 + [0] * 3 + [1] * 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "train.txt").write_text("a.jpg 0\n"), "are both lists of train"),
        (
            lambda folder: (folder / "val_list.txt").write_text("elsewhere/a.jpg 0\n"),
            "none of its images is in",
        ),
        (lambda folder: (folder / "val_list.txt").write_text("val/cat/0.jpg cat\n"), "is not a whole number"),
    ],
)
def test_what_is_no_data_set_is_refused(listed, change, message):
    change(listed)
    with pytest.raises(DataError, match=message):
        splits_of_folder(str(listed))


def test_a_file_is_no_folder(listed):
    with pytest.raises(DataError, match="is not a folder"):
        splits_of_folder(str(listed / "train_list.txt"))


def test_cifar_has_content_in_the_place_of_files():
    from ppcls_light.check.splits import Split, Splits
    from ppcls_light.data.cifar import CifarImages

    pixels = np.arange(2 * 3072, dtype=np.uint64).astype(np.uint8).reshape(2, 3072)
    splits = Splits([Split("Train", CifarImages("cifar", pixels, [1, 0], ["a", "b"]))], None)
    assert splits.source(1).startswith(b"P6 32 32 255\n")
    assert splits.source(1)[13:16] == bytes([pixels[1, 0], pixels[1, 1024], pixels[1, 2048]])


def test_label_that_no_network_could_have_is_refused_before_a_table_of_so_many_classes(listed):
    with open(listed / "val_list.txt", "a") as file:
        file.write("val/dog/0.jpg 100000000000\n")
    with pytest.raises(DataError, match=r"val_list.txt: val/dog/0.jpg has label 100000000000; correct it"):
        splits_of_folder(str(listed))
