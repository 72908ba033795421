"""Memory that pictures may take while they are decoded, all threads of a process together."""

import contextlib
import os
import threading


class Room:
    """Room for so many bytes; what is larger than all of it gets it alone.

    Ten pictures of 50 megapixels are 100 kB each as files, and a gigabyte each in a decoder.
    """

    def __init__(self, size):
        self._size = size
        self._clear()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                after_in_child=self._clear
            )  # the threads that hold a part are not in the child

    def _clear(self):
        self._taken = 0
        self._turn, self._changed = threading.Lock(), threading.Condition()

    @contextlib.contextmanager
    def hold(self, size):
        """Wait until there is room for `size` bytes, in the order of the calls, and hold it until the block ends."""
        size = min(size, self._size)
        with self._turn, self._changed:
            self._changed.wait_for(lambda: self._taken + size <= self._size)
            self._taken += size
        try:
            yield
        finally:
            with self._changed:
                self._taken -= size
                self._changed.notify()
