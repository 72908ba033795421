"""Weights of one document task as the start of another: upright or turned text lines, then plain or mirrored ones.

    python tools/benchmarks/textline_task.py --weights PP-LCNet_x1_0_textline_ori.pdparams --crops textline_crops

WEIGHTS are PaddleX's of PP-LCNet_x1_0_textline_ori, CROPS a folder of upright text lines. --train of them (100) and
their mirror images are learned, in turn from these weights and from scratch, and all others scored. Both are written as
PNG: JPEG's blocks would tell them apart. Trainings run one at a time; those in OUT/runs.csv are not run again.
"""

import functools
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_light import cli
from ppcls_light.bench import harness
from ppcls_light.config.tree import dump_yaml
from ppcls_light.data.scan import find_images
from ppcls_light.errors import DataError
from tools.benchmarks import other_python
from tools.benchmarks.seeds import run_all

CASES = ("scratch", "text-line weights")
COLUMNS = ("crops", "start", "epochs")
TRAIN = Path(__file__).resolve().parents[1] / "train.py"
STRIDES = [2, [2, 1], [2, 1], [2, 1], [2, 1]]
WIDTH, HEIGHT = 160, 80


def parse_arguments():
    parser = harness.tool_parser(__doc__)
    parser.add_argument("--weights", required=True, metavar="FILE")
    parser.add_argument("--crops", required=True, metavar="FOLDER")
    parser.add_argument("--train", type=cli.positive, default=100, help="crops to learn (default 100)")
    parser.add_argument("--epochs", type=cli.positive, default=10, help="default: 10")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", metavar="FOLDER", default="output/textline_task")
    return parser.parse_args()


def write_images(crops, count, out):
    """Write each crop and its mirror image below `out`, and the lists of those to learn and to score."""
    from PIL import Image, ImageOps

    images = find_images(crops)
    if len(images) <= count:
        raise DataError(f"--train {count}: there are {len(images)} crops, and some have to be scored")
    lists = {"train": [], "test": []}
    for index, path in enumerate(images):
        with Image.open(path) as image:
            plain = image.convert("RGB")
        for label, version in enumerate((plain, ImageOps.mirror(plain))):
            name = f"{('plain', 'mirrored')[label]}/{index:05d}.png"
            os.makedirs(os.path.join(out, os.path.dirname(name)), exist_ok=True)
            version.save(os.path.join(out, name))
            lists["train" if index < count else "test"].append(f"{name} {label}\n")
    for name, lines in lists.items():
        Path(out, f"{name}.txt").write_text("".join(lines), encoding="utf-8")


def config_of(arguments, case, seed, folder):
    """Return the sections of a training's YAML."""
    ops = [{"DecodeImage": None}, {"ResizeImage": {"size": [WIDTH, HEIGHT]}}]
    ops += [{"NormalizeImage": {"scale": 1 / 255, "order": ""}}]

    def reader(split, **sampler):
        images = {"image_root": arguments.out, "cls_label_path": os.path.join(arguments.out, f"{split}.txt")}
        return {"dataset": {**images, "transform_ops": ops}, "sampler": {"batch_size": 16, **sampler}}

    arch = {"name": "PPLCNet_x1_0", "class_num": 2, "stride_list": STRIDES}
    return {
        "Global": {
            "output_dir": folder,
            "epochs": arguments.epochs,
            "seed": seed,
            "save_interval": arguments.epochs,
            "eval_during_train": False,
            "image_shape": [3, HEIGHT, WIDTH],
        },
        "Arch": arch if case == CASES[0] else {**arch, "pretrained": arguments.weights},
        "Optimizer": {
            "name": "AdamW",
            "weight_decay": 0.05,
            "lr": {"name": "Cosine", "learning_rate": 0.001, "warmup_epoch": 1},
        },
        "DataLoader": {"Train": reader("train", shuffle=True, drop_last=True), "Eval": reader("test")},
        "Metric": {split: [{"TopkAcc": {"topk": [1]}}] for split in ("Train", "Eval")},
    }


def run(arguments, case, seed):
    """Train, and return (top-1 in percent on the other crops, minutes)."""
    from ppcls_light import jobs, load_config

    name = f"{arguments.train}_{case.replace(' ', '_')}_{arguments.epochs}_{seed}"
    folder = os.path.join(arguments.out, name)
    path = f"{folder}.yaml"
    Path(path).write_text(dump_yaml(config_of(arguments, case, seed, folder)), encoding="utf-8")
    start = time.monotonic()
    other_python.run_python([sys.executable, str(TRAIN), "-c", path], "train.py failed")
    minutes = (time.monotonic() - start) / 60
    return 100 * jobs.evaluate(load_config(path, ["Global.checkpoints=auto"]))["top1"], minutes


def main():
    arguments = parse_arguments()
    os.makedirs(arguments.out, exist_ok=True)
    write_images(arguments.crops, arguments.train, arguments.out)
    runs = (
        (
            (str(arguments.train), case, str(arguments.epochs)),
            seed,
            functools.partial(run, arguments, case, seed),
        )
        for seed in arguments.seeds
        for case in CASES
    )
    run_all(os.path.join(arguments.out, "runs.csv"), COLUMNS, runs)


if __name__ == "__main__":
    cli.run(main)
