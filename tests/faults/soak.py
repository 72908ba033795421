"""Long runs of what the tests do once or a few times: python tests/faults/soak.py kill|epochs|predictions|requests

Each prints what was done and found as one line of JSON, and exits with 1 when something was lost, answered
differently or kept growing.
"""

import argparse
import contextlib
import io
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "deploy" / "serving"))
SIZE = 32
SMALL = ["Arch.name=PPLCNet_x0_25", "Arch.stride_list=[1,2,2,2,2]", f"Global.image_shape=[3,{SIZE},{SIZE}]"]
_MOST_GROWTH = 0.10  # of the memory after a tenth of the run


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", choices=("kill", "epochs", "predictions", "requests"))
    parser.add_argument(
        "--times", type=int, help="kills (50), epochs (200), predictions or requests (100000)"
    )
    parser.add_argument("--ranks", type=int, default=1, help="processes of each training that is killed")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6)
    args = parser.parse_args()
    random.seed(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        found = {
            "kill": lambda: kill(Path(folder), args.times or 50, args.ranks),
            "epochs": lambda: epochs(Path(folder), args.times or 200),
            "predictions": lambda: predictions(Path(folder), args.times or 100_000),
            "requests": lambda: requests(Path(folder), args.times or 100_000),
        }[args.run]()
    print(json.dumps({"run": args.run, "seed": args.seed, **found}))
    sys.exit(1 if found["lost"] or _grew(found.get("MiB", ())) else 0)


def photos(folder):
    """Write 60 pictures of three colours with `tools/make_list.py`'s lists and config; return the config's path."""
    rng = np.random.default_rng(0)
    for channel, number in itertools.product(range(3), range(20)):
        pixels = rng.integers(0, 150, (40, 40, 3), dtype="uint8")
        pixels[:, :, channel] += 100
        path = folder / "photos" / "rgb"[channel] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    command = [sys.executable, "tools/make_list.py", str(folder / "photos"), "--split", "0.8/0.2"]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return folder / "photos" / "photos.yaml"


def train(config, output, *overrides, ranks=1):
    """Start a training in a process group of its own."""
    normalize = "{NormalizeImage: {order: ''}}"
    launcher = ["-m", "paddle.distributed.launch", f"--nproc_per_node={ranks}", f"--log_dir={output}.log"]
    ops = [
        f"DataLoader.{part}.dataset.transform_ops=[{{DecodeImage: null}}, {{{resize}: {{size: {SIZE}}}}}, {normalize}]"
        for part, resize in (("Train", "RandCropImage"), ("Eval", "ResizeImage"))
    ]
    options = [*SMALL, *ops, f"Global.output_dir={output}", "Global.checkpoints=auto", *overrides]
    return subprocess.Popen(
        [sys.executable, *(launcher if ranks > 1 else []), "tools/train.py", "-c", str(config)]
        + [part for option in options for part in ("-o", option)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def kill(folder, times, ranks):
    """Kill trainings at moments of chance until `times` were killed; each then ends as the one left alone did."""
    config, settings = photos(folder), ["Global.epochs=6", "Global.save_steps=1", "EMA={decay: 0.7}"]
    began = time.monotonic()
    whole = train(config, folder / "whole", *settings, ranks=ranks)
    output = whole.communicate()[0]
    if whole.returncode:
        sys.exit(output)
    seconds, kills, runs, lost = time.monotonic() - began, 0, 0, 0
    expected = _state(folder / "whole")
    while kills < times:
        part = folder / f"part{runs}"
        while True:
            process = train(config, part, *settings, ranks=ranks)
            with contextlib.suppress(subprocess.TimeoutExpired):
                output = process.communicate(timeout=random.uniform(0.2, 1.2) * seconds)[0]
                break
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            kills += 1
        runs += 1
        lost += process.returncode != 0 or _state(part) != expected
    return {"killed": kills, "trainings": runs, "ranks": ranks, "lost": lost}


def _state(output):
    """Return the last checkpoint of a run as text that is equal for equal ones."""
    from ppcls_light.engine import checkpoint

    found = checkpoint.load(output / "latest")
    arrays = {
        f"{kind} {key}": np.asarray(value).tobytes().hex()
        for kind in ("weights", "raw", "optimizer")
        for key, value in sorted(getattr(found, kind).items())
    }
    return json.dumps([arrays, {key: found.states[key] for key in ("epoch", "position", "step")}])


def epochs(folder, times):
    """Train for many short epochs; the memory is read at each tenth."""
    process = train(photos(folder), folder / "output", f"Global.epochs={times}", "Global.save_interval=10")
    memory, done, said = [], 0, ""
    for line in process.stdout:
        said += line
        if "[Train]" in line and "[Avg]" in line:
            done += 1
            if done % max(1, times // 10) == 0:
                memory.append(_resident(process.pid))
    return {"epochs": done, "MiB": memory, "lost": int(process.wait() != 0 or done != times)}


def export(folder):
    """Export a network that tells the three colours apart; return its folder."""
    import paddle

    from ppcls_light.export import export_model

    linear = paddle.nn.Linear(3, 3)
    linear.weight.set_value(9 * np.eye(3, dtype="float32"))
    network = paddle.nn.Sequential(paddle.nn.AdaptiveAvgPool2D(1), paddle.nn.Flatten(), linear)
    ops = [
        ("ResizeImage", {"resize_short": SIZE}),
        ("CropImage", {"size": SIZE}),
        ("NormalizeImage", {"order": ""}),
    ]
    export_model(network, folder / "inference", (3, SIZE, SIZE), ops, ["red", "green", "blue"])
    return folder / "inference"


def picture(rng):
    """Return (class id, a file's bytes) of a picture of any size from 1 x 1 to 1350 x 675, in one of four formats."""
    channel = int(rng.integers(3))
    height = int(2 ** rng.uniform(0, 9.4))
    width = max(1, int(height * 2 ** rng.uniform(-1, 1)))
    pixels = rng.integers(0, 60, (height, width, 3), dtype="uint8")
    pixels[:, :, channel] += 150
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, str(rng.choice(["JPEG", "PNG", "WEBP", "BMP"])))
    return channel, file.getvalue()


def predictions(folder, times):
    """Classify pictures of many sizes in one process."""
    from ppcls_light import Predictor

    predictor, rng = Predictor(export(folder)), np.random.default_rng(0)
    stock = [picture(rng) for _ in range(500)]
    memory, wrong, done = [], 0, 0
    while done < times:
        chosen = [stock[number] for number in rng.integers(len(stock), size=int(rng.integers(1, 17)))]
        rows = predictor.predict([data for _, data in chosen])
        wrong += sum(row.get("class_ids", [None])[0] != label for row, (label, _) in zip(rows, chosen))
        done += len(rows)
        if done >= times * (len(memory) + 1) / 10:
            memory.append(_resident(os.getpid()))
    return {"predictions": done, "MiB": memory, "lost": wrong}


def requests(folder, times):
    """Send pictures to a server from 16 clients with a connection each."""
    import load_test

    rng, clients = np.random.default_rng(0), 16
    stock = [picture(rng) for _ in range(200)]
    memory, lost, done = [], 0, 0
    with load_test.running_server(export(folder), ["--workers", "1"]) as address:
        while done < times:
            rows = load_test.one_round(address, [data for _, data in stock], clients, times // 10, 3600)
            lost += sum(ids is None or ids[0] != stock[number][0] for number, _, ids in rows)
            done += len(rows)
            memory.append(sum(map(_resident, _descendants(os.getpid()))))
    return {"requests": done, "MiB": memory, "lost": lost}


def _descendants(process):
    tasks = Path(f"/proc/{process}/task").glob("*/children")
    children = [int(child) for task in tasks for child in task.read_text().split()]
    return children + [each for child in children for each in _descendants(child)]


def _resident(process):
    """Return the resident memory of a process, MiB."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20


def _grew(memory):
    return bool(memory) and memory[-1] > memory[0] * (1 + _MOST_GROWTH)


if __name__ == "__main__":
    main()
