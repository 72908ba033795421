"""Shared memory between a process and its workers, on Linux only.

The memory has no name (`memfd_create`): nothing lies in /dev/shm, whose size containers keep small, and it goes
when the last process that holds it ends, however it ends.
"""

from __future__ import annotations

import functools
import mmap
import os
import weakref
from typing import Any

import numpy as np


@functools.cache
def available() -> bool:
    """Return whether `SharedMemory` works on this system."""
    try:
        SharedMemory()
    except (AttributeError, OSError):
        return False
    return True


class SharedMemory:
    """A piece of memory that grows to what is put there. It can be pickled only as an argument of a new process.

    Raises OSError: the system has none left.
    """

    def __init__(self, fd: int | None = None) -> None:
        self._fd = os.memfd_create("ppcls_light") if fd is None else fd
        weakref.finalize(self, os.close, self._fd)
        self._map: mmap.mmap | None = None

    def array(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Return the beginning of the memory as a writable array; what it held is still there."""
        dtype = np.dtype(dtype)
        count = int(np.prod(shape))
        size = max(1, count * dtype.itemsize)
        if self._map is None or len(self._map) < size:
            if os.fstat(self._fd).st_size < size:
                os.ftruncate(self._fd, size)
            self._map = mmap.mmap(self._fd, size)
        return np.frombuffer(self._map, dtype, count).reshape(shape)

    def __reduce__(self) -> tuple[Any, ...]:
        from multiprocessing import reduction  # 4 ms, which a list of images without workers need not take

        return _attach, (reduction.DupFd(self._fd),)


def _attach(duplicate: Any) -> SharedMemory:
    return SharedMemory(duplicate.detach())


class SharedArray:
    """An array that is not copied into the workers that it is sent to.

    `array` is as given until a worker is started; one that writes there writes for all, where `available()`.
    """

    def __init__(self, array: np.ndarray, memory: SharedMemory | None = None) -> None:
        self.array, self._memory = array, memory

    def __reduce__(self) -> tuple[Any, ...]:
        from multiprocessing import context

        if not available() or context.get_spawning_popen() is None:
            return SharedArray, (self.array,)
        if self._memory is None:
            self._memory = SharedMemory()
            shared = self._memory.array(self.array.shape, self.array.dtype)
            shared[...] = self.array
            self.array = shared
        return _attach_array, (self._memory, self.array.shape, self.array.dtype)


def _attach_array(memory: SharedMemory, shape: tuple[int, ...], dtype: np.dtype) -> SharedArray:
    return SharedArray(memory.array(shape, dtype), memory)
