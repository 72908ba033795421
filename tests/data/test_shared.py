import gc
import multiprocessing
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from ppcls_light.data import shared
from ppcls_light.data.image_list import ImageList

needs_sharing = pytest.mark.skipif(
    not shared.available(), reason="this system has no memory without a name to share"
)


def spawn(target, *arguments):
    process = multiprocessing.get_context("spawn").Process(target=target, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == 0


def write_into(own, images, memory):
    """In a process of its own: change what is shared, after checking what came."""
    assert own.array.tolist() == [[1.5, 2.5]]
    assert [images.name(i) for i in range(2)] == ["a/猫.jpg", "b.jpg"]
    assert memory.array((3,), np.int32).tolist() == [7, 8, 9]
    own.array[0, 1] = 4
    images.labels[1] = 70
    memory.array((1000, 3), np.float32)[999] = 5


@needs_sharing
def test_a_worker_sees_the_same_memory():
    array, memory = shared.SharedArray(np.array([[1.5, 2.5]])), shared.SharedMemory()
    images = ImageList("photos", ["a/猫.jpg".encode(), b"b.jpg"], [3, 4])
    memory.array((3,), np.int32)[:] = [7, 8, 9]
    spawn(write_into, array, images, memory)
    assert array.array.tolist() == [[1.5, 4]]
    assert images.labels.tolist() == [3, 70]
    assert memory.array((1000, 3), np.float32)[999].tolist() == [5, 5, 5]
    maps = Path("/proc/self/maps")
    if maps.exists():  # memory without a name, not a file in /dev/shm
        assert "/memfd:ppcls_light" in maps.read_text()


def test_elsewhere_a_pickle_is_a_copy():
    array = shared.SharedArray(np.arange(3))
    copy = pickle.loads(pickle.dumps(array))
    copy.array[0] = 9
    assert array.array.tolist() == [0, 1, 2]


@needs_sharing
def test_the_memory_goes_with_its_last_user():
    memory = shared.SharedMemory()
    view = memory.array((1 << 20,), np.uint8)
    descriptors = len(os.listdir("/proc/self/fd"))
    del memory
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) < descriptors
    view[:] = 1  # a view keeps the memory, not the descriptor
    assert view.sum() == 1 << 20
