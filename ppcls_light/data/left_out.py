"""A tally of what a folder scan did not take, in one line that names it."""

import os
from collections import Counter

from .once import warn_once

# kind: one of it, several of it
_KINDS = {
    "other": ("file that is no image", "files that are no images"),
    "hidden": ("hidden image", "hidden images"),
    "loose": ("image beside the class folders", "images beside the class folders"),
    "empty": ("class folder without images", "class folders without images"),
    "unlabelled": ("split folder without class folders", "split folders without class folders"),
    "beside": ("folder beside the split folders", "folders beside the split folders"),
    "broken": ("broken link", "broken links"),
    "circle": ("link back to a folder above it", "links back to a folder above them"),
    "linked": ("link to a folder that is searched anyway", "links to folders that are searched anyway"),
    "special": ("entry that is no ordinary file", "entries that are no ordinary files"),
    "unreadable": ("entry that cannot be read", "entries that cannot be read"),
}
_DETAILS = 4  # of a kind that the line lists
_LONGEST = 100  # characters of a path in it


class LeftOut:
    """Tally of what the scan of `root` did not take: counts by kind, and the first path of each.

    Args:
        root: the folder, to which the paths in the line are relative.
    """

    def __init__(self, root):
        self.root = os.fspath(root)
        self._counts, self._details, self._first = Counter(), {}, {}

    def add(self, kind, path, detail=None):
        """Count `path` as `kind`; `detail`, a suffix or the system's reason, is counted within the kind."""
        self._counts[kind] += 1
        self._first.setdefault(kind, path)
        details = self._details.setdefault(kind, Counter())
        if detail and (detail in details or len(details) < 100):
            details[detail] += 1

    @property
    def line(self):
        """The tally as one line of bounded length, "" for nothing."""
        parts = [self._part(kind) for kind in _KINDS if self._counts[kind]]
        return f"{printable(self.root)}: left out {', '.join(parts)}" if parts else ""

    def _part(self, kind):
        count, details = self._counts[kind], self._details[kind].most_common(_DETAILS)
        first = printable(self._first[kind].removeprefix(os.path.join(self.root, "")))
        named = [", ".join(f"{text} {times}" if count > 1 else text for text, times in details)] * bool(
            details
        )
        named.append(f"the first: {first}" if count > 1 else first)
        return f"{count} {_KINDS[kind][count > 1]} ({'; '.join(named)})"

    def warn(self):
        """Log the line, if there is one; the same line once in a process."""
        if self.line:
            warn_once(self.line)


def printable(path):
    """Return a path as one line of at most 100 characters: its end, and escapes for what has no picture."""
    text = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in os.fspath(path))
    return text if len(text) <= _LONGEST else f"...{text[3 - _LONGEST :]}"
