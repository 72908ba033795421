"""The move of a finished export into its folder: all of it or nothing, and never over another network."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import uuid
from typing import Iterator, List

from ..base.files import remove_orphans, set_aside, temporary_name
from ..bundle.folder import (
    CONFIG_FILE,
    GRAPH_FILES,
    INT8_FILES,
    METADATA_FILE,
    ONNX_FILE,
    PLAN_FILE,
    UNKNOWN_FILE,
    read_bundle,
)
from ..errors import ConfigError, ExportError
from .targets import TARGETS
from .web.page import FOLDER, has_page

logger = logging.getLogger(__name__)

# The graph in every format, parameters, inference.yml, int8 graphs, and which engine was found fastest.
_OF_AN_EXPORT = re.compile(r"inference[._].*|engine\.json")


@contextlib.contextmanager
def staged(folder: str) -> Iterator[str]:
    """Yield an empty folder, which becomes `folder` by one rename when the block succeeds.

    Where `folder` is there already (a mount point, the working directory, an earlier export) the empty folder is inside
    of it, and the files move out of it. When the block fails, all is as it was before.
    """
    folder = os.path.abspath(folder)
    existed = os.path.lexists(folder)
    place = folder if existed else os.path.dirname(folder)
    stage = os.path.join(place, temporary_name(uuid.uuid4().hex[:8]))
    try:
        os.makedirs(stage)
        remove_orphans(place)
    except OSError as error:
        raise ExportError(
            f"{folder}: cannot be written: {error.strerror}; choose another Global.save_inference_dir"
        ) from None
    try:
        yield stage
        if existed:
            _replace(folder, stage)
        else:
            _put(stage, folder)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _replace(folder: str, stage: str) -> None:
    """Move the files of `stage` into `folder`, and an export of another network there to `previous_N`."""
    made = os.listdir(stage)
    others = _another_network(folder, stage)
    if others:
        moved = set_aside(folder, others, ExportError)
        logger.warning(
            "%s: the export of another network, or in another precision, is in %s now", folder, moved
        )
    if has_page(folder):  # every file of it is of the last export, too
        _put(os.path.join(folder, FOLDER), os.path.join(stage, temporary_name(FOLDER)))
    for name in sorted(made, key=CONFIG_FILE.__eq__):  # last what has the checksums of the others
        _put(os.path.join(stage, name), os.path.join(folder, name))
    # every file is of the last export, in whatever format an earlier one was
    int8 = {name for files in INT8_FILES.values() for name in files}
    converted = {name for target in TARGETS.values() for files in target.files.values() for name in files}
    others_files = {*GRAPH_FILES.values(), ONNX_FILE, PLAN_FILE, METADATA_FILE, UNKNOWN_FILE}
    for name in {*others_files, *int8, *converted} - set(made):
        with contextlib.suppress(FileNotFoundError):
            os.remove(os.path.join(folder, name))


def _another_network(folder: str, stage: str) -> List[str]:
    """Return the files of the export in `folder` unless that in `stage` has its weights and precisions."""
    names = [
        entry.name for entry in os.scandir(folder) if entry.is_file() and _OF_AN_EXPORT.fullmatch(entry.name)
    ]
    names += [FOLDER] if has_page(folder) else []
    if not names:
        return []
    new = read_bundle(stage)
    try:
        old = read_bundle(folder)
    except ConfigError:  # damaged, and still not ours to throw away
        return sorted(names)
    proved, kept = (
        {engine for engine, top1 in bundle.precisions.items() if "int8" in top1} for bundle in (old, new)
    )
    same = new.weights == old.weights and new.precision == old.precision and proved <= kept
    return [] if same else sorted(names)


def _put(source: str, target: str) -> None:
    try:
        os.replace(source, target)
    except OSError as error:
        raise ExportError(f"{target}: cannot be replaced: {error.strerror}; remove it") from None
