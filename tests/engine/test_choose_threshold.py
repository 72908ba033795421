"""Choice of thresholds: what is chosen, refused and written, on scores whose outcome is counted by hand."""

import json
import logging

import numpy as np
import pytest

from ppcls_light.base.operating_points import read_rule
from ppcls_light.bundle.chosen import Chosen, read_chosen, write_chosen
from ppcls_light.engine.choose_threshold import choose_threshold
from ppcls_light.errors import ConfigError, DataError

SCORES = np.array([0.9, 0.8, 0.8, 0.4, 0.8, 0.5, 0.2, 0.2, 0.1], np.float32)
LABELS = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0])
TWO_CLASSES = np.stack([1 - SCORES, SCORES], axis=1)


def choose(rule, probabilities=TWO_CLASSES, labels=LABELS, names=("others", "shoes")):
    return choose_threshold(read_rule(rule), probabilities, labels, names, "7f39d2")


def test_of_two_classes_it_is_that_of_class_1(caplog):
    with caplog.at_level(logging.INFO):
        chosen = choose("tpr@fpr=0.2")
    assert chosen.threshold == pytest.approx(0.65)
    assert chosen.measured == [
        {"positives": 4, "negatives": 5, "tpr": 0.75, "fpr": 0.2, "precision": 0.75, "f1": 0.75}
    ]
    assert (
        "threshold of shoes by tpr@fpr=0.2: 0.65: finds 3 of 4 positive images (tpr, recall 75.00 %) and takes 1 of 5 "
        "negative ones for positive (fpr 20.00 %); precision 75.00 %, F1 75.00 %"
    ) in caplog.text


def test_each_tag_has_its_own_and_what_is_not_known_does_not_count():
    probabilities = np.stack([SCORES, 1 - SCORES, SCORES], axis=1)
    labels = np.stack([LABELS, LABELS, LABELS], axis=1)
    labels[4, 2] = -1  # without the negative image of 0.8
    chosen = choose("f1", probabilities, labels, ("top", "long", "red"))
    assert chosen.threshold == pytest.approx([0.3, 0.05, 0.3])
    assert [found["negatives"] for found in chosen.measured] == [5, 5, 4]
    assert [chosen.measured[tag]["f1"] for tag in (0, 2)] == [0.8, 0.88889]


@pytest.mark.parametrize(
    ("rule", "labels", "message"),
    [
        ("f1", LABELS * 0, r"images with and without shoes \(0 with, 9 without\); add some"),
        ("f1", LABELS * 0 + 1, r"images with and without shoes \(9 with, 0 without\); add some"),
        (
            "tpr@fpr=0.001",
            LABELS,
            r"of 5 negative images of shoes that is none: .* 1,000 or more; .*tpr@fpr=0\.2$",
        ),
        (
            "tpr@fpr=0.4",
            1 - LABELS,
            "the first positive image comes with a false positive rate of 0.75; give another",
        ),
        (
            "precision=0.99",
            1 - LABELS,
            r"no threshold of shoes keeps it .*: the highest precision is 0.556; ",
        ),
    ],
)
def test_images_that_give_no_threshold_are_refused(rule, labels, message):
    with pytest.raises(DataError, match=message):
        choose(rule, labels=labels)


def test_a_tag_that_is_known_of_no_image_is_named():
    labels = np.stack([LABELS, np.full(9, -1)], axis=1)
    with pytest.raises(DataError, match=r"with and without long \(0 with, 0 without\); add some"):
        choose("f1", np.stack([SCORES, SCORES], axis=1), labels, ("top", "long"))


def test_the_file_reads_back_as_it_was(tmp_path):
    for chosen in (choose("f1"), choose("f1", np.stack([SCORES] * 2, 1), np.stack([LABELS] * 2, 1))):
        write_chosen(tmp_path / "best_model.threshold.json", chosen)
        assert read_chosen(tmp_path / "best_model.threshold.json") == chosen
    assert read_chosen(tmp_path / "other.threshold.json") is None


def test_a_file_of_something_else_is_named_with_its_line(tmp_path):
    path = tmp_path / "best_model.threshold.json"
    content = {"rule": "f1", "threshold": [0.5, 0.5], "measured": [{"tpr": 1.0}], "weights": "7f39d2"}
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=r"best_model.threshold.json.*measured: 1 entries for 2 thresholds"):
        read_chosen(path)
    path.write_text(json.dumps({**content, "threshold": 1.5}, indent=2))
    with pytest.raises(ConfigError, match=r"best_model.threshold.json:3: threshold"):
        read_chosen(path)
    assert Chosen("f1", 1.0, [{}], "").thresholds == [1.0]
