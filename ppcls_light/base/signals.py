"""How a long run and the processes that work for it answer Ctrl-C, SIGTERM and the end of one another."""

import contextlib
import multiprocessing
import os
import signal
import threading


class StopSignals:
    """Turns the first SIGINT or SIGTERM into `signal`, so that what is at hand is finished and saved.

    A second SIGINT interrupts at once. A second SIGTERM does not: `paddle.distributed.launch` sends one every
    0.2 seconds while its processes save.
    """

    def __init__(self):
        self.signal = None

    def __enter__(self):
        self._previous = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_):
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number, _frame):
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number


@contextlib.contextmanager
def interrupts_held():
    """Hold Ctrl-C back until the block ends; the processes that are started in it inherit that for good.

    Ctrl-C reaches the whole process group. The parent alone answers it, and a worker that is still importing
    must not die of it with a traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def follow_parent():
    """Make this process, a worker, ignore Ctrl-C and end when its parent does, however that ends."""
    # Where signals cannot be held back (Windows), this is the earliest that a worker can ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent():
    # A killed parent cannot tell its workers to stop: they would wait for work for ever.
    multiprocessing.parent_process().join()
    os._exit(1)
