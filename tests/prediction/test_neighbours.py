"""Search by cosine against a plain loop and scikit-learn, and files that are no index."""

import zipfile
from dataclasses import astuple, replace

import numpy as np
import pytest

from ppcls_light.errors import DataError
from ppcls_light.prediction import neighbours
from ppcls_light.prediction.neighbours import Index, unit, votes

RNG = np.random.default_rng(0)


def index_of(embeddings, folders=("a", "b", "c")):
    names = [f"{folders[place % len(folders)]}/{place}.jpg" for place in range(len(embeddings))]
    return Index(np.float32(embeddings), names, "/photos", "network")


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(neighbours, "BLOCK", 7)
    monkeypatch.setattr(neighbours, "QUERIES", 3)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(("images", "queries", "count"), [(40, 10, 5), (6, 4, 9), (7, 1, 7), (50, 3, 1)])
def test_the_neighbours_are_those_of_a_plain_loop(images, queries, count):
    embeddings, asked = RNG.normal(size=(images, 8)), RNG.normal(size=(queries, 8))
    ids, cosines = index_of(embeddings).search(np.float32(asked), count)
    for query, found, similar in zip(asked, ids, cosines):
        expected = [query @ row / np.linalg.norm(query) / np.linalg.norm(row) for row in embeddings]
        order = np.argsort(expected)[::-1][:count]
        np.testing.assert_array_equal(found, order)
        np.testing.assert_allclose(similar, np.array(expected)[order], atol=1e-6)


@pytest.mark.usefixtures("small_blocks")
def test_lengths_do_not_count_and_zeros_are_like_nothing():
    row = RNG.normal(size=8)
    ids, cosines = index_of([0 * row, *[row * (1 + place) for place in range(20)], -row]).search(
        np.float32([row, 0 * row]), 22
    )
    assert sorted(ids[0][:20]) == [*range(1, 21)]
    assert ids[0][20:].tolist() == [0, 21]
    np.testing.assert_allclose(cosines[0], [*[1] * 20, 0, -1], atol=1e-6)
    assert not cosines[1].any()


def test_faiss_finds_the_same(monkeypatch):
    pytest.importorskip("faiss", reason="needs faiss: the extra faiss")
    index, queries = index_of(RNG.normal(size=(3000, 16))), np.float32(RNG.normal(size=(20, 16)))
    ids, cosines = index.search(queries, 10)
    monkeypatch.setattr(neighbours, "MANY", 1000)
    by_faiss = index.search(queries, 10)
    np.testing.assert_array_equal(by_faiss[0], ids)
    np.testing.assert_allclose(by_faiss[1], cosines, atol=1e-6)


def test_votes_are_the_share_of_exponentials_of_the_cosines():
    labels, cosines = np.array([[2, 0, 2], [1, 1, 1]]), np.array([[0.9, 0.8, 0.1], [0.3, 0.2, -0.5]])
    weights = np.exp(cosines[0] / 0.07)
    expected = [weights[1] / weights.sum(), 0, (weights[0] + weights[2]) / weights.sum()]
    scores = votes(labels, cosines, 3)
    np.testing.assert_allclose(scores, [expected, [0, 1, 0]], rtol=1e-12)


def test_the_best_class_is_that_of_scikit_learns_weighted_neighbours():
    sklearn = pytest.importorskip("sklearn.neighbors")
    embeddings, labels = RNG.normal(size=(60, 5)), np.arange(60) % 3
    queries = RNG.normal(size=(30, 5))
    model = sklearn.KNeighborsClassifier(
        10, metric="cosine", weights=lambda distances: np.exp((1 - distances) / 0.07)
    ).fit(embeddings, labels)
    ids, cosines = index_of(embeddings).search(np.float32(queries), 10)
    np.testing.assert_allclose(votes(labels[ids], cosines, 3), model.predict_proba(queries), atol=1e-4)


def test_a_file_comes_back_as_it_was(tmp_path):
    index = index_of(RNG.normal(size=(5, 3)), ("k\udcff\u00fc", "b"))  # a name of broken bytes
    index.write(str(tmp_path / "photos.npz"))
    again = Index.read(str(tmp_path / "photos.npz"))
    np.testing.assert_array_equal(again.embeddings, index.embeddings)
    assert astuple(again)[1:] == astuple(index)[1:]
    classes, labels = again.classes()
    assert classes == sorted(["k\udcff\u00fc", "b"])
    assert [classes[label] for label in labels] == [name.split("/")[0] for name in index.names]


def test_what_is_no_index_is_one_line(tmp_path):
    path = tmp_path / "photos.npz"
    with pytest.raises(DataError, match=r"photos\.npz: cannot be read: No such file .* similar index"):
        Index.read(str(path))
    index = index_of(RNG.normal(size=(5, 3)))
    wrong = [
        lambda: path.write_bytes(b"PK\x03\x04nothing"),
        lambda: path.write_bytes(b""),
        lambda: np.savez(path, embeddings=index.embeddings),
        lambda: np.save(path.open("wb"), index.embeddings),
        lambda: np.savez_compressed(path, embeddings=index.embeddings),
        replace(index, names=index.names[1:]).write,
        replace(index, embeddings=np.full((5, 3), np.nan, "f")).write,
        replace(index, embeddings=np.zeros((5, 3))).write,
        replace(index, embeddings=np.zeros((0, 3), "f"), names=[]).write,
    ]
    for write in wrong:
        write(*[str(path)] * (getattr(write, "__name__", "") == "write"))
        with pytest.raises(DataError, match=r"photos\.npz: damaged, or no index .* similar index"):
            Index.read(str(path))
    with zipfile.ZipFile(path, "w") as archive:  # a header that asks for a terabyte
        header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (500000000, 500), }".ljust(117) + b"\n"
        archive.writestr("embeddings.npy", b"\x93NUMPY\x01\x00v\x00" + header)
    with pytest.raises(DataError, match="damaged, or no index"):
        Index.read(str(path))


def test_images_in_no_class_folder_cannot_vote():
    index = index_of(RNG.normal(size=(4, 2)), ("a",))
    with pytest.raises(DataError, match="/photos: the one class a is here; index a folder of several"):
        index.classes()
    with pytest.raises(
        DataError, match=r"/photos/loose\.jpg: in no class folder; index a folder with one folder"
    ):
        replace(index, names=["a/1.jpg", "loose.jpg", "b/1.jpg", "b/2.jpg"]).classes()
    with pytest.raises(DataError, match="embeddings of 3 numbers are compared with an index of 2;"):
        index.search(np.zeros((1, 3), "f"), 1)


def test_unit_length():
    np.testing.assert_allclose(unit(np.float32([[3, 4], [0, 0]])), [[0.6, 0.8], [0, 0]], atol=1e-7)
