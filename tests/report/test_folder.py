"""Files of an evaluation's report: their numbers, and the page."""

import csv
import json
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from sklearn import metrics

from ppcls_light.data.dataset import ImageDataset
from ppcls_light.data.image_list import ImageList, read_image_list
from ppcls_light.data.transforms.compose import build_transforms
from ppcls_light.report.classes import confusion_matrix
from ppcls_light.report.evaluation import Evaluation
from ppcls_light.report.folder import write_report
from ppcls_light.report.label_next import NextToLabel
from ppcls_light.report.pictures import Pictures

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NAMES = ["plain", "a,b", "<script>alert(1)</script>", "日本 $x$ \"quo'te"]
HOSTILE = '"><img src=x onerror=alert(1)>.png'


def answers(count=60, class_num=4):
    """Return labels and probabilities of an evaluation in which class 1 has no images and class 2 is never found."""
    rng = np.random.default_rng(0)
    labels = rng.choice([label for label in range(class_num) if label != 1], count)
    probabilities = rng.random((count, class_num)) + 0.7 * np.eye(class_num)[labels]
    probabilities[:, 2] = 0
    return labels, probabilities / probabilities.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    """60 images of four classes; files of broken and of hostile names among them."""
    folder = tmp_path_factory.mktemp("photos")
    labels, probabilities = answers()
    colours = np.random.default_rng(1).integers(0, 256, (60, 3), np.uint8)
    for index, colour in enumerate(colours):
        Image.fromarray(np.broadcast_to(colour, (20, 30, 3))).save(folder / f"{index},a.png")
    (folder / "0,a.png").write_bytes(b"no image any more")
    (folder / "1,a.png").rename(folder / HOSTILE)
    lines = "".join(
        f"{HOSTILE if index == 1 else f'{index},a.png'} {label}\n" for index, label in enumerate(labels)
    )
    (folder / "list.txt").write_text(lines)
    images = read_image_list(folder / "list.txt", folder, class_num=4)
    return Evaluation(images, probabilities, probabilities.argmax(axis=1), NAMES)


def read(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


@pytest.fixture(scope="module")
def report(evaluation, tmp_path_factory):
    """The folder of a report with everything, and what write_report returned."""
    dataset = ImageDataset(
        evaluation.images, build_transforms([("DecodeImage", {}), ("NormalizeImage", {"order": ""})])
    )
    maps = []

    def explain(images, classes):
        maps.append((images.shape, classes.tolist()))
        return np.ones((len(images), *images.shape[2:]), np.float32)

    history = [
        {"split": "train", "epoch": 1, "step": 1, "values": {"loss": 1.0, "top1": 0.5}, "lr": 0.1},
        {"split": "eval", "epoch": 1, "step": 1, "values": {"loss": 1.0, "top1": 0.5}},
    ]
    to_label = NextToLabel([evaluation.images.path(5), "gone.png"], evaluation.probabilities[5:7], 9)
    folder = tmp_path_factory.mktemp("report") / "new"
    card = {"data": {"images": 60}, "model": {"network": "<b>Net</b>"}}
    summary = write_report(folder, evaluation, card, Pictures(dataset, explain), history, to_label)
    return folder, summary, maps


def test_the_tables_have_the_numbers(report, evaluation):
    folder, summary, _ = report
    labels, predicted = evaluation.labels, evaluation.predicted
    assert summary == json.loads((folder / "summary.json").read_text())
    assert summary["images"] == 60
    assert summary["accuracy"] == pytest.approx(metrics.accuracy_score(labels, predicted))
    present = [0, 2, 3]
    recall = metrics.recall_score(labels, predicted, labels=present, average="macro")
    assert summary["macro_recall"] == pytest.approx(recall)
    average = [metrics.average_precision_score(labels == k, evaluation.probabilities[:, k]) for k in present]
    assert summary["macro_average_precision"] == pytest.approx(np.mean(average))

    header, *rows = read(folder / "per_class.csv")
    assert header == ["class_id", "class_name", "precision", "recall", "f1", "support"]
    assert [row[1] for row in rows] == NAMES
    assert rows[1][3] == ""  # no image of the class
    assert rows[2][2:4] == ["", "0.00000"]  # never predicted
    assert sum(int(row[5]) for row in rows) == 60
    _, *rows = read(folder / "average_precision.csv")
    assert [row[2] for row in rows] == [f"{average[0]:.5f}", "", *(f"{value:.5f}" for value in average[1:])]

    header, *rows = read(folder / "confusion_matrix.csv")
    assert header == ["label", *NAMES]
    assert np.array_equal([row[1:] for row in rows], confusion_matrix(labels, predicted, 4).astype(str))
    assert Image.open(folder / "confusion_matrix.png").width > 500
    assert "<svg" in (folder / "confusion_matrix.svg").read_text(encoding="utf-8")

    _, *rows = read(folder / "reliability.csv")
    assert sum(int(row[2]) for row in rows) == 60
    gaps = [int(row[2]) * abs(float(row[3]) - float(row[4])) for row in rows if row[3]]
    assert sum(gaps) / 60 == pytest.approx(summary["expected_calibration_error"], abs=1e-4)
    _, *rows = read(folder / "thresholds.csv")
    assert [float(value) for value in rows[0]] == pytest.approx([0, 1, summary["accuracy"]], abs=1e-5)
    assert rows[-1] == ["1.00000", "0.00000", ""]
    assert json.loads((folder / "card.json").read_text())["model"] == {"network": "<b>Net</b>"}
    header, first, gone = read(folder / "label_next.csv")
    best, second = np.sort(evaluation.probabilities[5])[::-1][:2]
    assert float(first[header.index("margin")]) == pytest.approx(best - second, abs=2e-5)
    assert gone[0] == "gone.png"


@pytest.mark.parametrize("name", ["mistakes.csv", "label_errors.csv"])
def test_images_have_their_row(report, evaluation, name):
    header, *rows = read(report[0] / name)
    assert header[:7] == [
        *("file", "label", "label_name", "predicted", "predicted_name", "score", "label_score"),
    ]
    if name == "mistakes.csv":
        assert len(rows) == np.count_nonzero(~evaluation.right)
        scores = [float(row[5]) for row in rows]
        assert scores == sorted(scores, reverse=True)
    else:
        assert len(rows) == report[1]["suspected_label_errors"] > 0
    for row in rows:
        index = next(i for i in range(60) if evaluation.images.path(i) == row[0])
        label, taken_for = evaluation.labels[index], evaluation.predicted[index]
        assert row[1:5] == [str(label), NAMES[label], str(taken_for), NAMES[taken_for]]
        assert float(row[5]) == pytest.approx(evaluation.probabilities[index].max(), abs=1e-5)
        assert float(row[6]) == pytest.approx(evaluation.probabilities[index, label], abs=1e-5)


class Page(HTMLParser):
    """Tags of a page, its links, anchors and texts, as a browser sees them."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.links, self.anchors, self.sources, self.texts = [], [], [], [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append(tag)
        self.links += [found["href"]] if "href" in found else []
        self.anchors += [found["id"]] if "id" in found else []
        self.sources += [found["src"]] if tag == "img" else []
        assert not [name for name in found if name.startswith("on")]

    def handle_data(self, data):
        self.texts.append(data)


def test_the_page_is_whole_and_harmless(report, evaluation):
    folder, _, maps = report
    page = Page(folder / "report.html")
    assert not {"script", "b", "iframe", "object"} & set(page.tags)
    assert all(source.startswith("data:image/") for source in page.sources)
    assert all(link.startswith("#") for link in page.links)
    assert {link[1:] for link in page.links} == set(
        page.anchors
    )  # every click leads somewhere, and to everything
    cells = {f"cell-{row}-{column}" for row, column in zip(*np.nonzero(evaluation.confusion))}
    assert {anchor for anchor in page.anchors if anchor.startswith("cell-")} == cells
    text = " ".join(page.texts)
    for said in (*NAMES[:3], HOSTILE, "<b>Net</b>", "gone.png", "zero_division=numpy.nan", "of 9 images"):
        assert said in text, said
    assert sum("svg" in source for source in page.sources) == 4  # three charts and the learning curves
    ((shape, classes),) = maps
    shown = evaluation.mistakes[:24]
    assert shape == (len(shown), 3, 20, 30)
    assert classes == evaluation.predicted[shown].tolist()


def test_a_click_on_a_cell_shows_its_pictures(report, evaluation):
    playwright = pytest.importorskip("playwright.sync_api", reason="drives the browser")
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    row, column = divmod(int(np.triu(evaluation.confusion, 1).argmax()), 4)
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page, complaints = browser.new_page(viewport={"width": 1280, "height": 800}), []
        page.on("console", lambda line: complaints.append(line.text))
        page.on(
            "request", lambda sent: sent.url.startswith(("file:", "data:")) or complaints.append(sent.url)
        )
        page.goto(f"file://{report[0]}/report.html")
        for width in (1280, 390):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator(".cell:visible").count() == 0
        page.locator(f'a[href="#cell-{row}-{column}"]').click()
        page.wait_for_selector(f"#cell-{row}-{column}", state="visible")
        assert page.locator(".cell:visible").count() == 1
        pictures = page.locator(".cell:visible img")
        assert pictures.count() == min(12, evaluation.confusion[row, column])
        assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
        assert complaints == []
        browser.close()


def test_the_same_evaluation_replaces_its_report_and_another_does_not(evaluation, tmp_path):
    def files(folder):
        return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}

    write_report(tmp_path, evaluation)
    first = files(tmp_path)
    assert set(first) == {
        *("summary.json", "per_class.csv", "average_precision.csv", "precision_recall.csv", "mistakes.csv"),
        *("confusion_matrix.csv", "confusion_matrix.png", "confusion_matrix.svg", "label_errors.csv"),
        *("reliability.csv", "thresholds.csv", "report.html"),
    }
    write_report(tmp_path, evaluation)
    assert not (tmp_path / "previous_1").exists()
    other = Evaluation(evaluation.images, evaluation.probabilities, np.roll(evaluation.predicted, 1), NAMES)
    write_report(tmp_path, other)
    aside = files(tmp_path / "previous_1")
    assert set(aside) == set(first)
    assert all(aside[name] == first[name] for name in first if not name.endswith((".png", ".svg")))
    assert files(tmp_path)["summary.json"] != first["summary.json"]


def test_a_page_of_many_classes_and_images_stays_small(evaluation, tmp_path):
    """Of 60 classes the matrix is a picture, and the pairs most often confused lead to theirs."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 60, 3000)
    images = ImageList("photos", (b"%d.png" % index for index in range(3000)), labels)
    probabilities = rng.dirichlet(np.ones(60), 3000)

    class Counted:
        shown = 0

        def thumbnail(self, index):
            self.shown += 1
            return b"jpeg"

        def explained(self, indices, classes):
            return [b"map"] * len(indices)

    pictures = Counted()
    write_report(tmp_path, Evaluation(images, probabilities, probabilities.argmax(axis=1)), pictures=pictures)
    page = Page(tmp_path / "report.html")
    assert pictures.shown <= 400 + 24 + 24
    cells = [link for link in page.links if link.startswith("#cell-")]
    assert len(cells) == 25
    assert {cell[1:] for cell in cells} <= set(page.anchors)
    rows = read(tmp_path / "precision_recall.csv")
    assert len(rows) <= 1 + 60 * 100


def test_a_broken_network_has_a_report_too(evaluation, tmp_path):
    """Probabilities that are no numbers leave what is made of them undefined, and the files readable."""
    nothing = np.full((60, 4), np.nan)
    write_report(tmp_path, Evaluation(evaluation.images, nothing, nothing.argmax(axis=1), NAMES))
    text = (tmp_path / "summary.json").read_text()
    summary = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert summary["expected_calibration_error"] is None
    assert summary["accuracy"] == (evaluation.labels == 0).mean()
    assert "nan" not in "".join(Page(tmp_path / "report.html").texts).lower().replace("numpy.nan", "")


def test_images_that_were_learned_are_told(evaluation, tmp_path):
    write_report(
        tmp_path, Evaluation(evaluation.images, evaluation.probabilities, evaluation.predicted, NAMES, True)
    )
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "was trained on these images" in text
    assert "a wrong one that it repeats is not found" in text


@pytest.fixture(scope="module")
def of_two(tmp_path_factory):
    """Answers to 60 images of two classes, with a threshold of 0.7 of class 1."""
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 2, 60)
    scores = np.clip(rng.normal(0.35 + 0.3 * labels, 0.2), 0, 1)
    images = ImageList("photos", [b"%d.png" % index for index in range(60)], labels)
    predicted = (scores >= 0.7).astype(int)
    return Evaluation(
        images, np.stack([1 - scores, scores], 1), predicted, ["others", "shoes"], threshold=0.7
    )


def test_two_classes_have_their_threshold(of_two, tmp_path):
    summary = write_report(tmp_path / "new", of_two)
    labels, scores = of_two.labels, of_two.probabilities[:, 1]
    assert summary["auc"] == pytest.approx(metrics.roc_auc_score(labels, scores))
    assert summary["threshold"] == 0.7
    assert summary["tpr"] == metrics.recall_score(labels, scores >= 0.7)
    assert summary["accuracy"] == metrics.accuracy_score(labels, scores >= 0.7)
    fpr, tpr, _ = metrics.roc_curve(labels, scores, drop_intermediate=False)
    _, *rows = read(tmp_path / "new" / "roc.csv")
    assert [[float(value) for value in row[1:3]] for row in rows[::-1]] == pytest.approx(
        np.stack([tpr, fpr], 1)[1:], abs=1e-5
    )
    page = (tmp_path / "new" / "report.html").read_text(encoding="utf-8")
    found = f"{summary['tpr'] * labels.sum():.0f} of {labels.sum()}, {100 * summary['tpr']:.1f}\N{NO-BREAK SPACE}%"
    assert found in page
    for rule in ("in use", "f1", "tpr@fpr=0.01", "precision=0.95", "recall=0.95"):
        assert (f"<td>{rule}</td>" in page) == (rule != "tpr@fpr=0.01")  # of so few negatives 1 % is none


def test_one_class_of_two_alone_has_no_curves(of_two, tmp_path):
    images = ImageList("photos", [b"%d.png" % index for index in range(60)], np.zeros(60, int))
    alone = Evaluation(images, of_two.probabilities, of_two.predicted)
    assert "auc" not in write_report(tmp_path, alone)
    assert not (tmp_path / "roc.csv").exists()
