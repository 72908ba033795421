"""Numbers by class against scikit-learn, and the picture of the confusion matrix."""

import numpy as np
import pytest
from sklearn import metrics

from ppcls_light.base.figures import new_figure, save_figure
from ppcls_light.report.classes import class_scores, confusion_matrix, draw_confusion


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


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_means_are_scikit_learns():
    labels, probabilities = evaluation(10, 200)
    predicted = probabilities.argmax(axis=1)
    macro = class_scores(confusion_matrix(labels, predicted, 10)).macro
    options = {"labels": np.arange(10), "average": "macro", "zero_division": np.nan}
    theirs = metrics.precision_recall_fscore_support(labels, predicted, **options)
    assert [macro[name] for name in ("precision", "recall", "f1")] == pytest.approx(theirs[:3])
    assert macro["recall"] == pytest.approx(metrics.balanced_accuracy_score(labels, predicted))
    assert 1 not in labels
    assert 2 not in predicted


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
