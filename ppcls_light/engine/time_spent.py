"""Wall time of a training over all of its parts, beside the minutes that were asked for."""

from __future__ import annotations

import time
from typing import Any, Mapping

from ..config.global_section import GlobalConfig
from .log import LOGGER

_MISSED = 1.25  # times the minutes asked for, from which the end of the run warns


class TimeSpent:
    """Clock of a run that begins, or goes on from the `states` of a checkpoint.

    `minutes` are those that were asked for (`Global.minutes`); a run that goes on with their number of epochs keeps
    them, though its `config.yaml` has the epochs alone.
    """

    def __init__(self, settings: GlobalConfig, states: Mapping[str, Any] | None) -> None:
        states = states or {}
        same = settings.epochs == states.get("schedule", {}).get("epochs")
        self.minutes: float | None = settings.minutes or (states.get("minutes") if same else None)
        self._before, self._began = states.get("seconds", 0.0), time.monotonic()

    @property
    def seconds(self) -> float:
        return self._before + time.monotonic() - self._began

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"minutes": self.minutes, "seconds": self.seconds}

    def report(self) -> None:
        """Log the minutes taken, with a warning when they are many more than asked for; nothing if none were."""
        if self.minutes is None:
            return
        taken = self.seconds / 60
        if taken > _MISSED * self.minutes:
            LOGGER.warning(
                "Global.minutes: %g asked, %.1f taken: this machine was slower than when it was measured",
                *(self.minutes, taken),
            )
        else:
            LOGGER.info("Global.minutes: %g asked, %.1f taken", self.minutes, taken)
