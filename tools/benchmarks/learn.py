"""Learning here and in PyTorch: the same network, data and recipe on both sides.

    python tools/benchmarks/learn.py --python torch/bin/python --data cifar10 --steps 40
    python tools/benchmarks/learn.py --python torch/bin/python --data cifar10 --epochs 12 --seeds 0 1 2

--steps: the same initial weights and the same batches, without dropout, as a whole training of four epochs with warm-up
and cosine. Rounding grows from step to step, so beside our losses stand those of PyTorch in float64; and we train a
second time with PyTorch's weights put in before every step, where losses and updates should agree to rounding.
--epochs: each side draws its own weights, order, crops and flips from a seed; the test top-1 should agree within the
spread of the seeds.

PyTorch's network is timm's (lcnet_*, FasterNet, EdgeNeXt) or, for MicroNet, that of --peer-repo, a checkout of
liyunsheng13/micronet. --python is an interpreter that has torch and timm, and --data a folder, or a ZIP of one, with
train/CLASS/IMAGE and test/CLASS/IMAGE. Trainings run one at a time, in turns, on CPU. A training that is in
OUT/runs.csv is not run again; OUT/steps.csv is written anew.
"""

import contextlib
import json
import os
import random
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_light import cli
from ppcls_light.base.figures import check_matplotlib
from ppcls_light.base.machine import physical_cores
from ppcls_light.base.tables import markdown_table, write_csv
from ppcls_light.bench import harness
from ppcls_light.data.scan import scan_image_folder
from ppcls_light.errors import DataError
from tools.benchmarks import learn_report as report
from tools.benchmarks import other_python
from tools.benchmarks.learn_recipe import OPTIMIZERS, Recipe, Task
from tools.benchmarks.learn_report import OURS, SIDES, TORCH
from tools.benchmarks.torch_side import timm_name

STEP_EPOCHS = 4
MODELS = ("lcnet_050", "FasterNet_T0", "EdgeNeXt_XX_Small")
TRAIN = Path(__file__).resolve().parents[1] / "train.py"
HERE = Path(__file__).with_name("learn_steps.py")
PEER = Path(__file__).with_name("learn_torch.py")


def parse_arguments():
    parser = harness.tool_parser(__doc__)
    parser.add_argument("models", nargs="*", default=MODELS, help=f"default: {' '.join(MODELS)}")
    parser.add_argument("--python", required=True, metavar="PYTHON", help="interpreter with torch and timm")
    parser.add_argument("--data", required=True, metavar="PATH", help="folder or ZIP, see above")
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--steps", type=cli.positive, help=f"a multiple of {STEP_EPOCHS}")
    length.add_argument("--epochs", type=cli.positive)
    parser.add_argument("--seeds", type=int, nargs="+", help="of --epochs (default 0)")
    parser.add_argument("--batch", type=cli.positive, default=64, help="default: 64")
    parser.add_argument("--size", type=cli.positive, default=64, help="pixels (default 64)")
    parser.add_argument(
        "--optimizer", choices=tuple(OPTIMIZERS), help="default: as the authors, see learn_recipe.py"
    )
    parser.add_argument("--threads", type=cli.positive, default=physical_cores())
    parser.add_argument("--peer-repo", metavar="DIR", help="checkout of liyunsheng13/micronet, for MicroNet")
    parser.add_argument("--out", metavar="DIR", default="output/learn", help="default: output/learn")
    arguments = parser.parse_args()
    arguments.models = list(dict.fromkeys(arguments.models))
    if arguments.peer_repo and not any(name.startswith("MicroNet_") for name in arguments.models):
        parser.error("--peer-repo is for MicroNet_*; leave it out")
    if arguments.steps and arguments.steps % STEP_EPOCHS:
        parser.error(f"--steps {arguments.steps}: give a multiple of {STEP_EPOCHS}")
    if arguments.steps and arguments.seeds:
        parser.error("--seeds is for --epochs: --steps begins with the weights of one seed on both sides")
    for name in arguments.models:
        if name.startswith("MicroNet_") and not arguments.peer_repo:
            parser.error(f"{name} needs --peer-repo, a checkout of liyunsheng13/micronet")
        if not (name.startswith("MicroNet_") or timm_name(name)):
            parser.error(
                f"{name} has no peer in PyTorch; there are lcnet_*, FasterNet_*, EdgeNeXt_*, MicroNet_*"
            )
    return arguments


def recipe_of(arguments, name):
    optimizer = arguments.optimizer
    if optimizer is None:
        optimizer = "AdamW" if name.lower().startswith(("fasternet_", "edgenext_")) else "Momentum"
    epochs = STEP_EPOCHS if arguments.steps else arguments.epochs
    return Recipe(optimizer, *OPTIMIZERS[optimizer], epochs, arguments.batch, arguments.size)


class Data(NamedTuple):
    """Images of both splits as lines of a list file, with paths relative to `root`."""

    root: str
    train: list
    test: list
    classes: int


@contextlib.contextmanager
def open_data(path):
    """Give the Data of `path`, a folder or a ZIP, which is unpacked meanwhile. Raises DataError."""
    if os.path.isdir(path):
        yield read_data(path)
        return
    with tempfile.TemporaryDirectory() as scratch:
        try:
            with zipfile.ZipFile(path) as archive:
                archive.extractall(scratch)
        except (OSError, zipfile.BadZipFile) as error:
            reason = getattr(error, "strerror", None) or "no ZIP"
            raise DataError(f"--data {path}: {reason}; give a folder or a ZIP with train and test") from None
        yield read_data(scratch)


def read_data(folder):
    train, names = scan_image_folder(os.path.join(folder, "train"))
    test, _ = scan_image_folder(os.path.join(folder, "test"), names)
    lines = (
        [f"{split}/{images.name(index)} {images.label(index)}\n" for index in range(len(images))]
        for split, images in (("train", train), ("test", test))
    )
    return Data(os.path.abspath(folder), *lines, len(names))


def make_task(arguments, data, name, seed, out):
    """Return the Task of a training, with its list files written to the folder `out`."""
    lists = {}
    for split, lines in (("train", data.train), ("test", data.test)):
        lists[split] = os.path.join(out, f"{split}_list.txt")
        Path(lists[split]).write_text("".join(lines), encoding="utf-8")
    repo = arguments.peer_repo if name.startswith("MicroNet_") else None
    shared = {"recipe": recipe_of(arguments, name), "seed": seed, "threads": arguments.threads}
    return Task(name, classes=data.classes, root=data.root, out=out, repo=repo, **shared, **lists)


def call_peer(arguments, command, *files, failure):
    return other_python.run_python([arguments.python, str(PEER), command, *files], failure)


def compare_steps(arguments, data, versions):
    """Train every model on both sides from the same weights on the same batches, and report."""
    rows, lines, curves = [], [], {}
    count = arguments.steps // STEP_EPOCHS * arguments.batch
    if count > len(data.train):
        raise DataError(
            f"--steps {arguments.steps} takes {count} training images; there are {len(data.train)}"
        )
    data = data._replace(train=random.Random(0).sample(data.train, count))
    settings = (arguments.threads, harness.machine(), ", ".join(versions.values()))
    for name in arguments.models:
        print(f"{name} ...", file=sys.stderr)
        with tempfile.TemporaryDirectory() as out:
            curves[name], distances = train_steps(arguments, make_task(arguments, data, name, 0, out))
        recipe = recipe_of(arguments, name)
        rows += [
            (name, recipe, step, *losses, *settings) for step, losses in enumerate(zip(*curves[name]), 1)
        ]
        largest = (*report.largest_differences(curves[name]), *distances)
        lines.append((name, recipe, arguments.steps, *(f"{number:.1e}" for number in largest)))
    print(markdown_table(report.STEP_TABLE, lines), end="")
    write_csv(os.path.join(arguments.out, "steps.csv"), report.STEP_COLUMNS, rows)
    report.save(report.draw_steps(curves), os.path.join(arguments.out, "steps"))


def train_steps(arguments, task):
    """Return the `report.Losses`, the largest difference of an update and that of the running statistics."""
    file, failure = task.write(), f"cannot train {task.model}"
    other_python.run_python([sys.executable, str(HERE), "batches", file], failure)
    call_peer(arguments, "steps", file, failure=failure)
    other_python.run_python([sys.executable, str(HERE), "train", file], failure)
    theirs, ours = (
        json.loads(Path(task.out, name).read_text(encoding="utf-8")) for name in ("losses.json", "ours.json")
    )
    losses = report.Losses(ours["ours"], theirs["float32"], theirs["float64"], ours["guided"])
    return losses, (ours["update"], ours["statistics"])


def compare_runs(arguments, data, versions):
    """Train every model on both sides from every seed, but for what is in OUT/runs.csv, and report."""
    path = os.path.join(arguments.out, "runs.csv")
    rows, chosen = report.read_runs(path), []
    for seed in dict.fromkeys(arguments.seeds or [0]):
        for name in arguments.models:
            for side in SIDES:
                row = {
                    "model": name,
                    "side": side,
                    "seed": seed,
                    "recipe": str(recipe_of(arguments, name)),
                    "images": f"{len(data.train)} + {len(data.test)}",
                    "versions": versions[side],
                }
                known = next((one for one in rows if report.key(one) == report.key(row)), None)
                if known is None:
                    print(f"{name}, {side}, seed {seed} ...", file=sys.stderr)
                    with tempfile.TemporaryDirectory() as out:
                        curves = train_epochs(arguments, make_task(arguments, data, name, seed, out), side)
                    known = {**row, "threads": arguments.threads, "machine": harness.machine(), **curves}
                    rows.append(known)
                    report.write_runs(path, rows)
                print(f"{name}, {side}, seed {seed}: top-1 {known['top-1']:.2f} %", file=sys.stderr)
                chosen.append(known)
    print(report.runs_table(chosen), end="")
    report.save(report.draw_runs(chosen), os.path.join(arguments.out, "runs"))


def train_epochs(arguments, task, side):
    """Return the last three columns of a row of runs for the training of `task` by `side`."""
    from ppcls_light.config import dump_config, load_config
    from ppcls_light.report.curves import read_runs

    failure = f"cannot train {task.model}"
    if side == OURS:
        config = os.path.join(task.out, "task.yaml")
        Path(config).write_text(dump_config(load_config(task.config())), encoding="utf-8")
        other_python.run_python([sys.executable, str(TRAIN), "-c", config], failure)
    else:
        call_peer(arguments, "epochs", task.write(), failure=failure)
    (run,) = read_runs([task.out])
    loss, top1 = run.curve("train_avg", "loss")[1], [100 * share for share in run.curve("eval", "top1")[1]]
    return {"top-1": top1[-1], "training loss by epoch": loss, "top-1 by epoch": top1}


def main():
    arguments = parse_arguments()
    check_matplotlib("tools/benchmarks/learn.py")
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)  # for the processes that train
    import paddle

    peer = call_peer(arguments, "versions", failure="cannot tell its versions").strip()
    versions = {OURS: f"Paddle {paddle.__version__}", TORCH: peer}
    with open_data(arguments.data) as data:
        (compare_steps if arguments.steps else compare_runs)(arguments, data, versions)


if __name__ == "__main__":
    cli.run(main)
