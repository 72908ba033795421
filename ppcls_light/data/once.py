"""Warnings that are given once in a process, however often there is a reason."""

import functools
import logging

LOGGER = logging.getLogger(__name__)


@functools.lru_cache(maxsize=1000)
def warn_once(line):
    """Log `line` as a warning unless it was the last time, too."""
    LOGGER.warning("%s", line)
