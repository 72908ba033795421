"""Files whose headers say what their bytes do not hold: refused before a decoder runs, by few bytes and in no time."""

import contextlib
import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from ppcls_light.data.decode import decode_image, image_size
from ppcls_light.data.guards.header import MAX_CHUNKS, check_header
from ppcls_light.data.guards.jpeg import MAX_SCANS
from ppcls_light.data.guards.limits import MAX_PIXELS, TooManyPixelsError
from ppcls_light.errors import DataError

BACKENDS = ("cv2", "pil")
NOISE = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)


def encode(image, form, **options):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, form, **options)
    return buffer.getvalue()


def chunk(kind, content=b"", length=None):
    length = len(content) if length is None else length
    return struct.pack(">I", length) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width, height, idat, before=b"", colour=2):
    ihdr = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + before + idat + chunk(b"IEND")


def pixels(width, height):
    return zlib.compress(bytes((3 * width + 1) * height))


def jpeg_with_size(width, height):
    data = bytearray(encode(NOISE, "JPEG"))
    start = data.index(b"\xff\xc0")
    data[start + 5 : start + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def jpeg_with_scans(scans, side=64, junk=b"", **options):
    """A JPEG file whose last scan is repeated until there are so many."""
    data = encode(np.full((side, side, 3), 128, np.uint8), "JPEG", **options)
    starts = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xda"]
    last = junk + data[starts[-1] : -2]
    return data[:-2] + last * (scans - len(starts)) + b"\xff\xd9"


def by_component(scans):
    """A sequential JPEG file with a scan for each component, and the last one again: no SOF2 tells of them."""
    data = bytearray(encode(np.full((16, 16, 3), 128, np.uint8), "JPEG", subsampling=0))
    frame, scan = data.index(b"\xff\xc0"), data.index(b"\xff\xda")
    assert data[frame + 9] == 3
    assert data[scan + 4] == 3
    # All blocks of a flat grey are the same bits, so a scan of one component may use those of all three.
    table = {1: 0x00, 2: 0x11, 3: 0x11}
    one = [
        bytes((0xFF, 0xDA, 0, 8, 1, c, table[c], 0, 63, 0)) + bytes(data[scan + 14 : -2]) for c in (1, 2, 3)
    ]
    return bytes(data[:scan]) + b"".join(one) + one[-1] * (scans - 3) + b"\xff\xd9"


def bmp(width, height, rows, compression=0):
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, compression, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(rows), 0, 0, 54) + header + rows


def webp(canvas):
    frame = encode(NOISE, "WEBP")[12:]
    sides = b"".join((side - 1).to_bytes(3, "little") for side in canvas)
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + sides + frame
    return b"RIFF" + struct.pack("<I", len(body)) + body


WRONG = {
    "png: pixels of 2 GB": png(56, 40, chunk(b"IDAT", pixels(56, 40), 0x7FFFFFF0)),
    "png: the largest length": png(56, 40, chunk(b"IDAT", pixels(56, 40), 0xFFFFFFFF)),
    "png: second IDAT of 2 GB": png(
        56, 40, chunk(b"IDAT", pixels(56, 40)[:20]) + chunk(b"IDAT", pixels(56, 40)[20:], 0x7FFFFFF0)
    ),
    "png: text of 2 GB": png(56, 40, chunk(b"IDAT", pixels(56, 40)), chunk(b"tEXt", b"a\0b", 0x7FFFFFF0)),
    "png: a length within IEND": png(56, 40, chunk(b"IDAT", pixels(56, 40)[:-8]))[:-4] + b"IEND\xaeB`\x82",
    "png: 10000 x 10000 in a few bytes": png(10000, 10000, chunk(b"IDAT", zlib.compress(bytes(1000)))),
    "png: no pixels": png(56, 40, b""),
    "png: sides of 0": png(0, 0, chunk(b"IDAT", pixels(1, 1))),
    "png: chunks of nothing": png(56, 40, chunk(b"IDAT", pixels(56, 40)), chunk(b"teSt") * (MAX_CHUNKS + 1)),
    "jpeg: progressive": jpeg_with_scans(MAX_SCANS + 1, progressive=True),
    "jpeg: fill bytes": jpeg_with_scans(MAX_SCANS + 1, junk=b"\xff\xff\xff", progressive=True),
    "jpeg: comments that look like the end": jpeg_with_scans(
        MAX_SCANS + 1, junk=b"\xff\xfe\0\4\xff\xd9", progressive=True
    ),
    "jpeg: sequential": by_component(MAX_SCANS + 1),
    "jpeg: 13000 x 13000 in a few bytes": jpeg_with_size(13000, 13000),
    "jpeg: sides of 0": jpeg_with_size(0, 0),
    "bmp: rows of 200 MB": bmp(8000, 8000, bytes(1000)),
    "bmp: from above": bmp(8000, -8000, bytes(1000)),
    "dib: rows of 200 MB": bmp(8000, 8000, bytes(1000))[14:],
    "bmp: sides of 0": bmp(0, 0, b""),
    "webp: canvas without a picture": webp((3000, 3000))[:40],
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", WRONG)
def test_what_the_bytes_do_not_hold_is_refused(name, backend):
    with pytest.raises(DataError) as error:
        decode_image(WRONG[name], backend=backend)
    assert "\n" not in str(error.value)


TOO_LARGE = {
    "jpeg": jpeg_with_size(16000, 16000),
    "png": png(20000, 20000, chunk(b"IDAT", pixels(56, 40))),
    "png of 2 ** 31": png(2**31 - 1, 2**31 - 1, chunk(b"IDAT", pixels(56, 40))),
    "webp": webp((16777216, 255)),
    "webp of 2 ** 48": webp((16777216, 16777216)),
    "bmp": bmp(20000, -20000, b""),
    "bmp of 2 ** 31": bmp(-(2**31), -(2**31), b""),
    "gif": encode(NOISE[:, :, 0], "GIF")[:6] + b"\xff\xff\xff\xff" + encode(NOISE[:, :, 0], "GIF")[10:],
    "ppm": b"P6 20000 20000 255\n",
    "qoi": b"qoif" + struct.pack(">IIBB", 20000, 20000, 3, 0) + bytes(100),
}


@pytest.mark.parametrize("name", TOO_LARGE)
def test_one_limit_of_pixels_for_every_format(name, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # as many programs do that know their files
    for read in (decode_image, lambda data: decode_image(data, backend="pil"), image_size):
        with pytest.raises(TooManyPixelsError, match=f"more than {MAX_PIXELS:,} pixels"):
            read(TOO_LARGE[name])


def test_the_limit_of_scans():
    for data in (jpeg_with_scans(MAX_SCANS, progressive=True), by_component(MAX_SCANS)):
        for backend in BACKENDS:
            assert decode_image(data, backend=backend).shape[2] == 3
    # Of a large picture each scan takes longer.
    data = bytearray(jpeg_with_scans(60, progressive=True))
    start = data.index(b"\xff\xc2")
    assert check_header("JPEG", bytes(data)) == (64, 64)
    data[start + 5 : start + 9] = struct.pack(">HH", 8000, 8000)
    with pytest.raises(DataError, match="more than 44 scans"):
        check_header("JPEG", bytes(data) + bytes(1 << 20))


def test_scans_of_other_files_behind_the_picture_do_not_count():
    """Phones append a film, or a second picture, to a photo."""
    data = encode(NOISE, "JPEG", progressive=True) + b"\xff\xda" * 1000
    assert decode_image(data).shape == NOISE.shape
    data = encode(NOISE, "JPEG") + jpeg_with_scans(MAX_SCANS + 1, progressive=True)
    assert decode_image(data).shape == NOISE.shape


@pytest.mark.parametrize("backend", BACKENDS)
def test_pixels_that_are_all_there_are_read_though_the_file_is_cut_behind_them(backend):
    whole = encode(NOISE, "PNG")
    for cut in (4, 12, 16, 20):  # within and before IEND, the chunk's sum, Deflate's sum
        assert np.array_equal(decode_image(whole[:-cut], backend=backend), NOISE), cut
    buffer = io.BytesIO()
    Image.fromarray(NOISE).save(buffer, "PNG", save_all=True, append_images=[Image.fromarray(255 - NOISE)])
    animated = buffer.getvalue()
    for data in (animated, animated[:-200]):
        assert np.array_equal(decode_image(data, backend=backend), NOISE)


def test_a_damaged_animation_is_no_picture():
    """OpenCV 5.0 answers with the pixels of whatever was decoded before."""
    buffer = io.BytesIO()
    Image.fromarray(NOISE).save(buffer, "PNG", save_all=True, append_images=[Image.fromarray(255 - NOISE)])
    data = bytearray(buffer.getvalue())
    data[data.index(b"IDAT") + 1000] ^= 0xFF
    with pytest.raises(DataError):
        decode_image(bytes(data), backend="cv2")


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"exif": b"Exif\0\0"}),  # in the extended format, VP8X
        ("BMP", {}),
        ("DIB", {}),
    ],
)
def test_sizes_are_those_that_were_written(form, options):
    assert check_header(form, encode(NOISE, form, **options)) == (56, 40)
    for cut in range(64):
        with contextlib.suppress(DataError):
            check_header(form, encode(NOISE, form, **options)[:cut])


def test_hardest_pictures_for_the_limits_are_read():
    """One colour is as few bytes as a format can make of it."""
    flat = np.zeros((3000, 3000, 3), np.uint8)
    for form, options in (
        ("JPEG", {"quality": 1, "optimize": True}),
        ("JPEG", {"quality": 1, "progressive": True}),
        ("PNG", {"compress_level": 9}),
        ("WEBP", {"lossless": True, "method": 0}),
    ):
        assert decode_image(encode(flat, form, **options)).shape == flat.shape
    buffer = io.BytesIO()
    Image.new("1", (12000, 12000)).save(buffer, "PNG", optimize=True)
    assert check_header("PNG", buffer.getvalue()) == (12000, 12000)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_AS of Linux")
def test_bombs_stay_small(tmp_path):
    """All of them in a process that may have 300 MB more than it has, where OpenCV would take 2 GB for one."""
    for number, data in enumerate([*WRONG.values(), *TOO_LARGE.values()]):
        (tmp_path / f"{number:02}").write_bytes(data)
    code = """
import os, resource, sys
from ppcls_light.data.decode import read_image
from ppcls_light.errors import DataError
read_image(sys.argv[2])
with open("/proc/self/statm") as file:
    size = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + (300 << 20),) * 2)
for name in sorted(os.listdir(sys.argv[1])):
    try:
        read_image(os.path.join(sys.argv[1], name))
        print(name, "was read")
    except DataError as error:
        assert "memory" not in str(error), (name, error)
"""
    good = tmp_path.parent / f"{tmp_path.name}.gif"
    good.write_bytes(encode(NOISE[:, :, 0], "GIF"))
    command = [sys.executable, "-c", code, tmp_path, good]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    assert not done.stdout
