"""Top-1 change by hand, and images that never both calibrate and score."""

import math

import numpy as np
import pytest
from PIL import Image

from ppcls_light.data import ImageList
from ppcls_light.errors import ConfigError, DataError, ExportError
from ppcls_light.export import export_model
from ppcls_light.export.accuracy import AccuracyGate, Labelled, Score, part, top1
from tests.prediction.conftest import OPS, Colours, picture


def image_list(count, start=0, root="/photos"):
    return ImageList(
        root, [f"{index}.jpg".encode() for index in range(start, start + count)], np.arange(count) % 3
    )


def test_the_change_is_counted_in_percentage_points():
    labels = np.array([0, 1, 2, 0, 1])
    right = np.eye(3, dtype="float32")[labels]
    worse = right.copy()
    worse[3] = [0.1, 0.2, 0.7]  # wrong
    worse[4] = [np.nan, 0.9, 0.1]  # an answer with NaN is no answer, whatever is the largest of the rest
    fp32 = right.copy()
    fp32[0] = [0.0, 1.0, 0.0]
    scores = top1(labels, fp32), top1(labels, worse)
    assert scores == (pytest.approx(80.0), pytest.approx(60.0))
    words = AccuracyGate(Labelled([], ["image"] * 5, labels), 20).check(
        *(Score(top1, None) for top1 in scores)
    )
    assert words == "top-1 60.00 % (-20.00 percentage points; 80.00 % in fp32) on 5 images"


@pytest.mark.parametrize(
    ("fp32", "other", "max_drop", "passes"),
    [(99.0, 98.0, 1.0, True), (99.0, 97.9, 1.0, False), (90.0, 95.0, 0.0, True), (50.0, 50.0, 0.0, True)],
)
def test_a_drop_passes_up_to_the_bound(fp32, other, max_drop, passes):
    gate = AccuracyGate(part(image_list(40), 20), max_drop)
    fp32, other = Score(fp32, None), Score(other, None)
    if passes:
        gate.check(fp32, other)
    else:
        with pytest.raises(
            ExportError,
            match=r"^top-1 97\.90 % \(-1\.10 percentage points; .* on 20 images; --max-drop allows 1$",
        ):
            gate.check(fp32, other)


def test_embeddings_of_another_direction_are_refused():
    gate = AccuracyGate(Labelled([], ["image"] * 2, np.array([0, 1])))
    fp32 = Score(50.0, np.float32([[3, 4], [0, 2]]))
    near = Score(50.0, np.float32([[8, 6], [0, 7]]))  # cosines (24 + 24) / (5 x 10) and 1
    assert gate.check(fp32, near).endswith(" on 2 images, embeddings of cosine 0.9800 with fp32's")
    for other in ([[-4, 3], [0, 7]], [[3, 4], [0, np.nan]], [[0, 0], [0, 0]]):
        with pytest.raises(
            ExportError, match=r"below 0\.9 they are others: export without Global\.embedding"
        ):
            gate.check(fp32, Score(50.0, np.float32(other)))


@pytest.mark.parametrize("points", [-0.5, 101, math.nan])
def test_a_bound_that_bounds_nothing_is_refused(points):
    with pytest.raises(ConfigError, match=r"max-drop.*0 to 100"):
        AccuracyGate(part(image_list(40), 20), points)


def test_no_image_both_calibrates_and_scores():
    images = image_list(100)
    parted = part(images, 30)
    assert len(parted.calibration) == 30
    assert len(parted.scored) == 70
    assert {*parted.calibration, *parted.scored} == {images.path(index) for index in range(100)}
    for path, label in zip(parted.scored, parted.labels):
        assert int(path.split("/")[-1][:-4]) % 3 == label
    # Sorted and alternating lists alike give every class.
    assert {int(path.split("/")[-1][:-4]) % 3 for path in parted.calibration} == {0, 1, 2}
    assert part(images, 30).calibration == parted.calibration
    assert len(part(images, 90).calibration) == 50


def test_training_images_that_are_in_the_evaluation_too_do_not_score():
    evaluation, training = image_list(40, start=80), image_list(100)
    parted = part(evaluation, 60, training)
    assert len(parted.calibration) == 60
    assert not set(parted.calibration) & set(parted.scored)
    assert (
        len(parted.scored)
        == sum(evaluation.path(index) not in parted.calibration for index in range(40))
        < 40
    )


def test_too_few_images_are_refused():
    with pytest.raises(
        DataError, match=r"15 images to calibrate int8 with and 16 others .* 16 are left for each"
    ):
        part(image_list(31), 256)
    assert len(part(image_list(32), 256).scored) == 16


def test_top1_is_that_of_the_engines_own_answers(tmp_path):
    """On pictures whose best class is known, with one wrong label of sixteen."""
    folder, labels, paths = tmp_path / "inference", np.arange(16) % 3, []
    export_model(Colours(), folder, (3, 32, 32), OPS)
    for index, channel in enumerate(labels):
        paths.append(str(tmp_path / f"{index}.png"))
        Image.fromarray(picture(channel, index)).save(paths[-1])
    labels[5] = 0
    gate = AccuracyGate(Labelled([], paths, labels), 1.0)
    assert gate.score(folder, "paddle", "fp32") == (93.75, None)


def test_a_broken_image_is_told_as_that_and_not_as_the_engines_failure(tmp_path):
    folder = export_model(Colours(), tmp_path / "inference", (3, 32, 32), OPS).folder
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    gate = AccuracyGate(Labelled([], [str(tmp_path / "broken.jpg")], np.array([0])))
    with pytest.raises(DataError, match=rf"^{tmp_path}/broken\.jpg: not an image"):
        gate.score(folder, "paddle", "fp32")
