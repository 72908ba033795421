"""Table of the supported image formats, used by folder scans, the decoder and the server.

Pillow reads more than these. PostScript and Windows metafiles are left out for good, as their readers start other
programs; so are documents, videos and arrays that it only recognises, and raw files of cameras, of which it reads
a thumbnail.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from ..base.files import open_plain
from ..errors import DataError

HEAD = 64  # bytes of a file that tell its format


class Format(NamedTuple):
    """A format of image files."""

    name: str  # Pillow's name
    suffixes: tuple[str, ...]  # of its files, lower case
    head: bytes  # regular expression for the first bytes of a file
    package: str = "pip install -U pillow"  # command that installs a reader where Pillow has none


class NoFormatError(DataError):
    """Bytes of no format that is read, or of one whose reader is not installed."""


# ISO/IEC 14496-12, 4.3: a box of brands begins the file. One of AVIF may carry HEIF's brands, too.
_BRANDS = rb"\0\0\0[\x10-\xff]ftyp"
FORMATS = (
    Format("JPEG", (".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".mpo"), rb"\xff\xd8\xff"),
    Format("PNG", (".png", ".apng"), rb"\x89PNG\r\n\x1a\n"),
    Format("GIF", (".gif",), rb"GIF8[79]a"),
    Format("BMP", (".bmp",), rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0{3}"),
    Format("DIB", (".dib",), rb"[\x28\x34\x38\x40\x6c\x7c]\0{3}.{8}\x01\0[\x01\x04\x08\x10\x18\x20]\0"),
    Format("TIFF", (".tif", ".tiff"), rb"II[*+]\0|MM\0[*+]"),
    Format("WEBP", (".webp",), rb"RIFF.{4}WEBP"),
    Format("AVIF", (".avif", ".avifs"), _BRANDS + rb"(?=.{0,48}avi[fs])"),
    Format(
        "HEIF",
        (".heic", ".heics", ".heif", ".heifs", ".hif"),
        _BRANDS + rb"(?=.{0,48}(?:hei[cxms]|hev[cxms]|mif1|msf1))",
        'pip install pillow-heif (or "ppcls_light[heif]")',
    ),
    Format(
        "JPEG2000",
        (".jp2", ".j2k", ".jpc", ".jpf", ".jpx", ".j2c"),
        rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  \r\n\x87\n",
    ),
    Format("PPM", (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"), rb"P[1-6]\s+[#\d]|Pf\s+\d"),
    Format("ICO", (".ico",), rb"\0\0\x01\0[^\0]\0"),
    Format("PCX", (".pcx",), rb"\x0a[\0\x02\x03\5][\0\x01][\x01\x02\x04\x08]"),
    Format("QOI", (".qoi",), rb"qoif"),
    Format("SGI", (".sgi",), rb"\x01\xda[\0\x01][\x01\x02]"),
    Format("SUN", (".ras",), rb"\x59\xa6\x6a\x95"),
    # TGA has no magic number; either no colour map, or one of 256 colours at most.
    Format(
        "TGA",
        (".tga",),
        rb".\0[\x02\x03\x0a\x0b]\0{5}.{8}[\x01\x08\x0f\x10\x18\x20][\0-\x2f]"
        rb"|.\x01[\x01\x09]\0\0.[\0\x01][\x0f\x10\x18\x20].{8}\x08[\0-\x2f]",
    ),
)
SUFFIXES = frozenset(suffix for form in FORMATS for suffix in form.suffixes)
_HEADS = tuple((form, re.compile(form.head, re.DOTALL)) for form in FORMATS)

# Files that nobody means as images: they are not opened to look.
_OTHERS = """
    .txt .csv .tsv .json .jsonl .xml .yaml .yml .toml .ini .cfg .log .md .rst .html .htm .css .js .py .pyc
    .ipynb .sh .bat .c .cc .cpp .h
    .npy .npz .mat .pkl .pickle .h5 .hdf5 .parquet .arrow .feather .tfrecord .record .rec .idx .lst .db
    .sqlite .bin .pdparams .pdopt .pdstates .pdema .pdmodel .pdiparams .pt .pth .ckpt .onnx .safetensors .zip
    .tar .gz .tgz .bz2 .xz .7z .rar .zst
    .mp4 .m4v .avi .mov .mkv .webm .mpg .mpeg .wmv .flv .3gp .mts .mp3 .wav .m4a .aac .flac .ogg .pdf .doc
    .docx .xls .xlsx .ppt .pptx .odt .eps .ps .ai .svg .psd .xcf .wmf .emf .jxl
    .dng .nef .cr2 .cr3 .arw .orf .rw2 .raf .pef .srw .aae .xmp .thm
    .lnk .url .exe .dll .so .part .tmp .bak
"""
OTHER_SUFFIXES = frozenset(_OTHERS.split())


def format_of(data: bytes) -> Format | None:
    """Return the `Format` of a file that begins with `data` (`HEAD` bytes or more), None if it is no image."""
    head = bytes(data[:HEAD])
    return next((form for form, pattern in _HEADS if pattern.match(head)), None)


def is_image(path: str) -> bool:
    """Return whether the file at `path` is to be taken as an image.

    A suffix of the table, in any case, says so, and one of `OTHER_SUFFIXES` that it is none: a million files on a
    network disk are not opened for that. Files with another suffix, or with none, are judged by their first bytes.

    Raises OSError: such a file cannot be read.
    """
    suffix = os.path.splitext(path)[1].lower()
    if suffix in SUFFIXES:
        return True
    if suffix in OTHER_SUFFIXES:
        return False
    with open_plain(path, buffering=0) as file:
        return format_of(file.read(HEAD)) is not None


def names() -> str:
    """Return the formats' names for a message."""
    return ", ".join(form.name for form in FORMATS if form.name != "DIB")
