"""Pictures of 16 bits per channel, in every container, against shifts of the values that were written."""

import io
import struct

import cv2
import numpy as np
import pytest
from PIL import Image

from ppcls_light.data import decode
from ppcls_light.data.decode import decode_image
from ppcls_light.errors import DataError, warn_once

BACKENDS = ("cv2", "pil")


def values(bits, channels):
    """Return uint16 (9, 13, channels) with the largest value of `bits`."""
    array = np.random.default_rng(bits).integers(0, 1 << bits, (9, 13, channels), dtype=np.uint16)
    array[0, 0] = (1 << bits) - 1
    return array


def tiff(array, order=">", planes=1, tags=()):
    """Return an uncompressed TIFF 6.0 file of uint16 (H, W, C)."""
    height, width, count = array.shape
    parts = [array[:, :, i] for i in range(count)] if planes == 2 else [array]
    body = b"".join(part.astype(f"{order}u2").tobytes() for part in parts)
    size = len(body) // len(parts)
    entries = [
        *[(256, [width]), (257, [height]), (258, [16] * count), (259, [1]), (262, [1 if count == 1 else 2])],
        *[(273, [8 + size * i for i in range(len(parts))]), (277, [count]), (278, [height])],
        *[(279, [size] * len(parts)), *tags, (284, [planes])],
    ]
    start = 8 + len(body)
    directory, more = struct.pack(f"{order}H", len(entries)), b""
    for tag, numbers in entries:
        content = struct.pack(f"{order}{len(numbers)}H", *numbers)
        if len(content) > 4:
            place = start + 2 + 12 * len(entries) + 4 + len(more)
            content, more = struct.pack(f"{order}I", place), more + content
        directory += struct.pack(f"{order}HHI", tag, 3, len(numbers)) + content.ljust(4, b"\0")
    head = b"MM\0*" if order == ">" else b"II*\0"
    return head + struct.pack(f"{order}I", start) + body + directory + bytes(4) + more


def cv2_file(suffix, array, *options):
    done, data = cv2.imencode(suffix, array[:, :, ::-1] if array.shape[2] == 3 else array, options)
    assert done
    return data.tobytes()


WRITERS = {
    "png": lambda a: cv2_file(".png", a),
    "tiff": lambda a: cv2_file(".tiff", a, cv2.IMWRITE_TIFF_COMPRESSION, 1),
    "tiff lzw": lambda a: cv2_file(".tiff", a, cv2.IMWRITE_TIFF_COMPRESSION, 5),
    "tiff big-endian": tiff,
    "pnm": lambda a: b"P%d 13 9 65535\n" % (5 if a.shape[2] == 1 else 6) + a.astype(">u2").tobytes(),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("container", WRITERS)
def test_low_bits_are_scaled_and_others_are_the_high_byte(container, channels, backend):
    for bits, read_as in ((8, 8), (9, 10), (10, 10), (12, 12), (13, 16), (16, 16)):
        array = values(bits, channels)
        image = decode_image(WRITERS[container](array), backend=backend)
        assert np.array_equal(image, np.broadcast_to(array >> read_as - 8, (9, 13, 3))), bits


def test_colours_of_png_without_opencv(monkeypatch):
    array = values(10, 3)
    data = WRITERS["png"](array)
    monkeypatch.setattr(decode, "opencv", lambda: None)
    assert np.array_equal(decode_image(data, backend="pil"), array >> 2)


@pytest.mark.parametrize("backend", BACKENDS)
def test_alpha_of_16_bits_does_not_count(backend):
    array = values(10, 4)
    array[:, :, 3] = 65535
    assert np.array_equal(decode_image(WRITERS["png"](array), False, backend), array[:, :, :3] >> 2)
    assert np.array_equal(decode_image(WRITERS["tiff"](array), False, backend), array[:, :, :3] >> 2)


def test_a_file_s_own_range_comes_first():
    dark = values(8, 1)  # of a camera of 12 bits
    said = tiff(dark, "<", tags=[(281, [4095])])
    assert np.array_equal(decode_image(said)[:, :, 0], dark[:, :, 0] >> 4)
    assert np.array_equal(decode_image(tiff(dark, "<"))[:, :, 0], dark[:, :, 0])
    pgm = b"P5 13 9 1023\n" + values(4, 1).astype(">u2").tobytes()  # nearly black, and says so
    assert decode_image(pgm).max() == 15 >> 2


def test_the_rule_is_said_once(caplog):
    warn_once.cache_clear()
    for bits in (10, 10, 16):
        decode_image(WRITERS["png"](values(bits, 1)))
    assert caplog.text.count("low 10 bits") == 1
    decode_image(WRITERS["tiff"](values(14, 3)))
    assert "no value above 16383" in caplog.text
    decode_image(WRITERS["png"](np.full((9, 13, 1), 65535, np.uint16)))
    assert len(caplog.records) == 2


def test_nearly_black_jpeg_2000_is_said(caplog):
    warn_once.cache_clear()
    large = np.kron(values(10, 3), np.ones((12, 12, 1), np.uint16))
    assert decode_image(cv2_file(".jp2", large)).max() < 16
    assert "JPEG 2000 picture of 16 bits per colour uses only its low ones" in caplog.text


def test_what_cannot_be_scaled_is_refused():
    with pytest.raises(DataError, match="16-bit colours in a plane each"):
        decode_image(tiff(values(16, 3), planes=2))
    for array in (np.full((4, 4), -1, np.int32), np.full((4, 4), 1 << 20, np.int32)):
        buffer = io.BytesIO()
        Image.fromarray(array).save(buffer, "TIFF")
        with pytest.raises(DataError, match="negative or 32-bit integers"):
            decode_image(buffer.getvalue())
