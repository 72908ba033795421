"""`ImageDataset`: decoded and transformed samples of an `ImageList`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import DataError
from .decode import read_bytes
from .image import WidthHeight
from .image_list import ImageList, IndexedWatch
from .transforms.compose import Compose


class ImageDataset:
    """Samples of an `ImageList`; the `transforms` take the bytes of an image file.

    With the epoch and the index, `seed` seeds a sample's random ops, so that a sample does not depend on workers,
    ranks or the samples read before it. With a number of `views`, epoch N draws what epoch N - views drew.

    With a `label_key` the label of a sample is the one that a transform gives under this name, not that of the list.
    """

    def __init__(
        self,
        image_list: ImageList,
        transforms: Compose,
        seed: int = 0,
        views: int | None = None,
        label_key: str | None = None,
    ) -> None:
        self.image_list, self.transforms, self.seed, self.views = image_list, transforms, seed, views
        self.label_key = label_key
        self._watch = IndexedWatch(len(image_list))

    def __len__(self) -> int:
        return len(self.image_list)

    def place(self, index: int, epoch: int) -> int:
        """Return the number of the view of an entry in `epoch`, among all views of all entries."""
        assert self.views is not None
        return epoch % self.views * len(self) + index

    def read(self, index: int) -> bytes:
        """Return the bytes of the image file of an entry. Raises DataError naming the file."""
        return read_bytes(self.image_list.path(index))

    def changed(self, index: int) -> bool:
        """Return whether the file of an entry has changed since the last call for it, in any process."""
        return self._watch.changed(index, self.image_list.path(index))

    def sample(self, index: int, epoch: int = 0, size: WidthHeight | None = None) -> tuple[np.ndarray, Any]:
        """Return (image float32 (C, H, W), label) of an entry in `epoch`; `size` as in `sampler.Plan`.

        Raises DataError with the file and the reason if it cannot be read, decoded or transformed.
        """
        image, label = self.prepare(index, epoch, size)
        return self.transforms.finish(image[None])[0], label

    def prepare(self, index: int, epoch: int = 0, size: WidthHeight | None = None) -> tuple[np.ndarray, Any]:
        """Like `sample`, but with the image as `Compose.prepare` returns it."""
        data = self.read(index)
        drawn = epoch if self.views is None else epoch % self.views
        try:
            image, labels = self.transforms.labelled(
                data, np.random.default_rng([self.seed, drawn, index]), size
            )
        except DataError as error:
            raise DataError(f"{self.image_list.path(index)}: {error}") from None
        return image, self.image_list.label(index) if self.label_key is None else labels[self.label_key]
