"""Ending a run on Ctrl-C or SIGTERM without losing what it has done."""

import signal
import threading

from .runtime import mean_over_ranks


class StopSignals:
    """Turns the first SIGINT or SIGTERM into `signal`, so that a step is finished and saved.

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

    def reached(self, runtime):
        """Return whether any process of the run has been signalled, and note it in `signal` on all of them.

        All call it after the same step: one that left on its own would break the next step of the others, and
        the main process could not save.
        """
        own = self.signal is not None
        if mean_over_ranks({"signalled": own}, runtime)["signalled"] and not own:
            self.signal = signal.SIGTERM
        return self.signal is not None

    def _note(self, number, _frame):
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number
