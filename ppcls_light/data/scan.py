"""Recursive search for images in a folder, with a tally of the files that are left out.

`formats.is_image` tells images. Files and folders whose names begin with "." and those of the system
(Thumbs.db, __MACOSX, @eaDir and the like) are no part of the photos and are not named, except for hidden images.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter
from typing import Callable, Iterator

from ..base.files import StrPath
from ..errors import DataError, warn_once
from . import formats
from .classes import ClassNames
from .folder_names import printable, require_classes
from .image_list import ImageList

# Files that tools/make_list.py writes into the folder itself.
LABEL_FILE = "labels.txt"
CONFIG_FILE = "photos.yaml"
OWN_FILES = frozenset(("train_list.txt", "val_list.txt", "test_list.txt", LABEL_FILE, CONFIG_FILE))
_SYSTEM = frozenset(("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin"))
_SYSTEM |= {"system volume information"}

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


class LeftOut:
    """Tally of what the scan of `root` did not take: counts by kind, and the first path of each."""

    def __init__(self, root: StrPath) -> None:
        self.root = os.fspath(root)
        self._counts: Counter[str] = Counter()
        self._details: dict[str, Counter[str]] = {}
        self._first: dict[str, str] = {}

    def add(self, kind: str, path: str, detail: str | None = None) -> None:
        """Count `path` as `kind`; `detail`, a suffix or the system's reason, is counted within the kind."""
        self._counts[kind] += 1
        self._first.setdefault(kind, path)
        details = self._details.setdefault(kind, Counter())
        if detail and (detail in details or len(details) < 100):
            details[detail] += 1

    @property
    def line(self) -> str:
        """The tally as one line of bounded length, "" for nothing; paths are relative to `root`."""
        parts = [self._part(kind) for kind in _KINDS if self._counts[kind]]
        return f"{printable(self.root)}: left out {', '.join(parts)}" if parts else ""

    def _part(self, kind: str) -> str:
        count, details = self._counts[kind], self._details[kind].most_common(_DETAILS)
        first = printable(self._first[kind].removeprefix(os.path.join(self.root, "")))
        named = ", ".join(f"{text} {times}" if count > 1 else text for text, times in details)
        named = "; ".join(filter(None, (named, f"the first: {first}" if count > 1 else first)))
        return f"{count} {_KINDS[kind][count > 1]} ({named})"

    def warn(self) -> None:
        """Log the line, if there is one; the same line once in a process."""
        if self.line:
            warn_once(self.line)


def find_images(path: StrPath) -> list[str]:
    """Return [path] for a file, or all images below a folder in the order of their names; one warning names the rest.

    Raises DataError: nothing there, or a folder without images.
    """
    return list(iter_images(path))


def iter_images(
    path: StrPath, left_out: LeftOut | None = None, ended: Callable[[], bool] | None = None
) -> Iterator[str]:
    """Like `find_images`, one after the other: of a folder, the names in it are held, and never all paths.

    Files are counted in `left_out` without a warning at the end. True from `ended` stops; it is asked for every entry.
    """
    path = os.fspath(path)
    if os.path.isfile(path):
        yield path
        return
    if not os.path.isdir(path):
        there = os.path.exists(path)
        raise DataError(
            f"{path}: {'no ordinary file and no folder' if there else 'no such image file or folder'}"
        )
    tally = LeftOut(path) if left_out is None else left_out
    scan = _Scan(path, tally, ended)
    images = scan.images(path)
    first = next(images, None)
    if first is None and not scan.ended():
        raise DataError(f"{path}: no images in this folder; {tally.line or 'expected ' + formats.names()}")
    if first is not None:
        yield first
    yield from images
    if left_out is None and not scan.ended():
        tally.warn()


def scan_image_folder(
    folder: StrPath, class_names: ClassNames | None = None, left_out: LeftOut | None = None
) -> tuple[ImageList, ClassNames]:
    """List a folder whose sub-folders are the classes; each is searched recursively.

    Sub-folders without any image are no classes. Classes and images are in the order of their names. Folders of
    `class_names` known already (from the training) may be missing. Without a tally `left_out` to count in there is one
    warning.

    Raises DataError: no class with images, a class that is not in `class_names`, or folders that are no classes but the
    parts of a split (see `folder_names`).
    """
    folder = os.fspath(folder)
    if not os.path.isdir(folder):
        raise DataError(f"{folder} is not a folder; expected a folder that holds one folder per class")
    tally = LeftOut(folder) if left_out is None else left_out
    found: dict[str, list[str]] = {}
    start, scan = len(os.path.join(folder, "")), _Scan(folder, tally)
    for path, is_folder in scan.entries(folder):
        if not is_folder:
            tally.add("loose", path)
        elif scan.enters(path):
            images = [image[start:] for image in scan.images(path)]
            if images:
                found[os.path.basename(path)] = images
            else:
                tally.add("empty", path)
    if not found:
        raise DataError(
            f"{folder}: no class folder with images in it, as FOLDER/<class>/<photo>; {tally.line or 'it is empty'}"
        )
    if class_names is None or not all(name in class_names for name in found):
        require_classes(folder, found)
    if class_names is None:
        class_names = ClassNames(tuple(found), f"the class folders of {folder}")
    label_of = class_names.labels_of(found, folder)
    if left_out is None:
        tally.warn()
    names = [utf8(image.replace(os.sep, "/")) for images in found.values() for image in images]
    labels = [label_of[name] for name, images in found.items() for _ in images]
    return ImageList(folder, names, labels), class_names


def entries(folder: str, left_out: LeftOut) -> Iterator[tuple[str, bool]]:
    """Yield (path, True for a folder) of the folders and images in `folder`, in the order of their names.

    Everything else is added to `left_out`.
    """
    return _Scan(folder, left_out).entries(folder)


class _Scan:
    """A search below `root`, which comes to each real folder once, by whatever links lead there.

    Links to folders are followed but for those to a folder that the search comes to by itself, or came to: ten
    folders with ten links each to all of them have ten billion paths.
    """

    def __init__(self, root: str, left_out: LeftOut, ended: Callable[[], bool] | None = None) -> None:
        self._left_out, self.ended = left_out, ended or (lambda: False)
        self._root = os.path.realpath(root)
        self._elsewhere: set[str] = set()  # folders that links led to

    def entries(self, folder: str) -> Iterator[tuple[str, bool]]:
        """Yield the content of `folder`, see the function `entries`."""
        names, folders, odd = _listed(folder, self._left_out)
        for name in names:
            if self.ended():
                return
            path = os.path.join(folder, name)
            own = folder == self._left_out.root and _is_own(path)
            if own or name.lower() in _SYSTEM:
                continue
            suffix = os.path.splitext(name)[1].lower()
            if name.startswith("."):
                if name not in folders and suffix in formats.SUFFIXES and not name.startswith("._"):
                    self._left_out.add("hidden", path)
            elif name in folders:
                yield path, True
            elif name in odd:
                self._left_out.add(odd[name], path)
            else:
                try:
                    taken = formats.is_image(path)
                except OSError as error:
                    self._left_out.add("unreadable", path, error.strerror)
                    continue
                if taken:
                    yield path, False
                else:
                    self._left_out.add("other", path, suffix if 1 < len(suffix) <= 12 else "no suffix")

    def enters(self, path: str, above: str | None = None) -> str | None:
        """Return the real path of a folder in the real folder `above` (default: root), None for one not to search."""
        above = self._root if above is None else above
        is_link = os.path.islink(path)
        real = os.path.realpath(path) if is_link else os.path.join(above, os.path.basename(path))
        if not is_link and self._finds(above):
            return real
        if self._finds(real) or real in self._elsewhere:
            self._left_out.add("circle" if _is_in(above, real) else "linked", path)
            return None
        self._elsewhere.add(real)
        return real

    def _finds(self, real: str) -> bool:
        """Return whether the search reaches the folder `real` without following a symbolic link."""
        below = real[len(self._root) :].split(os.sep)
        return _is_in(real, self._root) and not any(
            name.startswith(".") or name.lower() in _SYSTEM for name in below
        )

    def images(self, folder: str) -> Iterator[str]:
        """Yield the images below `folder` in the order of their names; it is root, or a folder in it to search."""
        # A stack of its own: Python's is 1000 calls deep, and a file system has no limit.
        stack = [(self.entries(folder), os.path.realpath(folder))]
        while stack:
            listing, real = stack[-1]
            path, is_folder = next(listing, ("", False))
            if not path:
                stack.pop()
            elif not is_folder:
                yield path
            elif (below := self.enters(path, real)) is not None:
                stack.append((self.entries(path), below))


def _is_own(path: str) -> bool:
    """Return whether tools/make_list.py wrote the file, or moved its earlier ones into the folder `previous_N`."""
    name = os.path.basename(path)
    if not (re.fullmatch(r"previous_\d+", name) and os.path.isdir(path)):
        return name in OWN_FILES
    with contextlib.suppress(OSError):
        names = os.listdir(path)
        return bool(names) and OWN_FILES.issuperset(names)
    return False


def _is_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(os.path.join(folder, ""))


def _listed(folder: str, left_out: LeftOut) -> tuple[list[str], set[str], dict[str, str]]:
    """Return the names in `folder`, sorted; those of folders; and {name: kind} of what is neither file nor folder.

    A listing tells most of them apart; links are followed.
    """
    names: list[str] = []
    folders: set[str] = set()
    odd: dict[str, str] = {}
    try:
        with os.scandir(folder) as listing:
            for entry in listing:
                names.append(entry.name)
                try:
                    if entry.is_dir():
                        folders.add(entry.name)
                    elif not entry.is_file():
                        broken = entry.is_symlink() and not os.path.exists(entry.path)
                        odd[entry.name] = "broken" if broken else "special"
                except OSError:
                    odd[entry.name] = "broken" if entry.is_symlink() else "unreadable"
    except OSError as error:
        left_out.add("unreadable", folder, error.strerror)
    return sorted(names), folders, odd


def utf8(name: str) -> bytes:
    """Return a file name as UTF-8 bytes. Raises DataError for one that is none."""
    try:
        return name.encode()
    except UnicodeEncodeError:
        raise DataError(f"the file name {name!a} is not UTF-8; rename the file") from None
