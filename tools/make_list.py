"""Write train, val and test lists and a label map for a folder that holds one folder a class."""

import argparse
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_light import cli
from ppcls_light.data import write_image_lists


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="folder of class folders, or of train/ val/ test/ folders of them")
    parser.add_argument("--split", help="shares of train/val/test, for example 0.8/0.1/0.1")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random choice (default 0)")
    parser.add_argument("--out", help="folder for the lists (default: the folder itself)")
    args = parser.parse_args()
    classes, counts, label_file = write_image_lists(args.folder, args.split, args.seed, args.out)
    for path, count in counts.items():
        print(f"{path}: {count} images")
    print(f"{label_file}: {len(classes)} classes")
    lists = {Path(path).name: path for path in counts}
    values = {
        "Arch.class_num": len(classes),
        "DataLoader.Train.dataset.image_root": args.folder,
        "DataLoader.Train.dataset.cls_label_path": lists["train_list.txt"],
        "DataLoader.Eval.dataset.image_root": args.folder,
        "DataLoader.Eval.dataset.cls_label_path": lists.get("val_list.txt", lists.get("test_list.txt")),
        "Infer.PostProcess.class_id_map_file": label_file,
    }
    pairs = " \\\n    ".join(
        shlex.quote(f"{key}={value}") for key, value in values.items() if value is not None
    )
    print(
        f"\nTo train on them:\n\npython tools/train.py -c configs/quick_start/photos.yaml -o \\\n    {pairs}"
    )


if __name__ == "__main__":
    cli.run(main)
