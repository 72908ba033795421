"""Write train, val and test lists, a label map and a config for a folder with one folder per class.

%(prog)s PHOTOS --split 0.8/0.1/0.1
"""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path
from typing import Mapping

from ..base.files import write_text
from ..base.hints import command
from ..errors import ConfigError

_MARK = "# Written by tools/make_list.py"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("folder", metavar="FOLDER", help="folder of class folders, or of train/ val/ test/ folders of them")
    add("--split", help="shares of train/val/test, for example 0.8/0.1/0.1")
    add("--seed", type=int, default=0, help="seed of the random choice (default 0)")
    add("--out", metavar="DIR", help="folder for what is written (default: the folder itself)")
    add(
        "--labels",
        metavar="FILE",
        help="label map that fixes the labels (default: folders in order of their names)",
    )
    add("--scratch", action="store_true", help="a config that starts from random weights, without a download")


def main(arguments: argparse.Namespace) -> None:
    from ..data import write_image_lists
    from ..data.scan import CONFIG_FILE

    folder, out = arguments.folder, arguments.out
    config_file = os.path.join(folder if out is None else out, CONFIG_FILE)
    _require_own(config_file)
    classes, counts, label_file = write_image_lists(
        folder, arguments.split, arguments.seed, out, arguments.labels
    )
    lists = {Path(path).stem: path for path in counts}
    text = config_text(
        arguments.scratch, folder, len(classes), counts[lists["train_list"]], lists, label_file
    )
    write_text(config_file, text, keep=True)
    for path, count in counts.items():
        print(f"{path}: {count} images")
    print(f"{label_file}: {len(classes)} classes")
    print(f"{config_file}: a config that fits")
    print(f"\nTo train on them:\n\n{command('train')} -c {shlex.quote(config_file)}")


def _require_own(path: str) -> None:
    """Raise ConfigError if the config to be written is there and is somebody else's."""
    if os.path.isfile(path):
        with open(path, encoding="utf-8", errors="replace") as file:
            if file.read(len(_MARK)) != _MARK:
                raise ConfigError(
                    f"{path} is no config of make_list's; rename it, or write elsewhere by --out"
                )


def config_text(
    scratch: bool,
    folder: str,
    class_num: int,
    images: int,
    lists: Mapping[str, str],
    label_file: str,
) -> str:
    """Return the YAML of a config for these lists; paths are absolute, but for the output's.

    `scratch`: from random weights. `images` are those of the training, `lists` {"train_list", "val_list" and the like:
    path}.
    """
    from ..config.tree import dump_yaml
    from ..photos.recipe import PRETRAINED, SCRATCH, Choice, Lists, batch_size_for, sections_of

    recipe = SCRATCH if scratch else PRETRAINED
    train, scored = lists["train_list"], lists.get("val_list", lists.get("test_list"))
    found = Lists(folder, train, scored or train, scored is not None, label_file, class_num, images)
    weights = None if scratch else "ssld"
    choice = Choice(*recipe.networks[0], weights, batch_size_for(images), recipe.epochs(images))
    output = f"./output/{os.path.basename(os.path.abspath(folder)) or 'photos'}"
    sections = sections_of(recipe, found, choice, output)
    return f"{_MARK}, which writes it again: change a copy, or give changes by -o.\n{dump_yaml(sections)}"
