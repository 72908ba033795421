"""Write train, val and test lists, a label map and a config for a folder with one folder per class.

%(prog)s PHOTOS --split 0.8/0.1/0.1
"""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path
from typing import Mapping, NamedTuple

from ..base.files import write_text
from ..base.hints import command
from ..base.resources import PREFIX
from ..errors import ConfigError

_MARK = "# Written by tools/make_list.py"
_BATCH_SIZE, _STEPS = 32, 4  # at most, and at least so many steps per epoch, down to batches of 2


class Recipe(NamedTuple):
    """Config to start from, and the length of its training: images that it sees in all, and bounds of its epochs."""

    base: str
    images_seen: int
    least: int
    most: int

    def epochs(self, images: int) -> int:
        """Return the epochs of a training on so many images."""
        return min(max(round(self.images_seen / images), self.least), self.most)


PRETRAINED = Recipe("photos.yaml", 36_000, 5, 40)
SCRATCH = Recipe("photos_scratch.yaml", 74_000, 12, 100)


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
    recipe = SCRATCH if arguments.scratch else PRETRAINED
    text = config_text(recipe, folder, len(classes), counts[lists["train_list"]], lists, label_file)
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
    recipe: Recipe,
    folder: str,
    class_num: int,
    images: int,
    lists: Mapping[str, str],
    label_file: str,
) -> str:
    """Return the YAML of a config of `recipe` for these lists; paths are absolute, but for the output's.

    `images` are those of the training, `lists` {"train_list", "val_list" and the like: path}.
    """
    from ..config.tree import dump_yaml

    folder = os.path.abspath(folder)
    scored = lists.get("val_list", lists.get("test_list"))
    batch_size = _BATCH_SIZE
    while batch_size > 2 and batch_size * _STEPS > images:
        batch_size //= 2
    epochs = recipe.epochs(images)
    topk = [1, 3] if class_num > 3 else [1]  # of 3 classes, the first 3 are always right
    output = f"./output/{os.path.basename(folder) or 'photos'}"
    data = {
        "Train": {
            "dataset": {"image_root": folder, "cls_label_path": os.path.abspath(lists["train_list"])},
            "sampler": {"batch_size": min(batch_size, images)},
        },
        "Eval": {
            "dataset": {
                "image_root": folder,
                "cls_label_path": os.path.abspath(scored or lists["train_list"]),
            }
        },
    }
    settings = {
        "output_dir": output,
        "save_inference_dir": f"{output}/inference",
        "epochs": epochs,
        "save_interval": epochs,
    }
    if scored is None:  # the images of Eval are then only what an export is compared on
        settings["eval_during_train"] = False
    tree = {
        "_base_": f"{PREFIX}quick_start/{recipe.base}",
        "Global": settings,
        "Arch": {"class_num": class_num},
        "DataLoader": data,
        "Infer": {
            "PostProcess": {"topk": min(3, class_num), "class_id_map_file": os.path.abspath(label_file)}
        },
        "Metric": {split: [{"TopkAcc": {"topk": list(topk)}}] for split in ("Train", "Eval")},
    }
    return f"{_MARK}, which writes it again: change a copy, or give changes by -o.\n{dump_yaml(tree)}"
