"""Images without labels in a training with a teacher."""

import shutil

import numpy as np
import paddle
import pytest

from ppcls_light.config import load_config
from ppcls_light.data.image_list import ImageList
from ppcls_light.engine.distributed import Runtime
from ppcls_light.engine.losses import cross_entropy
from ppcls_light.engine.metrics import TopkAccuracy
from ppcls_light.engine.trainer import Trainer
from ppcls_light.errors import ConfigError, DataError

KEY = "DataLoader.Train.dataset.unlabelled"
MUTUAL = (
    "Loss.Train=[{CELoss: {weight: 1.0}}, "
    "{DistillationKLDivLoss: {weight: 1.0, model_name_pairs: [[Student, Teacher]]}}]"
)
ARCH = (
    "Arch={name: DistillationModel, class_num: 3, models: ["
    "{Teacher: {name: PPLCNet_x0_25, class_num: 3, stride_list: [1, 2, 2, 2, 2]}},"
    "{Student: {name: PPLCNet_x0_25, class_num: 3, stride_list: [1, 2, 2, 2, 2]}}]}"
)


@pytest.fixture
def further(photos):
    """A folder of 7 photos that are in no list."""
    folder = photos.parent / "further" / "deeper"
    folder.mkdir(parents=True)
    for index in range(7):
        data = (photos / f"train/{index:02d}.png").read_bytes()
        (folder / f"{index}.png").write_bytes(data + b"\0")  # another file, the same picture
    return folder.parent


def test_they_are_read_with_the_others_and_counted(config_file, further, caplog):
    with caplog.at_level("INFO", logger="ppcls_light"):
        trainer = Trainer(load_config(config_file, [ARCH, MUTUAL, f"{KEY}={further}"]), Runtime("cpu"))
    assert "DataLoader.Train: 26 images with labels and 7 without" in caplog.text
    seen = [
        (index, label)
        for batch in trainer.reader.loader.epoch(0)
        for index, label in zip(batch.indices.tolist(), batch.labels.tolist())
    ]
    assert len(seen) == 32  # of 33, in batches of 4
    assert all((label == -1) == (index >= 26) for index, label in seen)
    trainer.train_epoch(_Never())
    assert trainer.position.step == 8


class _Never:
    def reached(self, runtime):
        return False


def test_a_list_of_paths_will_do_and_missing_ones_are_named(config_file, photos, further):
    path = photos / "more.txt"
    shutil.copytree(further, photos / "further")
    path.write_text("further/deeper/0.png\nfurther/deeper/1.png\n")
    trainer = Trainer(load_config(config_file, [ARCH, MUTUAL, f"{KEY}={path}"]), Runtime("cpu"))
    assert trainer.reader.images.labels[-2:].tolist() == [-1, -1]
    path.write_text("\n")
    with pytest.raises(DataError, match="the list is empty; write one path per line"):
        Trainer(load_config(config_file, [ARCH, MUTUAL, f"{KEY}={path}"]), Runtime("cpu"))
    path.write_text("further/deeper/9.png\n")
    with pytest.raises(DataError, match=rf"{KEY}: .*more\.txt:1: there is no image"):
        Trainer(load_config(config_file, [ARCH, MUTUAL, f"{KEY}={path}"]), Runtime("cpu"))
    with pytest.raises(DataError, match="nowhere: no such folder of images, or list"):
        Trainer(load_config(config_file, [ARCH, MUTUAL, f"{KEY}={photos}/nowhere"]), Runtime("cpu"))


def test_photos_of_the_evaluation_are_refused_under_any_name(config_file, photos, further):
    shutil.copy(photos / "val/03.png", further / "holiday.png")
    with pytest.raises(DataError, match=r"1 of the images are those of DataLoader\.Eval.*holiday\.png"):
        Trainer(load_config(config_file, [ARCH, MUTUAL, f"{KEY}={further}"]), Runtime("cpu"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("Loss.Train=[{CELoss: {weight: 1.0}}]", r"no loss of Loss\.Train learns without labels"),
        ("DataLoader.Train.sampler.balanced=true", r"sampler\.balanced needs a label"),
        (
            "DataLoader.Train.dataset.batch_transform_ops=[{MixupOperator: {alpha: 0.2}}]",
            "batch_transform_ops mix labels",
        ),
        (
            "DataLoader.Eval.dataset.unlabelled=.",
            r"DataLoader\.Eval\.dataset\.unlabelled: an evaluation needs",
        ),
    ],
)
def test_contradictions_are_said(config_file, override, message):
    with pytest.raises(ConfigError, match=message):
        load_config(config_file, [ARCH, MUTUAL, f"{KEY}=.", override])


@pytest.mark.parametrize("options", [{}, {"epsilon": 0.1}, {"class_weights": [1.0, 2.0, 0.5]}])
def test_the_cross_entropy_of_an_image_without_a_label_is_0(options):
    logits = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    labels = np.array([2, -1, 0, -1, 1])
    known = labels >= 0
    given = paddle.to_tensor(logits, stop_gradient=False)
    loss = cross_entropy(given, paddle.to_tensor(labels), **options)
    alone = cross_entropy(paddle.to_tensor(logits[known]), paddle.to_tensor(labels[known]), **options)
    assert float(loss) == pytest.approx(float(alone) * 3 / 5, rel=1e-6)
    loss.backward()
    np.testing.assert_array_equal(given.grad.numpy()[~known], 0)
    assert (given.grad.numpy()[known] != 0).all()


def test_accuracy_counts_labelled_images_alone():
    metric = TopkAccuracy([1])
    logits = paddle.to_tensor(np.eye(3, dtype="float32"))
    metric.update(logits, paddle.to_tensor(np.array([0, -1, 1])))
    metric.update(logits, paddle.to_tensor(np.array([-1, -1, -1])))
    assert metric.totals().tolist() == [2, 1]


def test_joined_lists_keep_the_folders_of_the_labelled(tmp_path):
    images = ImageList(tmp_path, [b"cat/a.jpg", b"dog/b.jpg"], [0, 1]).joined(
        [f"{tmp_path}/x/c.jpg", "d.jpg"]
    )
    assert images.labels.tolist() == [0, 1, -1, -1]
    assert images.known_labels.tolist() == [0, 1]
    assert images.folder_counts() == {("cat", 0): 1, ("dog", 1): 1}
    assert images.path(0) == f"{tmp_path}/cat/a.jpg"
    assert images.path(2) == f"{tmp_path}/x/c.jpg"
