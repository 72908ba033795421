"""Copies of classified images, in a folder for each class: `PostProcess.SavePreLabel` of a deploy YAML."""

from __future__ import annotations

import filecmp
import itertools
import logging
import os
import shutil

from ..base.files import atomic_path
from ..errors import ExportError
from .results import Row

logger = logging.getLogger(__name__)


class Copies:
    """Copies in `folder`/CLASS_ID, by the first class of a row; rows with an error have none.

    A file of other content that has the name already stays, and the copy gets a number: photo_2.jpg.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._made = self._there = 0

    def add(self, row: Row) -> None:
        """Copy the image of a row. Raises ExportError: the folder cannot be written."""
        if not row.get("class_ids"):
            return
        source = row["file_name"]
        stem, suffix = os.path.splitext(os.path.basename(source))
        names = itertools.chain([stem], (f"{stem}_{number}" for number in itertools.count(2)))
        for name in names:
            path = os.path.join(self._folder, str(row["class_ids"][0]), name + suffix)
            if not os.path.exists(path):
                with atomic_path(path, ExportError) as temporary:
                    shutil.copyfile(source, temporary)
                self._made += 1
                return
            if filecmp.cmp(source, path, shallow=False):
                self._there += 1
                return

    def report(self) -> None:
        """Write into the log how many copies there are."""
        there = f", {self._there} were there" if self._there else ""
        copies = os.path.join(self._folder, "CLASS_ID")
        logger.info("SavePreLabel: %d images copied into %s%s", self._made, copies, there)
