import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ppcls_light.data import (
    BatchLoader,
    BatchSampler,
    ImageDataset,
    ImageList,
    build_batch_transforms,
    build_transforms,
    read_image_list,
)
from ppcls_light.errors import DataError

COUNT = 26
EVAL_OPS = [
    ("DecodeImage", {}),
    ("NormalizeImage", {"scale": 1.0, "mean": [0, 0, 0], "std": [1, 1, 1], "order": ""}),
]
TRAIN_OPS = [("DecodeImage", {}), ("RandCropImage", {"size": 12}), ("RandFlipImage", {}), *EVAL_OPS[1:]]


@pytest.fixture
def folder(tmp_path):
    """COUNT images of 20 x 20; image i has red value i."""
    rng = np.random.default_rng(0)
    for i in range(COUNT):
        pixels = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
        pixels[:, :, 0] = i
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    return tmp_path


def dataset(folder, ops=EVAL_OPS, seed=0, count=COUNT):
    names = [f"{i}.png".encode() for i in range(count)]
    return ImageDataset(ImageList(folder, names, np.arange(count) % 3), build_transforms(ops), seed)


def spoil(folder, *indices):
    for index in indices:
        (folder / f"{index}.png").write_bytes(b"not an image")


# BatchLoader


def test_batches_are_the_dataset_s_samples(folder):
    data = dataset(folder)
    batches = list(BatchLoader(data, BatchSampler(COUNT, 10)).epoch(0))
    assert [batch.number for batch in batches] == [0, 1, 2]
    assert [batch.images.shape for batch in batches] == [(10, 3, 20, 20), (10, 3, 20, 20), (6, 3, 20, 20)]
    assert batches[0].images.dtype == np.float32
    for batch in batches:
        assert batch.labels.dtype == batch.indices.dtype == np.int64
        assert np.array_equal(batch.images[:, 0, 5, 5], batch.indices)
        assert np.array_equal(batch.labels, batch.indices % 3)
        assert batch.failed == ()
    image, label = data.sample(7, 0)
    expected = np.asarray(Image.open(folder / "7.png")).transpose(2, 0, 1)
    assert np.array_equal(image, expected)
    assert label == 1


def bits(loader, epoch, start=0):
    return [
        (b.number, b.images.tobytes(), b.labels.tobytes(), b.indices.tolist())
        for b in loader.epoch(epoch, start)
    ]


def test_workers_change_no_bit_and_start_continues(folder):
    mix = build_batch_transforms(
        [("OpSampler", {"MixupOperator": {"alpha": 0.5, "prob": 0.5}, "CutmixOperator": {"prob": 0.5}})], 3
    )

    def loader(workers, seed=1):
        sampler = BatchSampler(COUNT, 4, shuffle=True, seed=seed)
        return BatchLoader(dataset(folder, TRAIN_OPS, seed), sampler, workers, mix)

    here = loader(0)
    first, second = bits(here, 0), bits(here, 1)
    assert first != second
    assert bits(loader(0), 0) == first
    assert bits(loader(0, seed=2), 0) != first
    assert bits(here, 1, start=3) == second[3:]
    with loader(2) as workers:
        assert bits(workers, 0) == first
        assert bits(workers, 1, start=3) == second[3:]
        labels = [batch.labels for batch in workers.epoch(0)]
        assert all(soft.shape[1] == 3 and soft.dtype == np.float32 for soft in labels)
        np.testing.assert_allclose(np.concatenate(labels).sum(1), 1, rtol=1e-5)


def test_a_sample_does_not_depend_on_its_batch(folder):
    def samples(batch_size, rank=0, world_size=1):
        sampler = BatchSampler(COUNT, batch_size, True, seed=1, rank=rank, world_size=world_size, pad=False)
        loader = BatchLoader(dataset(folder, TRAIN_OPS, 1), sampler)
        return {int(i): image.tobytes() for b in loader.epoch(2) for i, image in zip(b.indices, b.images)}

    assert samples(4) == samples(7)
    assert samples(4) == {**samples(3, 0, 2), **samples(3, 1, 2)}


@pytest.mark.parametrize("workers", [0, 1])
def test_training_leaves_bad_images_out(folder, workers, caplog):
    spoil(folder, 3, 9)
    os.remove(folder / "15.png")
    sampler = BatchSampler(COUNT, 10)
    with (
        caplog.at_level(logging.WARNING),
        BatchLoader(dataset(folder), sampler, workers, max_bad=0.1) as loader,
    ):
        for epoch in range(2):
            batches = list(loader.epoch(epoch))
            assert [batch.indices.tolist() for batch in batches] == [
                [0, 1, 2, 4, 5, 6, 7, 8],
                [10, 11, 12, 13, 14, 16, 17, 18, 19],
                [20, 21, 22, 23, 24, 25],
            ]
            assert all(np.array_equal(b.images[:, 0, 0, 0], b.indices) for b in batches)
            assert loader.bad_count == 3
    named = [record.getMessage() for record in caplog.records]
    assert len(named) == 6
    assert str(folder / "3.png") in named[0]
    assert "not an image" in named[0]
    assert str(folder / "15.png") in named[2]
    assert "No such file" in named[2]


def test_max_bad_stops_the_epoch(folder):
    spoil(folder, 3, 9)
    with pytest.raises(DataError) as error:
        list(BatchLoader(dataset(folder), BatchSampler(COUNT, 10)).epoch(0))
    message = str(error.value)
    assert message.startswith("2 images of this epoch cannot be read")
    assert "max_bad 0.001 allows 1 of 26" in message
    assert f"{folder / '9.png'}: not an image" in message
    assert "\n" not in message


@pytest.mark.parametrize(("bad", "stops"), [(range(2, 22), True), ([*range(2, 12), *range(13, 24)], False)])
def test_twenty_in_a_row_stop_the_epoch(folder, bad, stops):
    spoil(folder, *bad)
    loader = BatchLoader(dataset(folder), BatchSampler(COUNT, 4), max_bad=1.0)
    if stops:
        with pytest.raises(DataError, match="20 of them in a row"):
            list(loader.epoch(0))
    else:
        assert sum(len(batch.indices) for batch in loader.epoch(0)) == COUNT - len(bad)


def test_a_batch_without_any_image(folder):
    spoil(folder, 4, 5)
    batches = list(BatchLoader(dataset(folder), BatchSampler(COUNT, 2), max_bad=0.2).epoch(0))
    assert [batch.number for batch in batches[:4]] == [0, 1, 3, 4]
    sampler = BatchSampler(COUNT, 1, rank=1, world_size=2)
    with pytest.raises(DataError, match="no image of a batch can be read"):
        list(BatchLoader(dataset(folder), sampler, max_bad=0.2).epoch(0))


@pytest.mark.parametrize("workers", [0, 1])
def test_evaluation_raises(folder, workers):
    spoil(folder, 12)
    with BatchLoader(dataset(folder), BatchSampler(COUNT, 5), workers, on_bad="raise") as loader:
        seen = []
        with pytest.raises(DataError) as error:
            seen.extend(loader.epoch(0))
        assert str(error.value).startswith(f"{folder / '12.png'}: not an image")


@pytest.mark.parametrize("workers", [0, 1])
def test_images_of_two_sizes(folder, workers):
    Image.new("RGB", (24, 20)).save(folder / "6.png")
    with (
        BatchLoader(dataset(folder), BatchSampler(COUNT, 5), workers) as loader,
        pytest.raises(DataError, match=r"6\.png becomes \(3, 20, 24\) but .*5\.png \(3, 20, 20\)"),
    ):
        list(loader.epoch(0))


def test_an_undersized_image_is_a_bad_image(folder):
    Image.new("RGB", (10, 20)).save(folder / "6.png")
    ops = [EVAL_OPS[0], ("CropImage", {"size": 16}), EVAL_OPS[1]]
    with pytest.raises(DataError, match=r"6\.png: the image is 10x20 pixels"):
        list(BatchLoader(dataset(folder, ops), BatchSampler(COUNT, 5), on_bad="raise").epoch(0))


def test_close_ends_the_workers(folder):
    loader = BatchLoader(dataset(folder), BatchSampler(COUNT, 2), 2)
    batches = loader.epoch(0)
    next(batches)
    assert len(multiprocessing.active_children()) == 2
    batches.close()
    loader.close()
    assert multiprocessing.active_children() == []
    assert len(list(loader.epoch(0))) == 13
    del loader
    for _ in range(100):
        if not multiprocessing.active_children():
            break
        time.sleep(0.1)
    assert multiprocessing.active_children() == []


def test_an_epoch_that_is_left_early_spoils_nothing(folder):
    """Workers may still be at its batches when the next one begins, or it may be held on to."""
    ops = [*TRAIN_OPS[:2], ("NormalizeImage", {"order": ""})]
    mix = build_batch_transforms([("MixupOperator", {"alpha": 0.5})], 3)
    for transforms in (None, mix):
        sampler = BatchSampler(COUNT, 3, shuffle=True)
        expected = bits(BatchLoader(dataset(folder, ops), sampler, 0, transforms), 1)
        with BatchLoader(dataset(folder, ops), sampler, 2, transforms) as loader:
            held = []
            for start in (0, 2, 5):
                held.append(loader.epoch(0, start))
                next(held[-1])
                assert bits(loader, 1) == expected
            kept = [batch.images for batch in loader.epoch(1)]
            assert [images.tobytes() for images in kept] == [images for _, images, *_ in expected]


def test_a_batch_of_an_epoch_that_was_left_goes_nowhere(folder):
    """One worker is long at image 1 when its epoch ends; the other has read image 6 before it is done."""
    Image.new("L", (6000, 6000)).save(folder / "1.png")
    ops = [*TRAIN_OPS[:2], ("NormalizeImage", {"order": ""})]
    sampler = BatchSampler(COUNT, 1)
    expected = bits(BatchLoader(dataset(folder, ops), sampler), 0, start=5)
    with BatchLoader(dataset(folder, ops), sampler, 2) as loader:
        next(loader.epoch(0, start=2))  # both are up
        batches = loader.epoch(0)
        next(batches)
        batches.close()
        batches = loader.epoch(0, start=5)
        first = next(batches)
        time.sleep(1)
        rest = [(batch.number, batch.images.tobytes()) for batch in batches]
    assert [(first.number, first.images.tobytes()), *rest] == [row[:2] for row in expected]


def test_a_killed_worker_is_reported(folder):
    with BatchLoader(dataset(folder), BatchSampler(COUNT, 1), 1) as loader:
        batches = loader.epoch(0)
        next(batches)
        os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
        with pytest.raises(DataError, match="a data loading worker died"):
            list(batches)
        assert len(list(loader.epoch(0))) == COUNT


SCRIPT = """
import os, signal, sys, time
import numpy as np
from ppcls_light.data import *

class ProcessId:
    def labelled(self, data, rng, size=None):
        return np.full((3, 1, 1), os.getpid(), np.float32), {}

    def finish(self, images):
        return images

def main():
    # A shell starts its background jobs with SIGINT ignored, which is inherited.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    names = [f"{i}.png".encode() for i in range(26)]
    loader = BatchLoader(ImageDataset(ImageList(sys.argv[1], names), ProcessId()), BatchSampler(26, 1), 2)
    workers = set()
    for epoch in range(10000):
        for batch in loader.epoch(epoch):
            workers.add(int(batch.images.flat[0]))
            if len(workers) == 2:  # both are up and have read
                print(*workers, flush=True)
                time.sleep(30)

if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.fixture
def running(folder, tmp_path):
    """A process group in the middle of an epoch, both workers having read something, and their ids."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, str(script), str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    workers = [int(pid) for pid in process.stdout.readline().split()]
    assert len(workers) == 2, process.stderr.read()
    yield process, workers
    process.kill()
    process.communicate()


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="needs /proc to look for processes"
)


@needs_proc
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_worker_outlives_a_killed_parent(running, number):
    process, workers = running
    assert all(is_running(pid) for pid in workers)
    process.send_signal(number)
    process.wait(30)
    for _ in range(100):
        if not any(is_running(pid) for pid in workers):
            return
        time.sleep(0.1)
    pytest.fail("workers are still there")


@needs_proc
def test_ctrl_c_is_quiet(running):
    process, workers = running
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors == ""
    assert not any(is_running(pid) for pid in workers)


def test_imports_are_light():
    code = """
import sys
from ppcls_light.data import read_image_list, find_images
assert not {"cv2", "PIL", "paddle"} & set(sys.modules)
from ppcls_light.data import *
assert "PIL" in sys.modules and not {"cv2", "paddle"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


@pytest.mark.parametrize("workers", [0, 2])
def test_images_and_lists_that_change_between_epochs_are_named(folder, workers, caplog):
    (folder / "list.txt").write_text("".join(f"{i}.png 0\n" for i in range(COUNT)))
    images = read_image_list(folder / "list.txt", folder)
    data = ImageDataset(images, build_transforms(EVAL_OPS))
    with (
        caplog.at_level(logging.WARNING),
        BatchLoader(data, BatchSampler(COUNT, 4, shuffle=True), workers) as loader,
    ):
        first = [batch.images.copy() for batch in loader.epoch(0)]
        assert not caplog.records
        Image.fromarray(np.full((20, 20, 3), 99, np.uint8)).save(folder / "new.png")
        os.replace(folder / "new.png", folder / "7.png")
        (folder / "list.txt").write_text("7.png 0\n")
        second = [batch.images for batch in loader.epoch(1)]
        named = [record.getMessage() for record in caplog.records]
        assert len(named) == 2
        assert str(folder / "list.txt") in named[0]
        assert str(folder / "7.png") in named[1]
        assert len(np.concatenate(first)) == len(np.concatenate(second)) == COUNT
        list(loader.epoch(2))
        assert len(caplog.records) == 2  # said once


def test_many_changed_images_are_counted(folder, caplog):
    loader = BatchLoader(dataset(folder), BatchSampler(COUNT, 10))
    list(loader.epoch(0))
    for i in range(COUNT):
        os.utime(folder / f"{i}.png", ns=(1, 1))
    list(loader.epoch(1))
    named = [record.getMessage() for record in caplog.records]
    assert len(named) == 21
    assert f"{COUNT - 20} more images" in named[-1]
