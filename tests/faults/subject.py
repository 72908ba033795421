"""A photo folder, a training and an exported network for `harm.py` and `soak.py`."""

import argparse
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
SIZE = 32
SMALL = ["Arch.name=PPLCNet_x0_25", "Arch.stride_list=[1,2,2,2,2]", f"Global.image_shape=[3,{SIZE},{SIZE}]"]
COLOURS = ("red", "green", "blue")


def run(description, runs, failed):
    """Do one of `runs`, {function (folder, times, ranks): times}, as the command line says; print what it found.

    Exits with 1 if `failed` of what was found.
    """
    named = {function.__name__: function for function in runs}
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("run", choices=named)
    parser.add_argument("--times", type=int, help=f"left out: {dict(zip(named, runs.values()))}")
    parser.add_argument("--ranks", type=int, default=1, help="processes of each training that is harmed")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6)
    args = parser.parse_args()
    random.seed(args.seed)
    function = named[args.run]
    with tempfile.TemporaryDirectory() as folder:
        found = function(Path(folder), args.times or runs[function], args.ranks)
    print(json.dumps({"run": args.run, "seed": args.seed, **found}))
    sys.exit(1 if failed(found) else 0)


def photos(folder):
    """Write 60 pictures of three colours with `tools/make_list.py`'s lists and config; return the config's path."""
    rng = np.random.default_rng(0)
    for channel, number in itertools.product(range(3), range(20)):
        pixels = rng.integers(0, 150, (40, 40, 3), dtype="uint8")
        pixels[:, :, channel] += 100
        path = folder / "photos" / "rgb"[channel] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    command = [
        sys.executable,
        "tools/make_list.py",
        str(folder / "photos"),
        "--split",
        "0.8/0.2",
        "--scratch",
    ]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return folder / "photos" / "photos.yaml"


def train(config, output, *overrides, ranks=1, strace=None, environment=None):
    """Start a training in a process group of its own; with `strace`, options of it, under that."""
    normalize = "{NormalizeImage: {order: ''}}"
    launcher = ["-m", "paddle.distributed.launch", f"--nproc_per_node={ranks}", f"--log_dir={output}.log"]
    ops = [
        f"DataLoader.{part}.dataset.transform_ops=[{{DecodeImage: null}}, {{{resize}: {{size: {SIZE}}}}}, {normalize}]"
        for part, resize in (("Train", "RandCropImage"), ("Eval", "ResizeImage"))
    ]
    options = [*SMALL, *ops, f"Global.output_dir={output}", "Global.checkpoints=auto", *overrides]
    own = {
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return subprocess.Popen(
        ([] if strace is None else ["strace", "-f", "-qq", *strace])
        + [sys.executable, *(launcher if ranks > 1 else []), "tools/train.py", "-c", str(config)]
        + [part for option in options for part in ("-o", option)],
        cwd=ROOT,
        env={**os.environ, **own, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def export(folder, order=1):
    """Export a network that tells the three colours apart, in one of two orders (1, -1); return its folder."""
    import paddle

    from ppcls_light.export import export_model

    linear = paddle.nn.Linear(3, 3)
    linear.weight.set_value(9 * np.eye(3, dtype="float32")[:, ::order])
    network = paddle.nn.Sequential(paddle.nn.AdaptiveAvgPool2D(1), paddle.nn.Flatten(), linear)
    ops = [
        ("ResizeImage", {"resize_short": SIZE}),
        ("CropImage", {"size": SIZE}),
        ("NormalizeImage", {"order": ""}),
    ]
    export_model(network, folder / "inference", (3, SIZE, SIZE), ops, list(COLOURS[::order]))
    return folder / "inference"
