"""JPEG photos decoded no larger than the part that is cut out of them has to be."""

from ..guards.jpeg import jpeg_size
from ..image import size_of

SHRINKS = (8, 4, 2)


class DecodeAndCrop:
    """`DecodeImage` and the `RandCropImage` after it in one step.

    The box is drawn from the size in the file's header, by the same random numbers as without this class.
    The photo is then decoded at the smallest of 1/8, 1/4, 1/2 and full size at which the box still has as many
    pixels as the result, each way, so that nothing is enlarged that was not before. The box is rounded to
    pixels of that size.

    Args:
        decode: a `DecodeImage` of pictures (H, W, 3).
        crop: a `RandCropImage`.
    """

    takes_size = True

    def __init__(self, decode, crop):
        self._decode, self._crop = decode, crop
        self.name = type(crop).__name__

    def __call__(self, data, rng, size=None):
        return self.cut(*self.decode(data, rng, size), rng, size)

    def decode(self, data, rng, size=None):
        """Return the picture, decoded as small as it may be, and in it the box (left, top, width, height)."""
        width, height = size or self._crop.size
        full = jpeg_size(data)
        if full is not None and full[0] >= SHRINKS[-1] * width and full[1] >= SHRINKS[-1] * height:
            box = self._crop.box(*full, rng)
            fitting = (s for s in SHRINKS if box[2] >= s * width and box[3] >= s * height)
            shrink = next(fitting, 1)
            image = self._decode(data, shrink=shrink)
            if size_of(image) == (-(-full[0] // shrink), -(-full[1] // shrink)):
                return image, reduced_box(box, size_of(image), shrink)
            # OpenCV or Pillow read another orientation from the file than `jpeg_size` did.
        image = self._decode(data)
        return image, self._crop.box(*size_of(image), rng)

    def cut(self, image, box, rng, size=None):
        """Return the part `box` of `image`, resized."""
        return self._crop.cut(image, box, size, rng)


def reduced_box(box, size, shrink):
    """Return `box` (left, top, width, height) in the picture at 1 / `shrink`, which is `size` (width, height)."""
    left, top, width, height = (round(value / shrink) for value in box)
    return min(left, size[0] - width), min(top, size[1] - height), width, height
