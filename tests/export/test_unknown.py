"""Temperature, thresholds and what they do, against scipy and plain loops."""

import numpy as np
import pytest

from ppcls_light import jobs
from ppcls_light.config import load_config
from ppcls_light.errors import ConfigError, DataError
from ppcls_light.export.unknown import (
    MOST,
    UnknownFit,
    drawn,
    fit_unknown,
    measured,
    temperature,
    thresholds,
)
from ppcls_light.models import create_model
from ppcls_light.weights import write_weights

optimize = pytest.importorskip("scipy.optimize", reason="needs scipy, which scikit-learn brings")
special = pytest.importorskip("scipy.special")

RNG = np.random.default_rng(0)
CLASSES = 4


def answers(count, sharpness):
    """Return probabilities `sharpness` times too sure (N, K), and labels drawn from the right ones."""
    logits = RNG.normal(0, 1.5, (count, CLASSES))
    right = special.softmax(logits, axis=1)
    labels = np.array([RNG.choice(CLASSES, p=row) for row in right])
    return special.softmax(sharpness * logits, axis=1).astype("float32"), labels


def ece(probs, labels, bins=15):
    """Return the expected calibration error of Guo et al., equation 3, by a plain loop."""
    confidence, right = probs.max(axis=1), probs.argmax(axis=1) == labels
    error = 0.0
    for low in np.arange(bins) / bins:
        inside = (confidence > low) & (confidence <= low + 1 / bins)
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return error


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 4.0])
def test_the_temperature_is_that_of_the_least_log_loss(sharpness):
    probs, labels = answers(3000, sharpness)
    logits = np.log(probs.astype("float64"))

    def loss(value):
        return -special.log_softmax(logits / value, axis=1)[np.arange(len(labels)), labels].mean()

    expected = optimize.minimize_scalar(loss, bounds=(0.2, 20), method="bounded").x
    assert temperature(probs, labels) == pytest.approx(expected, rel=1e-3)
    assert temperature(probs, labels) == pytest.approx(sharpness, rel=0.1)


def test_a_share_of_the_images_stays_known():
    probs, _ = answers(1000, 1.0)
    best, scores = probs.argmax(axis=1), RNG.normal(size=1000)
    scores[best == 2] += 5
    (common,) = thresholds(scores, probs, 0.9, by_class=False)
    assert (scores <= common).mean() == 0.9
    own = np.array(thresholds(scores, probs, 0.9, by_class=True))
    for label in range(CLASSES):
        share = (scores[best == label] <= own[label]).mean()
        assert 0.9 <= share < 0.9 + 1 / (best == label).sum()
    assert own[2] > common > own[0]
    few = thresholds(scores[:12], probs[:12], 0.9, by_class=True)  # a class of ten would have one image out
    assert few == [thresholds(scores[:12], probs[:12], 0.9, False)[0]] * CLASSES


def test_the_measured_numbers_are_of_halves_that_the_fit_did_not_see():
    probs, labels = answers(4000, 4.0)
    scores = -probs.max(axis=1)
    wanted = UnknownFit("energy", 0.8, False, [], labels)
    found = measured(probs, scores, labels, wanted)
    right = probs.argmax(axis=1) == labels
    assert found["images"] == 4000
    assert found["ece_before"] == pytest.approx(ece(probs, labels), abs=1e-4)
    cooled = special.softmax(np.log(probs.astype("float64")) / temperature(probs, labels), axis=1)
    assert found["ece_after"] == pytest.approx(ece(cooled, labels), abs=0.01)
    assert found["ece_after"] < 0.1 * found["ece_before"]
    assert found["known"] == pytest.approx(0.8, abs=0.02)
    assert found["top1"] == pytest.approx(right.mean(), abs=1e-5)
    sure = np.argsort(scores)[:3200]
    assert found["top1_of_known"] == pytest.approx(right[sure].mean(), abs=0.01)


def test_of_many_images_some_are_drawn_with_their_labels():
    paths = [str(place) for place in range(MOST + 1000)]
    chosen, labels = drawn(paths, np.arange(len(paths)))
    assert chosen == [str(label) for label in labels]
    assert len(set(chosen)) == MOST
    assert chosen == sorted(chosen, key=int)
    assert drawn(paths[:30], np.arange(30))[0] == paths[:30]


def test_the_job_reads_the_images_of_the_config(config_file, tmp_path):
    model = create_model("PPLCNet_x0_25", class_num=3, stride_list=[1, 2, 2, 2, 2])
    write_weights(tmp_path / "w.pdparams", model.state_dict())
    options = ["Global.unknown=energy", f"Global.pretrained_model={tmp_path}/w"]
    with pytest.raises(DataError, match=r"Global\.unknown: 11 images of DataLoader\.Eval are too few"):
        jobs.export(load_config(config_file, options))
    missing = f"DataLoader.Train.dataset.image_root={tmp_path}/no"
    with pytest.raises(
        ConfigError, match=r"unknown: the distance is to its .* DataLoader\.Train\.dataset has"
    ):
        jobs.export(load_config(config_file, ["Global.unknown=distance", *options[1:], missing]))
    assert not (tmp_path / "inference").exists()
    for alone in ("Global.unknown_coverage=0.9", "Global.unknown_by_class=true"):
        with pytest.raises(ConfigError, match=r"are about unknown; add unknown: energy, or leave them out"):
            load_config(config_file, [alone])
    with pytest.raises(ConfigError, match="int8 answers differ from those that unknown is fitted on"):
        load_config(config_file, ["Global.unknown=energy", "Global.export_precision=int8"])


def test_a_fit_on_images_that_were_learned_is_a_warning(config_file, tmp_path, capsys):
    model = create_model("PPLCNet_x0_25", class_num=3, stride_list=[1, 2, 2, 2, 2])
    write_weights(tmp_path / "w.pdparams", model.state_dict())
    places = [
        f"{split}.dataset.{key}" for split in ("Train", "Eval") for key in ("image_root", "cls_label_path")
    ]
    learned = [f"DataLoader.{place}={tmp_path}/no" for place in places]
    options = ["Global.unknown=energy", f"Global.pretrained_model={tmp_path}/w"]
    with pytest.raises(ConfigError, match=r"its thresholds are fitted on labelled image files"):
        jobs.export(load_config(config_file, [*options, *learned]))
    assert "DataLoader.Eval has the images of DataLoader.Train" in capsys.readouterr().out


def test_too_few_images_are_one_line(monkeypatch):
    probs, labels = answers(19, 1.0)
    found = {"probs": probs, "logits": np.log(probs)}
    monkeypatch.setattr("ppcls_light.export.unknown.served_probs", lambda folder, paths: found)
    with pytest.raises(DataError, match=r"^Global\.unknown: 19 images of DataLoader\.Eval are too few"):
        fit_unknown("folder", UnknownFit("energy", 0.9, False, ["a"] * 19, labels))
    found["embedding"] = probs
    with pytest.raises(DataError, match=r"distance is to images of DataLoader\.Train, of which 3 are here"):
        fit_unknown("folder", UnknownFit("distance", 0.9, False, ["a"] * 19, labels, ["b"] * 3))
