"""Report of tags against scikit-learn, cleanlab and counting."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from sklearn import metrics

from ppcls_light.data.dataset import ImageDataset
from ppcls_light.data.tags import TaggedImages
from ppcls_light.data.transforms.compose import build_transforms
from ppcls_light.report.pictures import Pictures
from ppcls_light.report.tag_evaluation import TagEvaluation
from ppcls_light.report.tag_folder import write_tag_report

NAMES = ["long", "top", "<b>hat</b>", "never", "日本 $x$"]
COUNT = 80


def tagged(folder, labels):
    for index in range(len(labels)):
        Image.fromarray(np.full((12, 16, 3), 3 * index, np.uint8)).save(folder / f"{index}.png")
    return TaggedImages(folder, [b"%d.png" % index for index in range(len(labels))], labels)


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    """80 images of 5 tags, one of which no image has, and one of which is not known of some."""
    rng = np.random.RandomState(0)  # whose numbers never change
    labels = (rng.random_sample((COUNT, 5)) < [0.5, 0.7, 0.2, 0, 0.4]).astype(np.int8)
    labels[rng.random_sample(COUNT) < 0.3, 4] = -1
    probabilities = np.clip(rng.normal(0.3 + 0.4 * (labels == 1), 0.2), 0, 1).astype(np.float32)
    images = tagged(tmp_path_factory.mktemp("photos"), labels)
    return TagEvaluation(images, probabilities, np.array([0.5, 0.4, 0.6, 0.5, 0.5]), NAMES)


@pytest.fixture(scope="module")
def report(evaluation, tmp_path_factory):
    dataset = ImageDataset(
        evaluation.images, build_transforms([("DecodeImage", {}), ("NormalizeImage", {"order": ""})])
    )
    folder = tmp_path_factory.mktemp("report") / "new"
    history = [{"split": "eval", "epoch": 1, "step": 1, "values": {"loss": 1.0, "mAP": 0.5}}]
    summary = write_tag_report(folder, evaluation, {"model": {"network": "Net"}}, Pictures(dataset), history)
    return folder, summary


def read(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_numbers_of_tags_are_scikit_learn_s(report, evaluation):
    folder, _ = report
    for tag, row in enumerate(read(folder / "per_tag.csv")):
        known = evaluation.labels[:, tag] >= 0
        has, score = evaluation.labels[known, tag] == 1, evaluation.probabilities[known, tag]
        said = score >= np.float32(evaluation.thresholds[tag])
        assert row["tag_name"] == NAMES[tag]
        assert [int(row[name]) for name in ("with", "without", "unknown")] == [
            has.sum(),
            (~has).sum(),
            (~known).sum(),
        ]
        if not has.any():
            assert row["recall"] == row["average_precision"] == row["auc"] == ""
            continue
        precision, recall, f1, _ = metrics.precision_recall_fscore_support(has, said, average="binary")
        theirs = (
            precision,
            recall,
            f1,
            metrics.average_precision_score(has, score),
            metrics.roc_auc_score(has, score),
        )
        ours = [float(row[name]) for name in ("precision", "recall", "f1", "average_precision", "auc")]
        assert ours == pytest.approx(theirs, abs=1e-5)


def test_means_are_over_all_answers_and_over_tags(report, evaluation):
    folder, summary = report
    known = evaluation.labels >= 0
    has, said = evaluation.labels == 1, evaluation.probabilities >= evaluation.thresholds.astype(np.float32)
    assert summary["micro_f1"] == pytest.approx(metrics.f1_score(has[known], said[known]))
    with_images = [0, 1, 2, 4]
    f1 = [metrics.f1_score(has[known[:, tag], tag], said[known[:, tag], tag]) for tag in with_images]
    never = evaluation.outcomes[3]
    assert np.isnan(never.tpr)
    assert summary["macro_f1"] == pytest.approx(np.mean([*f1, 0.0] if never.false_alarms else f1))
    average = [
        metrics.average_precision_score(has[known[:, tag], tag], evaluation.probabilities[known[:, tag], tag])
        for tag in with_images
    ]
    assert summary["mAP"] == pytest.approx(np.mean(average))
    assert summary["images"] == COUNT
    assert json.loads((folder / "summary.json").read_text()) == pytest.approx(summary)


def test_cooccurrence_and_mistakes_are_counted(report, evaluation):
    folder, _ = report
    rows = read(folder / "cooccurrence.csv")
    for row, one in zip(rows, range(5)):
        both = [
            ((evaluation.labels[:, one] == 1) & (evaluation.labels[:, other] == 1)).sum()
            for other in range(5)
        ]
        assert [int(row[name]) for name in NAMES] == both
    assert Image.open(folder / "cooccurrence.png").width > 400
    mistakes = read(folder / "mistakes.csv")
    sureness = [abs(float(row["score"]) - int(row["label"])) for row in mistakes]
    assert sureness == sorted(sureness, reverse=True)
    wrong = (evaluation.labels >= 0) & (evaluation.said != (evaluation.labels == 1))
    assert len(mistakes) == wrong.sum()
    assert {(row["file"].split("/")[-1], int(row["tag_id"])) for row in mistakes} == {
        (f"{image}.png", tag) for image, tag in zip(*np.nonzero(wrong))
    }


def test_suspected_labels_are_cleanlabs(evaluation):
    """Of cleanlab 2.9.0, multilabel_classification.filter.find_multilabel_issues_per_class(filter_by="both")."""
    theirs = [[38, 57, 61], [2, 3, 11, 12, 18, 36, 48, 61, 64, 72, 75], []]
    assert [sorted(evaluation.suspects.of(tag).tolist()) for tag in range(3)] == theirs


def test_the_page_speaks_of_tags(report):
    folder, _ = report
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "<h2>Surest mistakes</h2>" in page
    assert "&lt;b&gt;hat&lt;/b&gt;" in page
    assert "<b>hat</b>" not in page
    assert page.count('src="data:image/jpeg') > 10
    for word in ("confusion", "top-1", "top1", "taken for", "accuracy of"):
        assert word not in page


def test_a_report_of_classes_makes_room(report, evaluation, tmp_path):
    (tmp_path / "per_class.csv").write_text("of another evaluation")
    write_tag_report(tmp_path, evaluation)
    assert (tmp_path / "previous_1" / "per_class.csv").exists()
    assert not (tmp_path / "per_class.csv").exists()
