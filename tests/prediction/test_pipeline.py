import contextlib
import itertools
import multiprocessing
import os
import shutil
import signal

import pytest

from ppcls_light.errors import ConfigError, DeviceError
from ppcls_light.prediction import Predictor
from ppcls_light.prediction.pipeline import Processes, Threads, in_batches


def with_errors(rows):
    return [row["file_name"] for row in rows if "error" in row]


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_reading_ahead_changes_no_row(exported, photos, batch_size):
    predictor = Predictor(exported, batch_size=batch_size)
    images = [*photos, photos[2].read_bytes(), *photos[::-1]]
    expected = [row for image in images for row in Predictor(exported).predict_batch([image])]
    assert list(predictor.iter_predict(iter(images))) == expected
    assert with_errors(expected) == [str(photos[index]) for index in (1, 3, 3, 1)]
    assert predictor.predict([]) == []


@pytest.mark.slow
def test_processes_give_the_same_rows_in_the_same_order(exported, photos):
    predictor = Predictor(exported, batch_size=2)
    images = [*photos, photos[2].read_bytes()] * 40
    expected = predictor.predict(images)
    with Processes(predictor, 2) as processes:
        for _ in range(2):
            batches = processes.predict(in_batches(iter(images), 2))
            assert list(itertools.chain.from_iterable(batches)) == expected
    assert list(predictor.iter_predict(iter(images), workers=2)) == expected


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_threads_give_the_same_rows_in_the_same_order(exported, photos, tmp_path, engine):
    for library in (engine, "paddle2onnx"):
        pytest.importorskip(library, reason="the extras onnx and openvino are not installed")
    folder = shutil.copytree(exported, tmp_path / "inference")  # the graph is converted into it
    predictor = Predictor(folder, batch_size=2, engine=engine)
    images = [*photos, photos[2].read_bytes()] * 40
    expected = predictor.predict(images)
    assert list(predictor.iter_predict(iter(images), workers=2)) == expected
    with Threads(predictor, 2) as threads:
        for _ in range(2):
            batches = threads.predict(in_batches(iter(images), 2))
            assert list(itertools.chain.from_iterable(batches)) == expected
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("workers", [0, 2])
def test_of_endless_images_only_a_few_are_taken_ahead(exported, photos, workers):
    taken = 0

    def endless():
        nonlocal taken
        for path in itertools.cycle(photos):
            taken += 1
            yield path

    predictor, batch_size = Predictor(exported, batch_size=4), 4
    with contextlib.closing(predictor.iter_predict(endless(), workers=workers)) as rows:
        for wanted in range(1, 300):
            row = next(rows)
            assert row["file_name"] == str(photos[(wanted - 1) % len(photos)])
            assert taken <= wanted + batch_size * (2 * max(workers, 1) + 2)
    assert not multiprocessing.active_children()


def test_what_the_images_raise_comes_after_the_rows_before_it(exported, photos):
    def broken():
        yield from photos[:3]
        raise OSError("the disk has gone")

    rows = Predictor(exported, batch_size=1).iter_predict(broken())
    with pytest.raises(OSError, match="the disk has gone"):
        list(rows)


def test_wrong_settings_are_no_failed_images(exported, photos):
    ops = [("RandCropImage", {"size": 32}), ("NormalizeImage", {"order": ""})]
    with pytest.raises(ConfigError, match="RandCropImage is random"):
        Predictor(exported, transform_ops=ops, batch_size=2).predict(photos)


@pytest.mark.slow
def test_a_worker_that_dies_is_one_error_and_not_a_wait_for_ever(exported, photos):
    with Processes(Predictor(exported), 1) as processes:
        rows = processes.predict(in_batches(itertools.cycle(photos), 1))
        next(rows)
        for child in multiprocessing.active_children():
            os.kill(child.pid, signal.SIGKILL)
        with pytest.raises(DeviceError, match=r"a process that classifies images died.*fewer workers"):
            list(rows)


def test_a_remade_predictor_gives_the_same_with_its_own_threads(exported, photos):
    predictor = Predictor(exported, batch_size=2, topk=1, class_names=["red", "green", "blue"])
    twin = predictor.remake(1)()
    assert twin.engine_options.cpu_threads == 1
    assert twin.predict(photos) == predictor.predict(photos)
