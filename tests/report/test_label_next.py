"""Choice of images to label: doubt and difference."""

import numpy as np
import pytest
from sklearn.cluster import KMeans

from ppcls_light.report.label_next import COLUMNS, Candidates, diverse, margins


def test_margins_are_of_the_two_best():
    rows = np.array([[0.5, 0.2, 0.3], [0.1, 0.8, 0.1], [0.5, 0.5, 0.0]])
    assert margins(rows) == pytest.approx([0.2, 0.7, 0.0])
    assert rows[0].tolist() == [0.5, 0.2, 0.3]  # left as it was


def test_the_clusters_are_as_tight_as_scikit_learns():
    features = np.random.default_rng(0).normal(size=(400, 5)) + 3
    weights = np.random.default_rng(1).random(400)
    chosen = diverse(features, weights, 12)
    assert len(set(chosen.tolist())) == 12
    assert (np.diff(chosen) > 0).all()
    directions = features - features.mean(axis=0)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)

    def cost(centres):
        distances = ((directions[:, None] - centres) ** 2).sum(axis=2)
        return (weights * distances.min(axis=1)).sum()

    centres = KMeans(12, n_init=5, random_state=0).fit(directions, sample_weight=weights).cluster_centers_
    nearest = [((directions - centre) ** 2).sum(axis=1).argmin() for centre in centres]
    random = np.random.default_rng(2).choice(400, 12, replace=False)
    assert cost(directions[chosen]) < 1.1 * cost(directions[nearest])
    assert cost(directions[chosen]) < 0.9 * cost(directions[random])


def test_shots_of_one_object_are_taken_once():
    """Six objects, of which one has as many shots as all others together."""
    rng = np.random.default_rng(0)
    objects = 10 * rng.normal(size=(6, 8))
    shown = np.array([0] * 50 + [1, 2, 3, 4, 5] * 10)
    chosen = diverse(objects[shown] + 0.1 * rng.normal(size=(100, 8)), np.ones(100), 6)
    assert sorted(shown[chosen].tolist()) == [0, 1, 2, 3, 4, 5]


def test_few_or_equal_images_are_all_good():
    assert diverse(np.zeros((3, 2)), np.zeros(3), 5).tolist() == [0, 1, 2]
    assert len(set(diverse(np.zeros((9, 2)), np.zeros(9), 5).tolist())) == 5


def test_candidates_are_the_least_sure_in_whatever_batches():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(4), 500)
    features = rng.normal(size=(500, 8))
    order = np.argsort(margins(probabilities), kind="stable")
    paths = [f"{index}.png" for index in range(500)]

    def chosen(size):
        candidates = Candidates(5)
        for start in range(0, 500, size):
            batch = slice(start, start + size)
            candidates.add(paths[batch], probabilities[batch], features[batch])
        return candidates.chosen()

    found = chosen(7)
    assert found.looked_at == 500
    assert len(found.paths) == 5
    assert set(found.paths) <= {f"{index}.png" for index in order[:50]}
    assert chosen(500).paths == found.paths
    rows = [dict(zip(COLUMNS, row)) for row in found.rows("abcd")]
    doubts = [float(row["margin"]) for row in rows]
    assert doubts == sorted(doubts)
    index = int(found.paths[0].split(".")[0])
    best, second = np.argsort(-probabilities[index])[:2]
    assert (rows[0]["predicted"], rows[0]["second"]) == (best, second)
    assert doubts[0] == pytest.approx(margins(probabilities)[index], abs=2e-5)
