"""Which files a server decodes: known formats of bounded size, judged by their header alone."""

import io

from PIL import Image, UnidentifiedImageError

from ppcls_light.errors import DataError

# Pillow reads many more; some of those readers call other programs, and no camera or browser writes them.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
# Resizing the short side enlarges a strip in proportion: 1 x 40000 pixels at short side 256 are 10 gigabytes.
MAX_RATIO = 50


class ImageRefusedError(DataError):
    """An image that is not decoded; `status` is the HTTP status that says why."""

    def __init__(self, status, reason):
        super().__init__(reason)
        self.status = status


def check_image(data, max_pixels):
    """Raise ImageRefusedError unless `data`, the bytes of a file, is an image to decode.

    Its status is 415 for what is none of `FORMATS`, 413 for one of more than `max_pixels` pixels, and 422 for
    a strip whose one side is more than `MAX_RATIO` times the other, or a damaged header.
    """
    if not data:
        raise ImageRefusedError(422, "the file is empty (0 bytes)")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
    except UnidentifiedImageError:
        raise ImageRefusedError(
            415, f"not an image of a kind that is read here ({', '.join(FORMATS)})"
        ) from None
    except Image.DecompressionBombError:
        raise ImageRefusedError(
            413, f"the image has more than {max_pixels:,} pixels; send a smaller one"
        ) from None
    except (OSError, SyntaxError, ValueError, EOFError, ArithmeticError) as error:
        raise ImageRefusedError(422, f"damaged image: {error}") from None
    if width * height > max_pixels:
        raise ImageRefusedError(
            413, f"the image has {width} x {height} pixels, more than {max_pixels:,}; send a smaller one"
        )
    if max(width, height) > MAX_RATIO * min(width, height):
        raise ImageRefusedError(
            422, f"a strip of {width} x {height} pixels: one side is over {MAX_RATIO} times the other"
        )
