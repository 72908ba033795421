"""Files that a server decodes: those of the formats that every tool reads, of bounded size, judged by their header."""

from ..data.decode import image_size
from ..data.formats import NoFormatError, names
from ..data.guards.limits import TooManyPixelsError
from ..errors import DataError

# Resizing the short side enlarges a strip in proportion: 1 x 40000 pixels at short side 256 are 10 gigabytes.
MAX_RATIO = 50


class ImageRefusedError(DataError):
    """An image that is not decoded; `status` is the HTTP status that says why."""

    def __init__(self, status, reason):
        super().__init__(reason)
        self.status = status


def check_image(data, max_pixels):
    """Raise ImageRefusedError unless `data`, the bytes of a file, is an image to decode.

    Its status is 415 for what is of none of the formats that are read, 413 for one of more than `max_pixels`
    pixels, and 422 for a strip whose one side is more than `MAX_RATIO` times the other, or a damaged header.
    """
    try:
        width, height = image_size(data)
    except NoFormatError as error:
        raise ImageRefusedError(415, f"{error} (read here: {names()})") from None
    except TooManyPixelsError:
        raise ImageRefusedError(
            413, f"the image has more than {max_pixels:,} pixels; send a smaller one"
        ) from None
    except DataError as error:
        raise ImageRefusedError(422, str(error)) from None
    if width * height > max_pixels:
        raise ImageRefusedError(
            413, f"the image has {width} x {height} pixels, more than {max_pixels:,}; send a smaller one"
        )
    if max(width, height) > MAX_RATIO * min(width, height):
        raise ImageRefusedError(
            422, f"a strip of {width} x {height} pixels: one side is over {MAX_RATIO} times the other"
        )
