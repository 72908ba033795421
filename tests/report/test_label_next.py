"""Choice of images to label: doubt and difference."""

import numpy as np
import pytest

from ppcls_light.report.label_next import COLUMNS, Candidates, k_center, margins


def test_margins_are_of_the_two_best():
    rows = np.array([[0.5, 0.2, 0.3], [0.1, 0.8, 0.1], [0.5, 0.5, 0.0]])
    assert margins(rows) == pytest.approx([0.2, 0.7, 0.0])
    assert rows[0].tolist() == [0.5, 0.2, 0.3]  # left as it was


def test_k_center_takes_the_farthest_each_time():
    features = np.random.default_rng(0).normal(size=(40, 5)) * np.arange(1, 41)[:, None]
    directions = features / np.linalg.norm(features, axis=1, keepdims=True)
    distances = 1 - directions @ directions.T
    expected = [0]
    while len(expected) < 12:
        left = [index for index in range(40) if index not in expected]
        expected.append(max(left, key=lambda index: distances[index, expected].min()))
    assert k_center(features, 12).tolist() == expected
    assert sorted(k_center(features, 100).tolist()) == list(range(40))
    assert sorted(k_center(np.zeros((3, 2)), 3).tolist()) == [0, 1, 2]


def test_candidates_are_the_least_sure_in_whatever_batches_and_copies_come_last():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(4), 500)
    features = rng.normal(size=(500, 8))
    order = np.argsort(margins(probabilities), kind="stable")
    features[order[1:9]] = features[order[0]]  # shots of one object
    paths = [f"{index}.png" for index in range(500)]

    def chosen(size):
        candidates = Candidates(5)
        for start in range(0, 500, size):
            batch = slice(start, start + size)
            candidates.add(paths[batch], probabilities[batch], features[batch])
        return candidates.chosen()

    found = chosen(7)
    assert found.looked_at == 500
    assert found.paths[0] == f"{order[0]}.png"
    assert set(found.paths) <= {f"{index}.png" for index in order[:15]}
    assert not set(found.paths) & {f"{index}.png" for index in order[1:9]}
    assert chosen(500).paths == found.paths
    first = dict(zip(COLUMNS, next(found.rows("abcd"))))
    best, second = np.argsort(-probabilities[order[0]])[:2]
    assert (first["predicted"], first["second"]) == (best, second)
    assert float(first["margin"]) == pytest.approx(margins(probabilities)[order[0]], abs=1e-5)
