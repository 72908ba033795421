"""Search for images that show the same picture: equal files, and pictures that differ by size, quality or colours.

Candidates have hashes of 64 bits that differ in few, and are the same if the colours of their thumbnails correlate,
too: the hash knows shapes only, and clothes on a wall have much the same. Hashes that differ in at most r bits agree in
one of four chunks of 16 bits but for r // 4 bits (Norouzi et al., "Fast Exact Search in Hamming Space with Multi-Index
Hashing", arXiv 1307.2982), so that a chunk's equals and their neighbours are looked up, and not all pairs are compared.
"""

from __future__ import annotations

import itertools
from typing import Iterator, NamedTuple

import numpy as np

from ..errors import warn_once
from .facts import MIRROR

FURTHEST = 11  # bits, up to which a chunk differs in two
EQUAL, EMBEDDED = -1, 64  # in the place of a number of bits: equal files, and pictures that embeddings tell
_CHUNKS, _BITS = 4, 16
_BLOCK = 1 << 20  # pairs that are compared at a time: some 50 MB
_CROWD = 2000  # equal chunks, of which no more are compared with an image
_MOST_PAIRS = 4_000_000  # that are kept: some 100 MB


class Pairs(NamedTuple):
    """Pairs of images that show the same picture, by their places; `first` < `second`."""

    first: np.ndarray  # int64 (P,)
    second: np.ndarray
    distance: np.ndarray  # int64, bits in which the hashes differ, `EQUAL` or `EMBEDDED`
    mirrored: np.ndarray  # bool
    cosine: np.ndarray  # float32, of the embeddings; 0 where the distance is another

    @classmethod
    def of(
        cls, first: np.ndarray, second: np.ndarray, distance: np.ndarray | int, mirrored: bool = False
    ) -> Pairs:
        """Return pairs that embeddings have no part in."""
        count = len(first)
        bits = np.broadcast_to(np.asarray(distance, np.int64), count)
        return cls(first, second, bits, np.full(count, mirrored), np.zeros(count, np.float32))

    def described(self, pair: int) -> str:
        """Return the reason why a pair shows the same picture."""
        distance = int(self.distance[pair])
        if distance == EQUAL:
            return "same content"
        if distance == EMBEDDED:
            return f"cosine {self.cosine[pair]:.3f}"
        return f"{distance} of 64 bits differ" + ", mirrored" * bool(self.mirrored[pair])

    def chosen(self, which: np.ndarray) -> Pairs:
        return Pairs(*(column[which] for column in self))


def same_pictures(
    digests: np.ndarray,
    hashes: np.ndarray,
    thumbs: np.ndarray,
    distance: int,
    correlation: float,
    further: Pairs | None = None,
) -> Pairs:
    """Return the pairs among N images that show the same picture, mirrored ones included, and `further` ones.

    Of equal files the first one is paired with each of the others, and alone with further ones.

    Args:
        digests: uint64 (N, 2), of the files' content.
        hashes: uint64 (N,), see `facts.perceptual_hash`.
        thumbs: uint8 (N, H, W, 3).
        distance: most bits in which two hashes differ, up to `FURTHEST`.
        correlation: of the thumbnails' colours, each less its mean, at least.
    """
    _, first, group = np.unique(digests, axis=0, return_index=True, return_inverse=True)
    leader = first[group.reshape(-1)]
    equal = np.flatnonzero(leader != np.arange(len(leader)))
    count = len(equal)
    pairs = [Pairs.of(leader[equal], equal, EQUAL), *([] if further is None else [further])]
    leaders = np.sort(first)
    for mirrored in (False, True):
        for one, other, bits in _alike(hashes[leaders], thumbs[leaders], distance, correlation, mirrored):
            pairs.append(Pairs.of(leaders[one], leaders[other], bits, mirrored))
            count += len(one)
            if count > _MOST_PAIRS:
                pairs = [_once(pairs)]
                count = len(pairs[0].first)
            if count > _MOST_PAIRS:
                warn_once(
                    f"more than {_MOST_PAIRS:,} pairs of images look the same, and no further ones are searched for: "
                    "take a smaller --hash-distance for such pictures"
                )
                return pairs[0]
    return _once(pairs)


def _alike(
    hashes: np.ndarray, thumbs: np.ndarray, distance: int, correlation: float, mirrored: bool
) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield (i, j, bits) as `near` does, of pairs whose colours are alike, too; i is `mirrored`."""
    colours = _centred(thumbs)
    shown = _centred(thumbs[:, :, ::-1]) if mirrored else colours
    for one, other, bits in near(hashes ^ MIRROR if mirrored else hashes, hashes, distance):
        alike = np.einsum("nd,nd->n", shown[one], colours[other]) >= correlation
        yield one[alike], other[alike], bits[alike]


def near(wanted: np.ndarray, hashes: np.ndarray, distance: int) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield (i, j, bits): pairs i < j with wanted[i] and hashes[j] differing in `distance` bits or fewer.

    Both are uint64 (N,), and wanted[i] to hashes[j] must be as near as wanted[j] to hashes[i]. A pair may come several
    times.
    """
    flips = [
        np.bitwise_or.reduce(np.array([1 << bit for bit in bits] or [0], np.int64))
        for size in range(distance // _CHUNKS + 1)
        for bits in itertools.combinations(range(_BITS), size)
    ]
    for shift in range(0, _CHUNKS * _BITS, _BITS):
        keys = _chunk(hashes, shift)
        order = np.argsort(keys, kind="stable")
        bounds = np.searchsorted(keys[order], np.arange((1 << _BITS) + 1))
        asked = _chunk(wanted, shift)
        for flip in flips:
            for one, other in _bucket_pairs(asked ^ flip, order, bounds):
                bits = _bits_set(wanted[one] ^ hashes[other])
                found = bits <= distance
                yield one[found], other[found], bits[found]


def _chunk(hashes: np.ndarray, shift: int) -> np.ndarray:
    return ((hashes >> np.uint64(shift)) & np.uint64((1 << _BITS) - 1)).astype(np.int64)


def _bucket_pairs(
    keys: np.ndarray, order: np.ndarray, bounds: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield pairs i < j of images of which j is in the bucket keys[i], about `_BLOCK` at a time.

    `order` has the places of all images bucket by bucket, of which bucket b has those from bounds[b] to bounds[b + 1].
    """
    starts, counts = bounds[keys], bounds[keys + 1] - bounds[keys]
    if counts.max(initial=0) > _CROWD:
        warn_once(
            f"up to {counts.max():,} images are so alike that each is compared with {_CROWD:,} of them only: some that "
            "show the same picture may not be found"
        )
        counts = np.minimum(counts, _CROWD)
    ends = np.cumsum(counts)
    begin = 0
    while begin < len(keys):
        done = ends[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, done + _BLOCK, "right")))
        part = counts[begin:end]
        one = np.repeat(np.arange(begin, end), part)
        place = np.arange(part.sum()) - np.repeat(ends[begin:end] - part - done, part)
        other = order[np.repeat(starts[begin:end], part) + place]
        later = other > one
        yield one[later], other[later]
        begin = end


def _bits_set(values: np.ndarray) -> np.ndarray:
    """Return the number of bits that are set in each of uint64 (N,), int64."""
    if hasattr(np, "bitwise_count"):
        return np.bitwise_count(values).astype(np.int64)
    return np.unpackbits(values[:, None].view(np.uint8), axis=1).sum(axis=1, dtype=np.int64)


def _centred(thumbs: np.ndarray) -> np.ndarray:
    """Return float32 (N, D) of length 1: the thumbnails, each colour less its mean; zeros for one that is flat."""
    values = thumbs.astype(np.float32)
    values -= values.mean(axis=(1, 2), keepdims=True)
    values = values.reshape(len(thumbs), np.prod(thumbs.shape[1:]))
    length = np.sqrt(np.einsum("nd,nd->n", values, values))[:, None]
    return np.divide(values, length, out=np.zeros_like(values), where=length > 0)


def _once(parts: list[Pairs]) -> Pairs:
    """Return each pair once, the nearest of its findings, in the order of the images."""
    pairs = Pairs(*map(np.concatenate, zip(*parts)))
    order = np.lexsort((pairs.mirrored, pairs.distance, pairs.second, pairs.first))
    pairs = pairs.chosen(order)
    new = np.ones(len(order), bool)
    new[1:] = (np.diff(pairs.first) != 0) | (np.diff(pairs.second) != 0)
    return pairs.chosen(new)


def leaders_of(pairs: Pairs) -> Iterator[int]:
    """Yield the place of a pair (leader, image) for each image that shows the picture of one before it.

    A leader shows the picture of no leader before it: where a is like b and b like c, c follows b only if b leads.
    A file that equals another follows that in any case.
    """
    followers: set[int] = set()
    for pair in np.lexsort((pairs.first, -pairs.cosine, pairs.distance, pairs.second)).tolist():
        leader, image = int(pairs.first[pair]), int(pairs.second[pair])
        if image not in followers and (pairs.distance[pair] == EQUAL or leader not in followers):
            followers.add(image)
            yield pair
