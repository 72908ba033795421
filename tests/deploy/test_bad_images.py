"""Files that would stop a decoder, fill the memory or never end: a row each for all callers, and the others' too."""

import io
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from ppcls_light.data import BatchLoader, BatchSampler, ImageDataset, build_transforms, read_image_list
from ppcls_light.errors import DataError
from ppcls_light.prediction import Predictor
from ppcls_light.prediction.ray_job import Classifier
from ppcls_light.prediction.rows import Parts
from ppcls_light.serve.remote import ModelOptions, Worker

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="special files of POSIX")
PIXELS = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
GOOD = ("a.png", "m.tif", "z.jpg")


def encode(image, form, **options):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, form, **options)
    return buffer.getvalue()


def png_of_2_gb():
    data = bytearray(encode(PIXELS, "PNG"))
    start = data.index(b"IDAT")
    data[start - 4 : start] = struct.pack(">I", 0x7FFFFFF0)
    return bytes(data)


def jpeg_of_many_scans():
    data = encode(np.full((64, 64), 128, np.uint8), "JPEG", progressive=True)
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * 4000 + b"\xff\xd9"


def png_of_many_pixels():
    ihdr = b"IHDR" + struct.pack(">IIBBBBB", 20000, 20000, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n\0\0\0\x0d" + ihdr + struct.pack(">I", zlib.crc32(ihdr))


BAD = {
    "bomb.png": png_of_2_gb,
    "scans.jpg": jpeg_of_many_scans,
    "pixels.png": png_of_many_pixels,
    "loop.jpg": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n{ } loop\n",
    "cut.tif": lambda: encode(PIXELS, "TIFF")[:500],
    "empty.gif": lambda: b"",
}


@pytest.fixture
def photos(tmp_path):
    """A folder of three photos, what only looks like some, and what is no file."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in GOOD:
        form = {"png": "PNG", "tif": "TIFF", "jpg": "JPEG"}[name[-3:]]
        (folder / name).write_bytes(encode(PIXELS, form))
    for name, make in BAD.items():
        (folder / name).write_bytes(make())
    with open(folder / "sparse.png", "wb") as file:
        file.truncate(60 << 30)
    os.mkfifo(tmp_path / "pipe")
    (folder / "pipe.png").symlink_to(tmp_path / "pipe")
    (folder / "zero.png").symlink_to("/dev/zero")
    return folder


ALL_BAD = sorted([*BAD, "sparse.png", "pipe.png", "zero.png"])


def check_rows(rows, folder):
    by_name = {os.path.basename(row["file_name"]): row for row in rows}
    assert sorted(by_name) == sorted([*GOOD, *ALL_BAD])
    for name, row in by_name.items():
        if name in GOOD:
            assert len(row["class_ids"]) == 2, row
        else:
            assert row["error"].startswith(f"{folder / name}: "), row
            assert "\n" not in row["error"]


def test_predictor(model, photos):
    check_rows(Predictor(str(model)).predict([photos / name for name in [*GOOD, *ALL_BAD]]), photos)


@pytest.mark.parametrize("workers", [0, 1])
def test_training(photos, tmp_path, workers):
    (tmp_path / "list.txt").write_text("".join(f"{name} 0\n" for name in [*GOOD, *ALL_BAD]))
    images = read_image_list(tmp_path / "list.txt", photos)
    dataset = ImageDataset(images, build_transforms([("DecodeImage", {}), ("ResizeImage", {"size": 32})]))
    sampler = BatchSampler(len(dataset), 4, shuffle=False, drop_last=False)
    with BatchLoader(dataset, sampler, workers, max_bad=1.0) as loader:
        batches = list(loader.epoch(0))
    taken = [images.name(index) for batch in batches for index in batch.indices.tolist()]
    assert taken == list(GOOD)
    assert loader.bad_count == len(ALL_BAD)
    failed = {images.name(index): reason for batch in batches for index, reason in batch.failed}
    assert all(reason.startswith(f"{photos / name}: ") for name, reason in failed.items())


def test_predict_cls(model, photos, root, tmp_path):
    script = root / "deploy/python/predict_cls.py"
    settings = [f"Global.inference_model_dir={model}", f"Global.infer_imgs={photos}"]
    command = [sys.executable, str(script), "-o", *settings]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == list(GOOD)
    assert f"{len(BAD) + 1} of {len(GOOD) + len(BAD) + 1} images could not be classified" in done.stderr
    assert "2 entries that are no ordinary files (the first: pipe.png)" in done.stderr
    assert "Traceback" not in done.stderr


def test_batch_job(model, photos, tmp_path):
    output = Parts(str(tmp_path / "rows"), "jsonl", 64, len([*GOOD, *ALL_BAD]))
    os.mkdir(tmp_path / "rows")
    names = [os.fsencode(name) for name in [*GOOD, *ALL_BAD]]
    job = Classifier({"folder": str(model), "batch_size": 4}, output, str(photos), (1, 1))
    assert job({"part": 0, "names": names}) == {"images": len(names), "failed": len(ALL_BAD)}


def test_server(model, photos):
    served = Worker(ModelOptions(str(model)))
    served.start()
    try:
        names = [*GOOD, *BAD]
        rows = served.classify([(photos / name).read_bytes() for name in names], 2)["rows"]
    finally:
        served.stop(for_good=True)
    assert [row.get("status") for row in rows] == [None] * 3 + [422, 422, 413, 415, 422, 422]
    assert all("error" in row for row in rows[3:])


def test_lists_that_are_no_files_are_one_line(photos, tmp_path):
    for path in ("/dev/zero", tmp_path / "pipe", photos / "sparse.png"):
        with pytest.raises(DataError) as error:
            read_image_list(path, photos)
        assert str(error.value).startswith(f"{path}: ")
