"""Labelled images as arrays, one at a time."""

import numpy as np

from ..errors import DataError
from .decode import read_bytes
from .image_list import IndexedWatch


class ImageDataset:
    """Samples of an `ImageList`.

    Args:
        image_list: the images.
        transforms: a `Compose` that takes the bytes of an image file.
        seed: with the epoch and the index it seeds a sample's random ops, so that a sample does not depend
            on workers, ranks or what was read before it.
    """

    def __init__(self, image_list, transforms, seed=0):
        self.image_list = image_list
        self.transforms = transforms
        self.seed = seed
        self._watch = IndexedWatch(len(image_list))

    def __len__(self):
        return len(self.image_list)

    def read(self, index):
        """Return the bytes of the image file of entry `index`. Raises DataError naming the file."""
        return read_bytes(self.image_list.path(index))

    def changed(self, index):
        """Return whether the file of entry `index` is another than when this was last asked, in any process."""
        return self._watch.changed(index, self.image_list.path(index))

    def sample(self, index, epoch=0, size=None):
        """Return (image float32 (C, H, W), label int) of entry `index` in `epoch`; `size` as in `sampler.Plan`.

        Raises:
            DataError: the file cannot be read, decoded or transformed; it is named with the reason.
        """
        image, label = self.prepare(index, epoch, size)
        return self.transforms.finish(image[None])[0], label

    def prepare(self, index, epoch=0, size=None):
        """Like `sample`, but with the image as `Compose.prepare` returns it."""
        data = self.read(index)
        try:
            image = self.transforms.prepare(data, np.random.default_rng([self.seed, epoch, index]), size)
        except DataError as error:
            raise DataError(f"{self.image_list.path(index)}: {error}") from None
        return image, self.image_list.label(index)
