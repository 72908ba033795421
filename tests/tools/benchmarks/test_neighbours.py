"""Draws of few photos, and the two scores, on embeddings of which the answers are known."""

from types import SimpleNamespace

import numpy as np
import pytest

from tools.benchmarks import neighbours


@pytest.fixture
def embeddings():
    """Embeddings by path "LABEL_NUMBER": the label's unit vector, and a little of another one."""

    class Known:
        network = "network"

        def __call__(self, paths):
            rows = np.zeros((len(paths), neighbours.CLASSES), np.float32)
            for row, path in zip(rows, paths):
                label, number = map(int, path.split("_"))
                row[label] += 1
                row[(label + number) % neighbours.CLASSES] += 0.3
            return rows

    return Known()


def photos(count, classes=neighbours.CLASSES):
    places = [(label, number) for label in range(classes) for number in range(count)]
    return [f"{label}_{number}" for label, number in places], np.array([label for label, _ in places])


def test_a_seed_draws_so_many_photos_of_each_class():
    labels = photos(30)[1]
    first, second = (neighbours.drawn(labels, 5, seed) for seed in (0, 1))
    assert np.bincount(labels[first]).tolist() == [5] * 10
    assert len(set(first)) == 50
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(neighbours.drawn(labels, 5, 0), first)


def test_scores_are_shares_of_the_test_photos(embeddings):
    asked, labels = photos(3)
    wrong = labels.copy()
    wrong[0] = 1  # one of thirty
    for measure in (neighbours.by_neighbours, neighbours.by_linear_classifier):
        assert measure(embeddings, photos(6), (asked, labels)) == 100
        assert measure(embeddings, photos(6), (asked, wrong)) == pytest.approx(100 * 29 / 30)


def test_every_method_has_a_row_of_each_seed(monkeypatch, tmp_path):
    paths, labels = photos(8)
    lines = "".join(f"{path} {label}\n" for path, label in zip(paths, labels))
    for name in ("train", "test"):
        (tmp_path / f"{name}_list.txt").write_text(lines)
    monkeypatch.setattr(neighbours, "Embeddings", lambda folder, data: SimpleNamespace(name=folder))
    monkeypatch.setattr(neighbours, "exported_weights", lambda arguments: "weights")
    arguments = SimpleNamespace(
        data=str(tmp_path), model=["lite0"], weights="w.pdparams", labelled=[2, 5], seeds=[0, 1]
    )
    rows = [(*key, seed) for key, seed, _ in neighbours.runs(arguments)]
    assert len(rows) == len(set(rows)) == 2 * 2 * 5
    assert ("5", "linear classifier", "weights", 1) in rows
    assert ("2", "fine-tuning", "PPLCNet_x1_0", 0) in rows
