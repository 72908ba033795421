"""Write train, val and test lists, a label map and a config that fits for a folder with one folder per class."""

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_light import cli
from ppcls_light.base.files import write_text
from ppcls_light.base.resources import PREFIX
from ppcls_light.config.tree import dump_yaml
from ppcls_light.data import write_image_lists
from ppcls_light.data.scan import CONFIG_FILE
from ppcls_light.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
MARK = "# Written by tools/make_list.py"
BATCH_SIZE, STEPS = 32, 4  # at most, and at least so many steps per epoch, down to batches of 2


class Recipe(NamedTuple):
    """Config to start from, and the length of its training: images that it sees in all, and bounds of its epochs."""

    base: str
    images_seen: int
    least: int
    most: int

    def epochs(self, images):
        """Return the epochs of a training on so many images."""
        return min(max(round(self.images_seen / images), self.least), self.most)


PRETRAINED = Recipe("photos.yaml", 36_000, 5, 40)
SCRATCH = Recipe("photos_scratch.yaml", 74_000, 12, 100)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="folder of class folders, or of train/ val/ test/ folders of them")
    parser.add_argument("--split", help="shares of train/val/test, for example 0.8/0.1/0.1")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random choice (default 0)")
    parser.add_argument("--out", help="folder for what is written (default: the folder itself)")
    parser.add_argument(
        "--labels",
        metavar="FILE",
        help="label map that fixes the labels (default: folders in order of their names)",
    )
    parser.add_argument(
        "--scratch", action="store_true", help="a config that starts from random weights, without a download"
    )
    args = parser.parse_args()
    config_file = os.path.join(args.folder if args.out is None else args.out, CONFIG_FILE)
    require_own(config_file)
    classes, counts, label_file = write_image_lists(args.folder, args.split, args.seed, args.out, args.labels)
    lists = {Path(path).stem: path for path in counts}
    recipe = SCRATCH if args.scratch else PRETRAINED
    text = config_text(recipe, args.folder, len(classes), counts[lists["train_list"]], lists, label_file)
    write_text(config_file, text, keep=True)
    for path, count in counts.items():
        print(f"{path}: {count} images")
    print(f"{label_file}: {len(classes)} classes")
    print(f"{config_file}: a config that fits")
    tool = os.path.relpath(ROOT / "tools" / "train.py")
    print(f"\nTo train on them:\n\npython {shlex.quote(tool)} -c {shlex.quote(config_file)}")


def require_own(path):
    """Raise ConfigError if the config to be written is there and is somebody else's."""
    if os.path.isfile(path):
        with open(path, encoding="utf-8", errors="replace") as file:
            if file.read(len(MARK)) != MARK:
                raise ConfigError(
                    f"{path} is no config of make_list's; rename it, or write elsewhere by --out"
                )


def config_text(recipe, folder, class_num, images, lists, label_file):
    """Return the YAML of a config of `recipe` for these lists; paths are absolute, but for output and base."""
    folder = os.path.abspath(folder)
    scored = lists.get("val_list", lists.get("test_list"))
    batch_size = BATCH_SIZE
    while batch_size > 2 and batch_size * STEPS > images:
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
    tree = {
        "_base_": f"{PREFIX}quick_start/{recipe.base}",
        "Global": {
            "output_dir": output,
            "save_inference_dir": f"{output}/inference",
            "epochs": epochs,
            "save_interval": epochs,
        },
        "Arch": {"class_num": class_num},
        "DataLoader": data,
        "Infer": {
            "PostProcess": {"topk": min(3, class_num), "class_id_map_file": os.path.abspath(label_file)}
        },
        "Metric": {split: [{"TopkAcc": {"topk": list(topk)}}] for split in ("Train", "Eval")},
    }
    if scored is None:  # the images of Eval are then only what an export is compared on
        tree["Global"]["eval_during_train"] = False
    return f"{MARK}, which writes it again: change a copy, or give changes by -o.\n{dump_yaml(tree)}"


if __name__ == "__main__":
    cli.run(main)
