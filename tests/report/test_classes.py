"""Numbers by class against scikit-learn, and what is written of them."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from sklearn import metrics

from ppcls_light.base.figures import new_figure, save_figure
from ppcls_light.data import read_image_list
from ppcls_light.report.classes import class_scores, confusion_matrix, draw_confusion, write_report


def evaluation(class_num, count, seed=0):
    """Return labels and probabilities of an evaluation in which class 1 has no images and class 2 is never found."""
    rng = np.random.default_rng(seed)
    labels = rng.choice([label for label in range(class_num) if label != 1], count)
    probabilities = rng.random((count, class_num)) + 0.7 * np.eye(class_num)[labels]
    probabilities[:, 2] = 0
    return labels, probabilities / probabilities.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("class_num", [3, 10, 57])
def test_the_numbers_are_scikit_learns(class_num):
    labels, probabilities = evaluation(class_num, 500)
    predicted = probabilities.argmax(axis=1)
    confusion = confusion_matrix(labels, predicted, class_num)
    every = np.arange(class_num)
    assert np.array_equal(confusion, metrics.confusion_matrix(labels, predicted, labels=every))
    theirs = metrics.precision_recall_fscore_support(labels, predicted, labels=every, zero_division=np.nan)
    scores = class_scores(confusion)
    assert np.array_equal(scores.support, theirs[3])
    # Without images but with predictions its F1 is 0 here and there; precision and recall are undefined alike.
    for own, other in zip(scores[:3], theirs[:3]):
        np.testing.assert_allclose(own, other, rtol=1e-12)


def read(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_a_report_has_every_file(tmp_path):
    labels, probabilities = evaluation(4, 60)
    predicted = probabilities.argmax(axis=1)
    lines = "".join(f"{index},a.png {label}\n" for index, label in enumerate(labels))
    (tmp_path / "list.txt").write_text(lines)
    images = read_image_list(tmp_path / "list.txt", "photos", class_num=4, check_files=False)
    names = ["plain", "a,b", 'quo"te', "日本 $x$"]
    summary = write_report(tmp_path / "new", images, probabilities, predicted, names)
    assert summary == json.loads((tmp_path / "new/summary.json").read_text())
    assert summary["images"] == 60
    assert summary["accuracy"] == pytest.approx(metrics.accuracy_score(labels, predicted))
    present = [0, 2, 3]
    assert summary["macro_recall"] == pytest.approx(
        metrics.recall_score(labels, predicted, labels=present, average="macro")
    )

    header, *rows = read(tmp_path / "new/per_class.csv")
    assert header == ["class_id", "class_name", "precision", "recall", "f1", "support"]
    assert [row[1] for row in rows] == names
    assert rows[1][3] == ""  # no image of the class
    assert rows[2][2:4] == ["", "0.00000"]  # never predicted
    assert sum(int(row[5]) for row in rows) == 60

    header, *rows = read(tmp_path / "new/confusion_matrix.csv")
    assert header == ["label", *names]
    assert np.array_equal([row[1:] for row in rows], confusion_matrix(labels, predicted, 4).astype(str))

    header, *rows = read(tmp_path / "new/mistakes.csv")
    assert len(rows) == np.count_nonzero(labels != predicted)
    scores = [float(row[5]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    file, label, label_name, taken_for, taken_name, score, label_score = rows[0]
    index = int(file.split("/")[1].split(",")[0])
    assert (labels[index], predicted[index]) == (int(label), int(taken_for))
    assert (names[int(label)], names[int(taken_for)]) == (label_name, taken_name)
    assert float(score) == pytest.approx(probabilities[index].max(), abs=1e-5)
    assert float(label_score) == pytest.approx(probabilities[index, int(label)], abs=1e-5)

    def files(folder):
        return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".csv", ".json")}

    first = files(tmp_path / "new")
    write_report(tmp_path / "new", images, probabilities, predicted, names)
    assert not (tmp_path / "new/previous_1").exists()
    write_report(tmp_path / "new", images, probabilities, np.roll(predicted, 1), names)
    assert files(tmp_path / "new/previous_1") == first
    assert files(tmp_path / "new")["summary.json"] != first["summary.json"]

    assert Image.open(tmp_path / "new/confusion_matrix.png").width > 500
    assert "<svg" in (tmp_path / "new/confusion_matrix.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize("class_num", [2, 10, 60, 1000])
def test_a_picture_of_any_number_of_classes_shows_what_can_be_read(class_num):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, class_num, 5 * class_num)
    confusion = confusion_matrix(labels, np.roll(labels, 1), class_num)
    figure = draw_confusion(confusion, [f"name {label}" for label in range(class_num)])
    matrix = figure.axes[0]
    ticks = [text.get_text() for text in matrix.get_yticklabels()]
    assert ("name 1" in ticks) == (class_num <= 100)
    counts = [int(text.get_text()) for text in matrix.texts]
    assert sum(counts) == (confusion.sum() if class_num <= 30 else 0)
    assert matrix.images[0].get_array().shape[0] <= 250  # cells of several pixels, or none could be seen
    if class_num > 30:
        pairs = figure.axes[1]
        longest = pairs.patches[0].get_width()
        assert longest == (confusion - np.diag(confusion.diagonal())).max()


def test_the_suffix_of_a_picture_is_one_of_two(tmp_path):
    figure = new_figure(1, 1)
    for given in ("x.png", "x.svg", "x"):
        assert save_figure(figure, tmp_path / given) == [f"{tmp_path}/x.png", f"{tmp_path}/x.svg"]
    assert save_figure(figure, tmp_path / "v1.5")[0] == f"{tmp_path}/v1.5.png"
