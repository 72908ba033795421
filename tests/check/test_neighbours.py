"""Neighbours against all similarities at once, and what is concluded from them."""

import numpy as np
import pytest

from ppcls_light.check import neighbours
from ppcls_light.check.kinds import Limits
from ppcls_light.check.neighbours import Neighbours, alike, neighbours_of, outliers, suspects
from ppcls_light.check.splits import Split, Splits
from ppcls_light.data import ImageList


def clusters(count=30, classes=3, seed=0):
    """Return embeddings float32 (classes * count, 16) around a centre per class, and labels."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, 16))
    labels = np.repeat(np.arange(classes), count)
    return (centres[labels] + 0.3 * rng.normal(size=(len(labels), 16))).astype(np.float32), labels


def splits_of(labels):
    names = [f"{number}.jpg".encode() for number in range(len(labels))]
    return Splits([Split("all", ImageList("listed", names, labels))], None)


def test_neighbours_are_the_most_similar_others(monkeypatch):
    monkeypatch.setattr(neighbours, "_QUERIES", 7)
    embeddings, _ = clusters()
    images = np.arange(len(embeddings)) + 100  # their places in a longer list
    done = []
    near = neighbours_of(images, embeddings, done.append)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    similar = unit @ unit.T
    np.fill_diagonal(similar, -2)
    assert near.nearest.shape == (90, neighbours.NEAREST)
    assert np.array_equal(near.nearest - 100, np.argsort(-similar, axis=1)[:, : neighbours.NEAREST])
    assert np.allclose(near.cosines, np.sort(similar, axis=1)[:, ::-1][:, : neighbours.NEAREST], atol=1e-6)
    assert done[-1] == 90


def test_many_equal_images_are_not_their_own_neighbours():
    near = neighbours_of(np.arange(40), np.ones((40, 4), np.float32))
    assert near.nearest.shape == (40, neighbours.NEAREST)
    assert not (near.nearest == np.arange(40)[:, None]).any()


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_images_have_all_others_as_neighbours(count):
    near = neighbours_of(np.arange(count), np.eye(5, dtype=np.float32)[:count])
    assert near.nearest.shape == (count, count - 1)
    assert list(outliers(near, Limits())) == []


def test_planted_wrong_labels_are_suspected_and_no_others():
    embeddings, labels = clusters()
    wrong = [3, 40, 77]
    given = labels.copy()
    given[wrong] = (labels[wrong] + 1) % 3
    near = neighbours_of(np.arange(len(labels)), embeddings)
    found = list(suspects(splits_of(given), near, Limits()))
    assert [finding.image for finding in found] == wrong
    assert "of the 20 nearest have its label" in found[0].detail
    assert list(suspects(splits_of(labels), near, Limits())) == []


def test_images_without_a_label_neither_vote_nor_are_suspected():
    embeddings, labels = clusters()
    given = labels.copy()
    given[::2] = -1
    given[3] = (labels[3] + 1) % 3
    near = neighbours_of(np.arange(len(labels)), embeddings)
    (found,) = suspects(splits_of(given), near, Limits())
    voters = (given[near.nearest[3]] >= 0).sum()
    assert found.image == 3
    assert found.detail.startswith(f"0 of the {voters} nearest have its label, {voters} are ")


def test_labels_of_small_classes_are_not_judged():
    embeddings, labels = clusters()
    given = labels.copy()
    given[: neighbours.SMALL] = 3
    near = neighbours_of(np.arange(len(labels)), embeddings)
    assert list(suspects(splits_of(given), near, Limits())) == []
    assert len(list(suspects(splits_of(given), near, Limits(label_share=1)))) == 90 - neighbours.SMALL


def test_an_image_far_from_all_is_an_outlier():
    embeddings, _ = clusters()
    embeddings[11] = -embeddings.mean(axis=0) * 3
    (found,) = outliers(neighbours_of(np.arange(90), embeddings), Limits(outlier=4))
    assert (found.kind, found.image) == ("outlier", 11)


def test_alike_are_pairs_of_places_in_the_order_given():
    images = np.array([4, 7, 9])
    near = Neighbours(
        images,
        np.array([[7, 9], [4, 9], [7, 4]]),
        np.array([[0.99, 0.5], [0.99, 0.1], [0.1, 0.5]], np.float32),
    )
    pairs = alike(near, np.array([9, 7, 4]), 0.9)
    assert sorted(zip(pairs.first.tolist(), pairs.second.tolist())) == [(1, 2), (1, 2)]
    assert pairs.cosine.tolist() == pytest.approx([0.99, 0.99])
