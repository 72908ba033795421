"""The search for near hashes against the comparison of all pairs, and who follows whom."""

import numpy as np
import pytest

from ppcls_light.check import same
from ppcls_light.check.facts import MIRROR
from ppcls_light.check.same import EMBEDDED, EQUAL, Pairs, leaders_of, near, same_pictures


def all_pairs(wanted, hashes, distance):
    """Return {(i, j): bits} by comparing each with each."""
    found = {}
    for i in range(len(hashes)):
        for j in range(i + 1, len(hashes)):
            bits = bin(int(wanted[i]) ^ int(hashes[j])).count("1")
            if bits <= distance:
                found[i, j] = bits
    return found


def some_hashes(count, seed=0):
    """Return hashes of which many differ in a few bits, wherever they are."""
    rng = np.random.default_rng(seed)
    centres = rng.integers(0, 1 << 63, 12, dtype=np.uint64) * np.uint64(2)
    hashes = centres[rng.integers(0, 12, count)]
    for _ in range(9):
        flips = np.uint64(1) << rng.integers(0, 64, count, dtype=np.uint64)
        hashes ^= np.where(rng.random(count) < 0.5, flips, np.uint64(0))
    hashes[1] = hashes[0]
    return hashes


@pytest.mark.parametrize("distance", [0, 1, 3, 4, 7, 8, 11])
def test_near_finds_what_comparing_all_pairs_finds(distance, monkeypatch):
    monkeypatch.setattr(same, "_BLOCK", 500)
    hashes = some_hashes(250)
    for wanted in (hashes, hashes ^ MIRROR):
        found = {}
        for one, other, bits in near(wanted, hashes, distance):
            found.update(zip(zip(one.tolist(), other.tolist()), bits.tolist()))
        assert found == all_pairs(wanted, hashes, distance)
    assert all_pairs(hashes, hashes, distance)


def test_bits_are_counted_alike_without_numpys_own_count(monkeypatch):
    values = some_hashes(50)
    expected = [bin(int(value)).count("1") for value in values]
    assert same._bits_set(values).tolist() == expected
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    assert same._bits_set(values).tolist() == expected


def signatures(count, seed=0):
    rng = np.random.default_rng(seed)
    return (
        rng.integers(0, 1 << 63, (count, 2), dtype=np.uint64),
        rng.integers(0, 1 << 63, count, dtype=np.uint64),
        rng.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8),
    )


def listed(pairs):
    return [(int(a), int(b), int(bits), bool(mirrored)) for a, b, bits, mirrored, _ in zip(*pairs)]


def test_shapes_and_colours_both_have_to_agree():
    digests, hashes, thumbs = signatures(8)
    hashes[3], thumbs[3] = hashes[1] ^ np.uint64(0b101), thumbs[1]  # two bits differ
    hashes[5] = hashes[2]  # the same shapes in other colours
    hashes[6], thumbs[6] = hashes[4] ^ MIRROR, thumbs[4][:, ::-1]
    assert listed(same_pictures(digests, hashes, thumbs, 7, 0.97)) == [(1, 3, 2, False), (4, 6, 0, True)]
    assert listed(same_pictures(digests, hashes, thumbs, 1, 0.97)) == [(4, 6, 0, True)]
    assert (2, 5, 0, False) in listed(same_pictures(digests, hashes, thumbs, 7, -1))


def test_equal_files_are_pairs_with_the_first_of_them_whatever_they_show():
    digests, hashes, thumbs = signatures(6)
    for index in (2, 5):
        digests[index], hashes[index], thumbs[index] = digests[0], hashes[0], thumbs[0]
    assert listed(same_pictures(digests, hashes, thumbs, 7, 0.97)) == [(0, 2, -1, False), (0, 5, -1, False)]


def test_light_and_tint_do_not_matter():
    digests, hashes, thumbs = signatures(2)
    thumbs //= 2
    hashes[1], thumbs[1] = hashes[0], thumbs[0] + np.array([90, 60, 30], np.uint8)
    assert listed(same_pictures(digests, hashes, thumbs, 0, 0.999)) == [(0, 1, 0, False)]


def test_a_crowd_of_equal_hashes_is_bounded_and_said(monkeypatch, caplog):
    monkeypatch.setattr(same, "_CROWD", 10)
    hashes = np.zeros(300, np.uint64)
    pairs = {pair for one, other, _ in near(hashes, hashes, 3) for pair in zip(one.tolist(), other.tolist())}
    assert len(pairs) <= 300 * 10
    assert "some that show the same picture may not be found" in caplog.text


def test_too_many_pairs_end_the_search_and_it_is_said(monkeypatch, caplog):
    monkeypatch.setattr(same, "_MOST_PAIRS", 1000)
    monkeypatch.setattr(same, "_BLOCK", 100)
    digests, _, thumbs = signatures(200)
    thumbs[:] = thumbs[0]
    pairs = same_pictures(digests, np.zeros(200, np.uint64), thumbs, 3, 0.9)
    assert 1000 < len(pairs.first) < 1400
    assert "more than 1,000 pairs of images look the same" in caplog.text


def followed(*rows):
    """Return (image, leader) of pairs given as (first, second, distance)."""
    first, second, distance = (np.array(column) for column in zip(*rows))
    pairs = Pairs.of(first, second, distance)
    return [(int(second[pair]), int(first[pair])) for pair in leaders_of(pairs)]


def test_an_image_follows_the_nearest_leader_and_no_follower():
    # 1 is like 0, and 2 like 1 only
    assert followed((0, 1, 3), (1, 2, 3)) == [(1, 0)]
    assert followed((0, 1, 3), (1, 2, 3), (0, 2, 7)) == [(1, 0), (2, 0)]
    assert followed((0, 2, 5), (1, 2, 1)) == [(2, 1)]


def test_an_equal_file_follows_though_its_like_is_a_follower():
    assert followed((0, 1, 4), (1, 2, EQUAL)) == [(1, 0), (2, 1)]


def test_pairs_of_embeddings_count_after_those_of_hashes():
    digests, hashes, thumbs = signatures(4)
    hashes[1], thumbs[1] = hashes[0], thumbs[0]
    first, second = np.array([0, 2]), np.array([1, 3])
    cosines = np.array([0.99, 0.955], np.float32)
    further = Pairs(first, second, np.full(2, EMBEDDED), np.zeros(2, bool), cosines)
    pairs = same_pictures(digests, hashes, thumbs, 7, 0.97, further)
    assert [pairs.described(pair) for pair in leaders_of(pairs)] == ["0 of 64 bits differ", "cosine 0.955"]
