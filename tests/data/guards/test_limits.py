"""Threads that decode take no more memory at once than there is room for, and none waits for ever."""

import io
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from ppcls_light.data.guards.limits import Room


def test_no_more_than_the_room_is_held_and_all_get_it():
    room, lock, held, most = Room(10), threading.Lock(), [], []

    def use(size):
        with room.hold(size):
            with lock:
                held.append(min(size, 10))
                most.append(sum(held))
            with lock:
                held.remove(min(size, 10))
        return size

    sizes = [1, 4, 25, 10, 3, 0, 7] * 40
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(use, sizes)) == sizes
    assert max(most) <= 10


def test_room_is_given_back_after_an_error():
    room = Room(10)
    for _ in range(3):
        with pytest.raises(KeyError), room.hold(8):
            raise KeyError


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc")
def test_large_pictures_in_small_files_share_the_room(tmp_path):
    """Eight WebP files of 5000 x 5000 take 18 bytes per pixel each; all at once would be 3.6 GB."""
    file = io.BytesIO()
    Image.new("RGB", (5000, 5000), "red").save(file, "WEBP", method=0)
    code = """
import resource, sys
from concurrent.futures import ThreadPoolExecutor
from ppcls_light.data.decode import decode_image
data = sys.stdin.buffer.read()
with ThreadPoolExecutor(8) as threads:
    for size in threads.map(lambda _: decode_image(data).size, range(8)):
        assert size == 3 * 5000 * 5000
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
"""
    done = subprocess.run([sys.executable, "-c", code], input=file.getvalue(), stdout=-1, check=True)
    assert int(done.stdout) < 2200  # with the eight pictures, 600 MB, which are the caller's
