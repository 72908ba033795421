"""Every kind of file against the pixels that were written into it; both backends must agree."""

import io
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from ppcls_light.data.decode import check_backend, decode_image, read_image
from ppcls_light.errors import ConfigError, DataError

BACKENDS = ("cv2", "pil")


@pytest.fixture
def pixels():
    """Smooth colours, so that lossy formats stay close: uint8 (40, 56, 3)."""
    corners = np.array([[[200, 30, 40], [20, 180, 60]], [[30, 40, 210], [120, 120, 120]]], np.uint8)
    return cv2.resize(corners, (56, 40))


def encode(image, form, **options):
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def png_16_bit(array):
    done, data = cv2.imencode(".png", array)
    assert done
    return data.tobytes()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "WEBP"])
def test_lossless_formats_give_back_the_pixels(pixels, form, backend):
    options = {"lossless": True} if form == "WEBP" else {}
    image = decode_image(encode(pixels, form, **options), backend=backend)
    assert image.dtype == np.uint8
    assert np.array_equal(image, pixels)


@pytest.mark.parametrize("backend", BACKENDS)
def test_bgr_is_rgb_reversed(pixels, backend):
    assert np.array_equal(decode_image(encode(pixels, "PNG"), False, backend), pixels[:, :, ::-1])


def test_jpeg_is_opencv_s_and_pillow_s_picture(pixels):
    data = encode(pixels, "JPEG", quality=95)
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
    assert np.array_equal(decode_image(data, backend="cv2"), expected)
    assert np.array_equal(decode_image(data, backend="pil"), np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("backend", BACKENDS)
def test_grey_is_repeated(pixels, backend):
    for form in ("PNG", "JPEG"):
        image = decode_image(encode(pixels[:, :, 0], form), backend=backend)
        assert image.shape == pixels.shape
        assert np.array_equal(image[:, :, 0], image[:, :, 1])
        assert np.array_equal(image[:, :, 0], image[:, :, 2])
    assert np.array_equal(
        decode_image(encode(pixels[:, :, 0], "PNG"), backend=backend)[:, :, 2], pixels[:, :, 0]
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_bit(backend):
    bits = np.random.default_rng(0).integers(0, 2, (9, 13)).astype(bool)
    image = decode_image(encode(Image.fromarray(bits), "PNG"), backend=backend)
    assert np.array_equal(image, np.repeat(bits[:, :, None] * np.uint8(255), 3, 2))


@pytest.mark.parametrize("backend", BACKENDS)
def test_alpha_is_dropped(pixels, backend):
    alpha = np.random.default_rng(0).integers(0, 256, (*pixels.shape[:2], 1), dtype=np.uint8)
    rgba = np.concatenate([pixels, alpha], axis=2)
    assert np.array_equal(decode_image(encode(rgba, "PNG"), backend=backend), pixels)
    grey_alpha = Image.fromarray(np.concatenate([pixels[:, :, :1], alpha], axis=2), "LA")
    assert np.array_equal(decode_image(encode(grey_alpha, "PNG"), backend=backend)[:, :, 1], pixels[:, :, 0])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("form", ["PNG", "GIF"])
def test_palette(pixels, form, backend):
    quantized = Image.fromarray(pixels).quantize(16)
    table = np.array(quantized.getpalette()).reshape(-1, 3)
    expected = table[np.asarray(quantized)]
    assert np.array_equal(decode_image(encode(quantized, form), backend=backend), expected)
    for transparency in (3, bytes(range(16))):
        data = encode(quantized, "PNG", transparency=transparency)
        assert np.array_equal(decode_image(data, backend=backend), expected)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_cmyk(pixels, form, backend):
    options = {"quality": 100, "subsampling": 0} if form == "JPEG" else {}
    image = decode_image(encode(Image.fromarray(pixels).convert("CMYK"), form, **options), backend=backend)
    assert np.abs(image.astype(int) - pixels).max() <= 4


@pytest.mark.parametrize("backend", BACKENDS)
def test_16_bits_keep_the_high_byte(backend):
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 65536, (9, 13), dtype=np.uint16)
    colour = rng.integers(0, 65536, (9, 13, 3), dtype=np.uint16)
    assert np.array_equal(decode_image(png_16_bit(grey), backend=backend)[:, :, 0], grey >> 8)
    assert np.array_equal(decode_image(png_16_bit(colour), False, backend), colour >> 8)
    done, tiff = cv2.imencode(".tiff", grey)
    assert done
    assert np.array_equal(decode_image(tiff.tobytes(), backend=backend)[:, :, 2], grey >> 8)


# EXIF 2.3, tag 0x0112: what must be done to the stored rows and columns to see the picture upright.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a.transpose(1, 0, 2)[:, ::-1],
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: a.transpose(1, 0, 2)[::-1],
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF", "JPEG"])
def test_exif_orientation_is_applied(pixels, form, backend):
    exif = Image.Exif()
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}.get(form, {})
    for orientation, upright in UPRIGHT.items():
        exif[0x0112] = orientation
        image = decode_image(encode(pixels, form, exif=exif, **options), backend=backend)
        expected = upright(pixels)
        assert image.shape == expected.shape, orientation
        assert np.abs(image.astype(int) - expected).max() <= (4 if form == "JPEG" else 0), orientation


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP", "WEBP", "TIFF"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_file_cut_short_is_an_error(pixels, form, share, backend):
    noise = np.random.default_rng(0).integers(0, 256, pixels.shape, dtype=np.uint8)
    data = encode(noise, form)
    with pytest.raises(DataError):
        decode_image(data[: int(len(data) * share)], backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_jpeg_with_bytes_behind_its_end_is_read(pixels, backend):
    data = encode(pixels, "JPEG")
    assert np.array_equal(
        decode_image(data + b"\0" * 100, backend=backend), decode_image(data, backend="pil")
    )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"just some text\n", "not an image"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 50 + b"\xff\xd9", "image"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 30 + b"IEND\xaeB`\x82", "image"),
    ],
)
def test_what_is_no_image_is_named(data, reason, backend, tmp_path):
    with pytest.raises(DataError, match=reason):
        decode_image(data, backend=backend)
    path = tmp_path / "坏 图.jpg"
    path.write_bytes(data)
    with pytest.raises(DataError) as error:
        read_image(path, backend=backend)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("backend", BACKENDS)
def test_damaged_png_pixels_are_an_error(backend):
    noise = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    data = bytearray(encode(noise, "PNG"))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(DataError):
        decode_image(bytes(data), backend=backend)


def test_float_image_is_refused():
    with pytest.raises(DataError, match="32-bit floats"):
        decode_image(encode(np.ones((4, 4), np.float32), "TIFF"))


def test_any_name_can_be_read(pixels, tmp_path):
    path = tmp_path / "衣 服\t1.png"
    path.write_bytes(encode(pixels, "PNG"))
    assert np.array_equal(read_image(str(path)), pixels)


def test_missing_file(tmp_path):
    with pytest.raises(DataError, match=r"none\.jpg: cannot be read: No such file"):
        read_image(tmp_path / "none.jpg")


def test_backend_names():
    assert check_backend("PIL") == "pil"
    with pytest.raises(ConfigError, match="use cv2 or pil"):
        check_backend("opencv")


def test_both_backends_refuse_decompression_bombs(tmp_path):
    """A complete PNG of 1 bit per pixel and 400 million pixels: 50 kB as a file, 1.2 GB once decoded."""
    path = tmp_path / "bomb.png"
    Image.new("1", (20000, 20000)).save(path)
    assert path.stat().st_size < 100_000
    code = (
        "import sys, paddle\n"
        "from ppcls_light.data.decode import read_image\n"
        "from ppcls_light.errors import DataError\n"
        "for backend in ('cv2', 'pil'):\n"
        "    try:\n        read_image(sys.argv[1], backend=backend)\n"
        "    except DataError as error:\n        print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert done.stdout.count("more than 178,956,970 pixels") == 2
