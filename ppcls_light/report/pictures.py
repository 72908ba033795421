"""`Pictures`: thumbnails of the images of an evaluation, and heat maps over what the network saw of them."""

from __future__ import annotations

from typing import Callable, Sequence

import numpy as np

from ..base.html import thumbnail
from ..data.dataset import ImageDataset
from ..data.decode import decode_image, read_image
from ..errors import DataError
from ..explanation.overlay import overlay

# Images float32 (N, C, H, W) and classes int (N,) to maps float32 (N, h, w) in [0, 1].
HeatMaps = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Pictures:
    """JPEG files of the images of a `dataset`; `heat_maps` explains answers to what it prepares, None: nothing is."""

    def __init__(self, dataset: ImageDataset, heat_maps: HeatMaps | None = None) -> None:
        self._dataset, self._heat_maps = dataset, heat_maps
        self._thumbnails: dict[int, bytes | None] = {}

    def thumbnail(self, index: int) -> bytes | None:
        """Return the whole image, small; None for one that cannot be read any more."""
        if index not in self._thumbnails:
            try:
                self._thumbnails[index] = thumbnail(decode_image(self._dataset.read(index)))
            except DataError:
                self._thumbnails[index] = None
        return self._thumbnails[index]

    def explained(self, indices: Sequence[int], classes: Sequence[int]) -> list[bytes | None]:
        """Return what the network saw of the images, under the map of what speaks for the `classes`."""
        if self._heat_maps is None or not len(indices):
            return [None] * len(indices)
        prepare, finish = self._dataset.prepare, self._dataset.transforms.finish
        try:
            seen = [prepare(index)[0] for index in indices]
            maps = self._heat_maps(np.concatenate([finish(image[None]) for image in seen]), np.array(classes))
        except DataError:
            return [None] * len(indices)
        return [thumbnail(overlay(_picture(image), heat)) for image, heat in zip(seen, maps)]


def file_thumbnail(path: str) -> bytes | None:
    """Return the image file `path`, small; None for one that cannot be read."""
    try:
        return thumbnail(read_image(path))
    except DataError:
        return None


def _picture(image: np.ndarray) -> np.ndarray:
    """Return what `Compose.prepare` made as RGB uint8 (H, W, 3); normalised values are spread from black to white."""
    if image.dtype == np.uint8:
        return image
    image = image.transpose(1, 2, 0)
    low, high = float(image.min()), float(image.max())
    grey = (image - low) / max(high - low, 1e-12) * 255
    return np.broadcast_to(grey, (*grey.shape[:2], 3)).round().astype(np.uint8)
