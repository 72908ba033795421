"""Everything that people hand over as an image: one row for one of them, an error row for what is none."""

import array
import io
import mmap
import os
import re
import threading
import zipfile
from pathlib import Path

import numpy as np
import paddle
import pytest
from PIL import Image

from ppcls_light.errors import DataError
from ppcls_light.prediction import Predictor
from ppcls_light.prediction.items import is_one
from tests.prediction.conftest import OPS, picture


@pytest.fixture(scope="module")
def predictor(exported):
    return Predictor(exported, batch_size=3)


@pytest.fixture
def red(tmp_path):
    """A lossless file of a red picture and, by Pillow, its pixels."""
    path = tmp_path / "red.png"
    Image.fromarray(picture(0)).save(path)
    return path, picture(0)


class Broken:
    """Raises whatever is done with it."""

    def __init__(self, error):
        self._error = error

    def __fspath__(self):
        raise self._error


class Tensor:
    """Stands for those of libraries that are not installed here: they have `numpy`, and can be iterated over."""

    def __iter__(self):
        return iter([picture(0)] * 5)

    def numpy(self):
        return picture(0)


class ArrayLike:
    """Stands for those of h5py, zarr and xarray."""

    ndim = 3

    def __array__(self, dtype=None, copy=None):
        return picture(0)

    def __iter__(self):
        return iter(picture(0))


def pipe_of(data):
    """Return a binary file object that cannot be rewound."""
    reading, writing = os.pipe()
    thread = threading.Thread(target=lambda: (os.write(writing, data), os.close(writing)))
    thread.start()
    return os.fdopen(reading, "rb")


def kinds(path, pixels):
    """Yield (name, one image, the `file_name` of its row); all are the same image."""
    data = path.read_bytes()
    yield "str", str(path), str(path)
    yield "Path", path, str(path)
    yield "numpy's str", np.array([str(path)])[0], str(path)
    yield "bytes", data, None
    yield "bytearray", bytearray(data), None
    yield "memoryview", memoryview(data), None
    yield "memoryview of every second byte", memoryview(np.repeat(np.frombuffer(data, "u1"), 2))[::2], None
    yield "array.array", array.array("B", data), None
    yield "BytesIO", io.BytesIO(data), None
    written = io.BytesIO()
    written.write(data)
    yield "BytesIO at its end", written, None
    yield "file", path.open("rb"), str(path)
    yield "file of a number", io.FileIO(os.open(path, os.O_RDONLY)), None
    yield "pipe", pipe_of(data), None
    with path.open("rb") as file:
        yield "mmap", mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), None
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("in/zip.png", data)
    with zipfile.ZipFile(archive) as file:
        yield "member of a zip", file.open("in/zip.png"), "in/zip.png"
    yield "Pillow", Image.fromarray(pixels), None
    yield "Pillow, not loaded", Image.open(path), str(path)
    yield "Pillow of bytes", Image.open(io.BytesIO(data)), None
    yield "RGB", pixels, None
    yield "RGBA", np.dstack([pixels, np.full(pixels.shape[:2], 7, "uint8")]), None
    yield "not contiguous", np.dstack([pixels, pixels])[:, :, :3], None
    yield "negative strides", pixels[::-1, ::-1].copy()[::-1, ::-1], None
    yield "Fortran order", np.asfortranarray(pixels), None
    frozen = pixels.copy()
    frozen.flags.writeable = False
    yield "read-only", frozen, None
    yield "masked, but nothing is", np.ma.array(pixels), None
    yield "array-like", ArrayLike(), None


def test_one_item_is_one_row_whatever_its_kind(predictor, red):
    path, pixels = red
    (expected,) = predictor.predict([pixels])
    assert expected["label_names"][0] == "red"
    for kind, item, name in kinds(path, pixels):
        assert predictor.predict(item) == [{**expected, "file_name": name}], kind


@pytest.mark.parametrize("wrap", [list, tuple, iter, lambda images: dict(enumerate(images)).values()])
def test_all_kinds_in_one_iterable(predictor, red, wrap):
    path, pixels = red
    cases = list(kinds(path, pixels))
    (expected,) = predictor.predict([pixels])
    rows = predictor.predict(wrap([item for _, item, _ in cases]))
    assert rows == [{**expected, "file_name": name} for _, _, name in cases]


@pytest.mark.slow
def test_all_kinds_and_what_is_none_in_processes(exported, red):
    path, pixels = red
    predictor = Predictor(exported, batch_size=2)

    def mixed():  # again and again, so that the processes have started
        for _ in range(20):
            yield from (item for _, item, _ in kinds(path, pixels))
            yield from (lambda: None, threading.Lock(), None, pixels[:0], Broken(ValueError("no")))

    expected = predictor.predict(mixed())
    assert sum("error" in row for row in expected) == 20 * 5
    assert list(predictor.iter_predict(mixed(), workers=2)) == expected


def test_grey_arrays_are_the_grey_file(predictor, tmp_path):
    grey = picture(1)[:, :, 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    (row,) = predictor.predict(tmp_path / "grey.png")
    expected = {**row, "file_name": None}
    for one in (grey, grey[:, :, None], Image.fromarray(grey), np.ma.array(grey)):
        assert predictor.predict(one) == [expected]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"])
def test_a_pillow_image_is_what_its_file_is(predictor, tmp_path, mode):
    deep = Image.fromarray(picture(2)[:, :, 0].astype("uint16") * 257)
    image = deep if mode == "I;16" else Image.fromarray(picture(2)).convert(mode)
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    # Pillow 10 cannot read its own TIFF files in YCbCr.
    (image.convert("RGB") if mode == "YCbCr" else image).save(path)
    (row,) = predictor.predict(path)
    assert predictor.predict(image) == [{**row, "file_name": None}]


def test_a_pillow_image_is_turned_as_its_file_is(exported, tmp_path):
    upright = picture(0)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    path = tmp_path / "a.png"
    Image.fromarray(np.rot90(upright)).save(path, exif=exif)
    predictor = Predictor(exported)
    ready = predictor.preprocess(upright)
    np.testing.assert_array_equal(predictor.preprocess(Image.open(path)), ready)
    np.testing.assert_array_equal(predictor.preprocess(path), ready)


def test_bgr_is_said_by_an_argument(predictor):
    blue = picture(2)
    alpha = np.full((*blue.shape[:2], 1), 255, "uint8")
    (expected,) = predictor.predict(blue)
    assert expected["label_names"][0] == "blue"
    bgr = np.ascontiguousarray(blue[:, :, ::-1])
    for one in (bgr, blue[:, :, ::-1], np.dstack([bgr, alpha])):
        assert predictor.predict(one, bgr=True) == [expected]
        assert list(predictor.iter_predict([one], bgr=True)) == [expected]
        np.testing.assert_array_equal(predictor.preprocess(one, bgr=True), predictor.preprocess(blue))
        assert predictor.predict(one)[0]["label_names"][0] == "red"
    data = io.BytesIO()
    Image.fromarray(blue).save(data, "PNG")
    # Arrays alone have that order.
    assert predictor.predict([data, Image.fromarray(blue)], bgr=True) == [expected] * 2


@pytest.mark.parametrize("decode", [{"to_rgb": False}, {"to_np": False}, {"backend": "pil"}])
def test_an_array_is_what_the_file_is_however_the_network_wants_it(exported, red, decode):
    path, pixels = red
    ops = [("DecodeImage", decode), *OPS]
    if "to_np" in decode:
        ops[1] = ("ResizeImage", {"size": [40, 32], "backend": "pil"})
    predictor = Predictor(exported, transform_ops=ops)
    np.testing.assert_array_equal(predictor.preprocess(pixels), predictor.preprocess(path))


def test_stacked_arrays_and_arrays_of_paths_are_many(predictor, red):
    path, pixels = red
    assert len(predictor.predict(np.stack([pixels] * 4))) == 4
    assert predictor.predict(np.zeros((0, 9, 9, 3), "uint8")) == []
    for dtype in (str, object):
        rows = predictor.predict(np.array([str(path)] * 2, dtype))
        assert [row["file_name"] for row in rows] == [str(path)] * 2
    sizes = np.empty(2, object)
    sizes[:] = [pixels, pixels[:40]]
    assert ["error" in row for row in predictor.predict(sizes)] == [False, False]


UNUSABLE = [
    (None, "None is no image"),
    (7, "int is no type of an image; give a path"),
    (object(), "object is no type of an image"),
    (Path, "is no type of an image"),
    ({"a.png": 1}, "dict is no type of an image"),
    (lambda: None, "function is no type of an image"),
    (Tensor(), r"Tensor is no array of numpy's; .*tensor\.numpy\(\)"),
    (paddle.zeros([3, 8, 8]), r"Tensor is no array of numpy's"),
    (paddle.zeros([2, 3, 8, 8]), r"Tensor is no array of numpy's"),
    (np.zeros((0, 9, 3), "uint8"), "no pixels: its height is 0, its width 9"),
    (np.zeros((9, 0), "uint8"), "no pixels"),
    (np.zeros((8, 8, 3), "float32"), r"an array of float32, an image is uint8; give \(255 \* array\)"),
    (np.zeros((8, 8, 3), "uint16"), r"an array of uint16, .*>> 8"),
    (np.zeros((8, 8), bool), r"an array of bool, .*\* 255"),
    (np.zeros((8, 8, 3), "int64"), r"an array of int64, .*clip"),
    (np.zeros((8, 8, 3), object), r"an array of object, an image is uint8; give a path"),
    (np.zeros((3, 8, 8), "uint8"), r"transpose\(1, 2, 0\)"),
    (np.zeros((8, 8, 2), "uint8"), r"shape \(8, 8, 2\) is no image"),
    (np.zeros(100, "uint8"), r"tobytes\(\)"),
    (np.array(None), "object"),
    (np.ma.array(np.zeros((8, 8, 3), "uint8"), mask=True), "masked pixels"),
    (Image.new("RGB", (0, 4)), "no pixels"),
    (Image.new("F", (4, 4)), "floats"),
    (b"", r"empty \(0 bytes\)"),
    (bytearray(b"x"), "not an image"),
    (io.BytesIO(), r"empty \(0 bytes\)"),
    (io.StringIO("text"), "opened as text"),
    ("no/such.png", r"^no/such\.png: cannot be read"),
    ("", "cannot be read"),
    ("a\0b.png", "null"),
    (os.path.dirname(__file__), "a folder, not an image; .* predict"),
    (Path(__file__), r"test_items\.py: not an image"),
    (Broken(ValueError("its\nown words")), "ValueError: its own words$"),
    (Broken(RecursionError("too deep")), "RecursionError: too deep"),
    (Broken(MemoryError()), "MemoryError$"),
]


@pytest.mark.parametrize(("item", "words"), UNUSABLE, ids=map(str, range(len(UNUSABLE))))
def test_what_is_no_image_is_one_error_row(predictor, item, words):
    (row,) = predictor.predict(item)
    assert set(row) == {"file_name", "error"}
    assert re.search(words, row["error"]), row["error"]
    assert "\n" not in row["error"]
    with pytest.raises(DataError, match=re.escape(row["error"])):
        predictor.preprocess(item)


def test_what_is_no_image_costs_no_other_its_row(predictor):
    good = picture(0)
    (expected,) = predictor.predict(good)
    rows = predictor.predict([one for item, _ in UNUSABLE for one in (good, item, [good])])
    assert rows[::3] == [expected] * len(UNUSABLE)
    assert all(set(row) == {"file_name", "error"} for row in rows[1::3] + rows[2::3])
    assert "list is no type of an image" in rows[2]["error"]


def test_a_closed_file_and_a_closed_picture(predictor, red):
    path, _ = red
    file, image = path.open("rb"), Image.open(path)
    file.close()
    image.close()
    rows = predictor.predict([file, image, path])
    assert ["error" in row for row in rows] == [True, True, False]


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("0"), RecursionError("deep"), MemoryError(), KeyError(3)]
)
def test_a_bug_of_a_decoder_is_an_error_row(predictor, red, error, monkeypatch):
    def decode(*_):
        raise error

    path, pixels = red
    damaged = path.with_name("damaged.bmp")
    Image.fromarray(pixels).save(damaged)
    monkeypatch.setitem(Image.OPEN, "BMP", (decode, None))
    rows = predictor.predict([pixels, damaged, damaged.read_bytes(), pixels])
    assert ["error" in row for row in rows] == [False, True, True, False]
    assert rows[1]["error"].startswith(f"{damaged}: ")
    assert "damaged image" in rows[2]["error"] or type(error).__name__ in rows[2]["error"]


def test_a_generator_may_use_its_file_and_its_array_again(predictor, red):
    path, pixels = red
    frame = np.empty_like(pixels)

    def frames():
        for channel in (0, 1, 2, 0, 1, 2, 0):
            frame[:] = picture(channel)
            yield frame

    def files():
        for _ in range(7):
            with path.open("rb") as file:
                yield file
            with Image.open(path) as image:
                yield image

    assert [row["class_ids"][0] for row in predictor.predict(frames())] == [0, 1, 2, 0, 1, 2, 0]
    assert [row.get("class_ids", [None])[0] for row in predictor.predict(files())] == [0] * 14


def test_the_same_objects_again_and_again(predictor, red):
    path, _ = red
    with path.open("rb") as file, Image.open(path) as image:
        rows = predictor.predict([file, image] * 20)
    assert [row.get("class_ids", [None])[0] for row in rows] == [0] * 40


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("before", [0, 1, 4])
def test_what_the_iterable_raises_comes_after_the_rows_before_it(predictor, before, workers):
    error = LookupError("the camera is gone")

    def camera():
        yield from [picture(0)] * before
        raise error

    rows = predictor.iter_predict(camera(), workers)
    assert [next(rows)["class_ids"][0] for _ in range(before)] == [0] * before
    with pytest.raises(LookupError) as raised:
        next(rows)
    assert raised.value is error


def test_a_strip_is_one_error_row_and_not_gigabytes(exported):
    ops = [("ResizeImage", {"resize_short": 256}), *OPS[1:]]
    predictor = Predictor(exported, transform_ops=ops, batch_size=2)
    rows = predictor.predict([np.zeros((1, 40000, 3), "uint8"), picture(1)])
    assert "would take more than" in rows[0]["error"]
    assert rows[1]["class_ids"][0] == 1


def test_one_and_many():
    assert all(is_one(item) for item, _ in UNUSABLE)
    for many in ([], (), set(), {}.keys(), iter("ab"), [picture(0)], map(str, "ab")):
        assert not is_one(many)
