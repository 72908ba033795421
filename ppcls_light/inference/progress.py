"""How far a long run is, a line every few seconds."""

import datetime
import time

TERMINAL_SECONDS = 5
LOG_SECONDS = 60  # where somebody reads the lines later


class Progress:
    """Lines "1,200 of 50,000 images, 240.0 images/s, 0:03:23 to go" on `stream`.

    Args:
        count: function that returns how many images there are; called at the first line.
        done: images that are not this run's work.
        stream: where the lines go, None for nowhere.
    """

    def __init__(self, count, done, stream):
        self._count, self._before, self._stream = count, done, stream
        self._total = None
        self._began = self._said = time.monotonic()
        self._seconds = TERMINAL_SECONDS if stream is not None and stream.isatty() else LOG_SECONDS

    def note(self, done):
        """Say that `done` images have their rows; most calls print nothing."""
        now = time.monotonic()
        if self._stream is None or now - self._said < self._seconds:
            return
        self._said = now
        if self._total is None:
            self._total = self._count()
        rate = (done - self._before) / (now - self._began)
        left = datetime.timedelta(seconds=round((self._total - done) / rate))
        line = f"{done:,} of {self._total:,} images, {rate:.1f} images/s, {left} to go"
        print(line, file=self._stream, flush=True)
