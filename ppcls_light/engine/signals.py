"""Ending a run on Ctrl-C or SIGTERM without losing what it has done."""

import signal
import threading


class StopSignals:
    """Turns the first SIGINT or SIGTERM into `signal`, so that a step is finished and saved; a second one kills."""

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
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number
