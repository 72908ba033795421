"""Facts of image files that a check needs: size, kind, brightness, sharpness, and signatures of the content.

They are taken by several processes, from each file once, and are some 300 bytes per image. JPEG files are decoded at a
part of their size, by the decoder and with the guards of the training.
"""

from __future__ import annotations

import collections
import hashlib
import itertools
import os
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from typing import Callable, Iterable, Iterator, Union

import numpy as np
from PIL import Image

from ..base.pool import Pool
from ..data.decode import decode_image, open_image, read_bytes
from ..data.formats import format_of
from ..data.guards.jpeg import jpeg_size
from ..errors import DataError

WORKING = 128  # pixels of the longer side, at which brightness and sharpness are measured
THUMB = 8  # pixels of both sides of the picture whose colours are compared
READABLE, MISSING, DAMAGED = range(3)
FACTS = np.dtype(
    [
        ("state", np.uint8),  # READABLE, MISSING or DAMAGED; of the last two nothing else is known
        ("bytes", np.int64),
        ("width", np.int32),  # of the upright picture
        ("height", np.int32),
        ("format", "S8"),
        ("mode", "S8"),  # Pillow's; empty for formats whose headers are not read in this process
        ("bright", np.float32),  # luminance, 0 to 255, that 95 % of the pixels do not exceed
        ("contrast", np.float32),  # standard deviation of the luminance
        ("sharpness", np.float32),  # standard deviation of the luminance's Laplacian at `WORKING` pixels
        ("hash", np.uint64),
        ("digest", np.uint64, 2),  # of the file's bytes
        ("thumb", np.uint8, (THUMB, THUMB, 3)),
    ]
)
Source = Union[str, bytes]  # path of an image file, or its content

_CHUNK = 64  # images of a task
_PER_WORKER = 4  # tasks that wait or run
_BRIGHT = 0.95
_SIDE = 32
_HEADERS = frozenset(("JPEG", "PNG", "WEBP"))  # formats whose mode Pillow tells from a header of bounded work
# Discrete cosine transform (DCT-II) of `_SIDE` values, the first 9 of its waves.
_WAVES = np.cos(np.pi * (2 * np.arange(_SIDE) + 1) * np.arange(9)[:, None] / (2 * _SIDE))
# Bits of the waves that a mirrored picture has with the other sign: those with an odd number across.
MIRROR = np.packbits(np.tile(np.array([1, 0] * 4, np.uint8), 8)).view(np.uint64)[0]


def gather(
    sources: Iterable[Source], count: int, workers: int, show: Callable[[int], None] = lambda done: None
) -> tuple[np.ndarray, dict[int, str]]:
    """Return `FACTS` (count,) of the image files, and {index: reason} of those that cannot be read.

    `workers` processes share them out, 0: this one alone. `show` is called with the number of images done.
    Raises DataError: a process died.
    """
    facts, done = np.zeros(count, FACTS), 0
    reasons: dict[int, str] = {}
    try:
        for part, problems in _tasks(iter(sources), workers):
            facts[done : done + len(part)] = part
            reasons.update((done + place, reason) for place, reason in problems.items())
            done += len(part)
            show(done)
    except BrokenProcessPool:
        raise DataError(
            f"a process that reads images died after {done:,} images: out of memory, or a damaged image among the next "
            f"{_CHUNK * _PER_WORKER * workers:,} ended it; --workers 0 reads in the main process"
        ) from None
    return facts, reasons


def _tasks(sources: Iterator[Source], workers: int) -> Iterator[tuple[np.ndarray, dict[int, str]]]:
    """Yield the facts of the sources, `_CHUNK` at a time and in their order."""
    chunks = iter(lambda: list(itertools.islice(sources, _CHUNK)), [])
    if workers == 0:
        yield from map(facts_of, chunks)
        return
    with Pool(workers, _no_threads) as pool:
        waiting: collections.deque[Future] = collections.deque()
        for chunk in chunks:
            waiting.append(pool.submit(facts_of, chunk))
            if len(waiting) >= workers * _PER_WORKER:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _no_threads() -> None:
    """Let OpenCV use one thread in this process, which has as many siblings as there are processors."""
    from ..data.opencv import use_one_thread

    use_one_thread()


def facts_of(sources: list[Source]) -> tuple[np.ndarray, dict[int, str]]:
    """Return `FACTS` of a few image files, and {place: reason} of those that cannot be read."""
    facts, reasons = np.zeros(len(sources), FACTS), {}
    for place, source in enumerate(sources):
        try:
            _look(facts[place], read_bytes(source) if isinstance(source, str) else source)
        except DataError as error:
            gone = isinstance(source, str) and not os.path.exists(source)
            facts[place] = np.zeros((), FACTS)
            facts["state"][place] = MISSING if gone else DAMAGED
            text = str(error)
            reasons[place] = text.removeprefix(f"{source}: ") if isinstance(source, str) else text
    return facts, reasons


def _look(fact: np.void, data: bytes) -> None:
    """Write the facts of an image file with the content `data` into `fact`. Raises DataError."""
    fact["bytes"] = len(data)
    fact["digest"] = np.frombuffer(hashlib.blake2b(data, digest_size=16).digest(), np.uint64)
    upright = jpeg_size(data)
    picture = decode_small(data, 2 * WORKING, upright)
    form = format_of(data)
    name = form.name if form else ""
    fact["format"] = name.encode()
    if name in _HEADERS:
        with open_image(data) as file:
            fact["mode"] = file.mode.encode()
    fact["width"], fact["height"] = upright or picture.shape[1::-1]
    image = Image.fromarray(picture)
    luminance = np.asarray(_fitted(image.convert("L"), WORKING), np.float32)
    place = int(_BRIGHT * luminance.size)
    fact["bright"] = np.partition(luminance, place, axis=None)[place]
    fact["contrast"] = luminance.std()
    fact["sharpness"] = _laplacian(luminance).std()
    fact["hash"] = perceptual_hash(image)
    fact["thumb"] = np.asarray(image.resize((THUMB, THUMB), Image.Resampling.BOX))


def decode_small(data: bytes, least: int, upright: tuple[int, int] | None = None) -> np.ndarray:
    """Return the picture of an image file, uint8 (H, W, 3), RGB; a JPEG file's reduced, to `least` pixels or more.

    Meant is the longer side. `upright` is the file's `jpeg_size`, where it is known. Raises DataError.
    """
    longer = max(upright or jpeg_size(data) or (0, 0))
    shrink = next((shrink for shrink in (8, 4, 2) if longer >= shrink * least), 1)
    return decode_image(data, shrink=shrink)


def perceptual_hash(image: Image.Image) -> np.uint64:
    """Return 64 bits of a picture: the signs of the 8 x 8 slowest waves of its luminance, but for the constant ones.

    The pHash of Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010), with 0 in the
    place of the median; so a mirrored picture has the bits of `MIRROR` inverted, and all others the same.
    """
    small = np.asarray(image.resize((_SIDE, _SIDE), Image.Resampling.BOX).convert("L"), np.float64)
    waves = _WAVES[:8] @ small @ _WAVES[1:].T
    return np.packbits((waves > 0).astype(np.uint8)).view(np.uint64)[0]


def _fitted(image: Image.Image, side: int) -> Image.Image:
    """Return `image` with `side` pixels or fewer on its longer side."""
    scale = side / max(image.size)
    if scale >= 1:
        return image
    width, height = (max(1, round(length * scale)) for length in image.size)
    return image.resize((width, height), Image.Resampling.BOX)


def _laplacian(values: np.ndarray) -> np.ndarray:
    """Return the discrete Laplacian of (H, W) values, (H - 2, W - 2); zeros where there is no such place."""
    if min(values.shape) < 3:
        return np.zeros((1, 1), np.float32)
    around = values[:-2, 1:-1] + values[2:, 1:-1] + values[1:-1, :-2] + values[1:-1, 2:]
    return around - 4 * values[1:-1, 1:-1]
