"""Folders of images, searched by one rule for every tool: what is read is taken, the rest is counted and named.

`formats.is_image` says what is read. Files and folders whose names begin with "." and what systems put into
folders by themselves (Thumbs.db, __MACOSX, @eaDir and the like) are no part of the photos and are not named,
except for hidden images.
"""

import os

from ..errors import DataError
from . import formats
from .classes import ClassNames
from .image_list import ImageList
from .left_out import LeftOut
from .levels import require_classes

# What tools/make_list.py writes into the folder itself.
LABEL_FILE = "labels.txt"
CONFIG_FILE = "photos.yaml"
OWN_FILES = frozenset(("train_list.txt", "val_list.txt", "test_list.txt", LABEL_FILE, CONFIG_FILE))
_SYSTEM = frozenset(
    (
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        "__macosx",
        "@eadir",
        "$recycle.bin",
        "system volume information",
    )
)


def find_images(path):
    """Return [path] for a file, or all images below a folder in the order of their names.

    What is left out of a folder is one warning.

    Raises:
        DataError: nothing there, or a folder without images.
    """
    return list(iter_images(path))


def iter_images(path, left_out=None):
    """Like `find_images`, one after the other: of a folder, the names in it are held, and never all paths.

    Args:
        path: a file or a folder.
        left_out: `LeftOut` to count in, without a warning at the end.
    """
    path = os.fspath(path)
    if os.path.isfile(path):
        yield path
        return
    if not os.path.isdir(path):
        raise DataError(f"{path}: no such image file or folder")
    tally = LeftOut(path) if left_out is None else left_out
    images = _walk(path, tally)
    first = next(images, None)
    if first is None:
        raise DataError(f"{path}: no images in this folder; {tally.line or 'expected ' + formats.names()}")
    yield first
    yield from images
    if left_out is None:
        tally.warn()


def scan_image_folder(folder, class_names=None, left_out=None):
    """List a folder whose sub-folders are the classes; each is searched recursively.

    Sub-folders without any image are no classes. Classes and images are in the order of their names. What is
    left out is one warning.

    Args:
        folder: the folder.
        class_names: ClassNames when they are known already (from the training): folders may be missing then.
        left_out: `LeftOut` to count in, without a warning.

    Returns:
        (ImageList, ClassNames).

    Raises:
        DataError: no class with images, a class that is not in `class_names`, or folders that are no classes but
            the parts of a split (see `levels`).
    """
    folder = os.fspath(folder)
    if not os.path.isdir(folder):
        raise DataError(f"{folder} is not a folder; expected a folder that holds one folder a class")
    tally = LeftOut(folder) if left_out is None else left_out
    found, start = {}, len(os.path.join(folder, ""))
    for path, is_folder in entries(folder, tally):
        images = list(_walk(path, tally, (os.path.realpath(folder),))) if is_folder else []
        if images:
            found[os.path.basename(path)] = [image[start:] for image in images]
        else:
            tally.add("empty" if is_folder else "loose", path)
    if not found:
        raise DataError(
            f"{folder}: no class folder with images in it, as FOLDER/<class>/<photo>; {tally.line or 'it is empty'}"
        )
    if class_names is None or not all(name in class_names for name in found):
        require_classes(folder, found)
    if class_names is None:
        class_names = ClassNames(tuple(found), f"the class folders of {folder}")
    label_of = class_names.labels_of(found, folder)
    names, labels = [], []
    for name, images in found.items():
        names += [utf8(image.replace(os.sep, "/")) for image in images]
        labels += [label_of[name]] * len(images)
    if left_out is None:
        tally.warn()
    return ImageList(folder, names, labels), class_names


def entries(folder, left_out):
    """Yield (path, whether it is a folder) of the folders and images in `folder`, in the order of their names.

    Everything else is added to `left_out`.
    """
    names, folders, odd = _listed(folder, left_out)
    for name in names:
        path = os.path.join(folder, name)
        own = name in OWN_FILES and folder == left_out.root
        if own or name.lower() in _SYSTEM:
            continue
        suffix = os.path.splitext(name)[1].lower()
        if name.startswith("."):
            if name not in folders and suffix in formats.SUFFIXES and not name.startswith("._"):
                left_out.add("hidden", path)
        elif name in folders:
            yield path, True
        elif name in odd:
            left_out.add(odd[name], path)
        else:
            try:
                taken = formats.is_image(path)
            except OSError as error:
                left_out.add("unreadable", path, error.strerror)
                continue
            if taken:
                yield path, False
            else:
                left_out.add("other", path, suffix if 1 < len(suffix) <= 12 else "no suffix")


def _listed(folder, left_out):
    """Return the names in `folder`, sorted; those of folders; and {name: kind} of what is neither file nor folder.

    A listing says for most what they are; links are followed.
    """
    names, folders, odd = [], set(), {}
    try:
        with os.scandir(folder) as listing:
            for entry in listing:
                names.append(entry.name)
                try:
                    if entry.is_dir():
                        folders.add(entry.name)
                    elif not entry.is_file():
                        odd[entry.name] = "broken" if entry.is_symlink() else "special"
                except OSError:
                    odd[entry.name] = "broken" if entry.is_symlink() else "unreadable"
    except OSError as error:
        left_out.add("unreadable", folder, error.strerror)
    return sorted(names), folders, odd


def _walk(folder, left_out, above=()):
    """Yield the images below `folder` in the order of their names.

    Links to folders are followed, except back to one of those `above`, which would have no end.
    """
    here = os.path.realpath(folder)
    if here in above:
        left_out.add("circle", folder)
        return
    for path, is_folder in entries(folder, left_out):
        if is_folder:
            yield from _walk(path, left_out, (*above, here))
        else:
            yield path


def utf8(name):
    """Return a file name as UTF-8 bytes. Raises DataError for one that is none."""
    try:
        return name.encode()
    except UnicodeEncodeError:
        raise DataError(f"the file name {name!a} is not UTF-8; rename the file") from None
