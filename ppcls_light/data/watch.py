"""Files that are read more than once, or were read once and stand for what is used: changes in between are noticed.

A change is another size, place on the disk or time of the last change; the content is not compared.
"""

import os

import numpy as np

from .shared import SharedArray

_UNSEEN, _GONE = 0, -1


class Watch:
    """Files or folders as they were when this was made."""

    def __init__(self, paths):
        self._stamps = {path: _stamp(path) for path in paths}

    def changes(self):
        """Return the paths that changed, or went away, since they were last asked for."""
        changed = [path for path, stamp in self._stamps.items() if _stamp(path) != stamp]
        self._stamps.update((path, _stamp(path)) for path in changed)
        return changed


class IndexedWatch:
    """N files by number; the workers of a loader know of each other's, where `shared.available()`.

    8 bytes a file, which the system gives only once they are used.
    """

    def __init__(self, count):
        self._stamps = SharedArray(np.full(count, _UNSEEN, np.int64))

    def changed(self, index, path):
        """Return whether file `index`, at `path`, is another than at the last call for it; no at the first one."""
        stamps, stamp = self._stamps.array, _stamp(path)
        before, stamps[index] = stamps[index], stamp
        return before not in (_UNSEEN, stamp)


def _stamp(path):
    try:
        status = os.stat(path)
    except OSError:
        return _GONE
    return hash((status.st_size, status.st_ino, status.st_mtime_ns)) or 1
