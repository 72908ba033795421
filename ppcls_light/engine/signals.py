"""Ending a run on Ctrl-C or SIGTERM without losing what it has done."""

import signal

from ..base import signals
from .distributed import mean_over_ranks


class StopSignals(signals.StopSignals):
    """What all processes of a run have been told, so that a step is finished and saved."""

    def reached(self, runtime):
        """Return whether any process of the run has been signalled, and note it in `signal` on all of them.

        All call it after the same step: one that left on its own would break the next step of the others, and
        the main process could not save.
        """
        own = self.signal is not None
        if mean_over_ranks({"signalled": own}, runtime)["signalled"] and not own:
            self.signal = signal.SIGTERM
        return self.signal is not None
