"""The table of formats against files that Pillow writes, and against published first bytes."""

import io

import numpy as np
import pytest
from PIL import Image

from ppcls_light.data.decode import decode_image, open_image
from ppcls_light.data.formats import (
    FORMATS,
    OTHER_SUFFIXES,
    SUFFIXES,
    NoFormatError,
    format_of,
    is_image,
)
from ppcls_light.errors import DataError

Image.init()
PIXELS = np.tile(np.array([[[200, 30, 40], [20, 180, 60]]], np.uint8), (24, 12, 1))


def encoded(form, mode="RGB"):
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).convert(mode).save(buffer, form)
    return buffer.getvalue()


@pytest.mark.parametrize("form", [form.name for form in FORMATS if form.name in Image.SAVE])
def test_files_of_each_format_are_known_and_decoded(form):
    data = encoded(form)
    assert format_of(data).name == form
    image = decode_image(data)
    assert image.shape == (24, 24, 3) or form == "ICO"
    with pytest.raises(DataError):
        decode_image(data[:20])


def test_suffixes_of_one_format_are_no_other_s():
    assert len(SUFFIXES) == sum(len(form.suffixes) for form in FORMATS)
    assert not SUFFIXES & OTHER_SUFFIXES


@pytest.mark.parametrize(
    ("head", "form"),
    [
        (b"\0\0\0\x24ftypheic\0\0\0\0mif1MiHEheicmiaf", "HEIF"),  # a phone's
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "AVIF"),
        (b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41", None),  # a film
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", None),
        (b"RIFF\x24\0\0\0WAVEfmt ", None),
        (b"%!PS-Adobe-3.0 EPSF-3.0", None),
        (b"\xc5\xd0\xd3\xc6", None),  # EPS with a preview
        (b"\xd7\xcd\xc6\x9a", None),  # a Windows metafile
        (b"%PDF-1.7", None),
        (b"PK\x03\x04", None),
        (b"SQLite format 3\0", None),
        (b"P5 is the fifth page of the notes", None),
        (b"BMW, Audi and others: a list of cars", None),
        (b"", None),
        (b"\0" * 64, None),
    ],
)
def test_first_bytes(head, form):
    found = format_of(head)
    assert (found and found.name) == form


def test_known_suffixes_are_not_opened_and_unknown_ones_are(tmp_path):
    assert is_image(tmp_path / "not there.JPEG")
    assert not is_image(tmp_path / "not there.XML")
    with pytest.raises(FileNotFoundError):
        is_image(tmp_path / "not there")


def test_postscript_starts_no_interpreter():
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "EPS")
    with pytest.raises(NoFormatError, match="not an image"):
        open_image(buffer.getvalue())


def test_photos_of_phones(tmp_path):
    head = b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf" + b"\0" * 100
    try:
        import pillow_heif
    except ImportError:
        with pytest.raises(NoFormatError, match=r"HEIF .* pip install pillow-heif"):
            decode_image(head)
        return
    with pytest.raises(DataError):
        decode_image(head)
    path = tmp_path / "a.heic"
    pillow_heif.from_pillow(Image.fromarray(np.full((32, 48, 3), (200, 30, 40), np.uint8))).save(path)
    image = decode_image(path.read_bytes())
    assert image.shape == (32, 48, 3)
    assert np.abs(image.mean((0, 1)) - (200, 30, 40)).max() < 8
