"""The whole way in one command: digits as photos, train, evaluate, infer, export, classify when served.

    python tools/quickstart.py

Every step is one of the commands a user types; each is printed before it runs. The digits, 1,797 scans of 8x8
pixels, come with the package, so that nothing is downloaded.
"""

import argparse
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_light import cli, sample_data

ROOT = Path(__file__).resolve().parents[1]
CONFIG = "configs/quick_start/digits.yaml"
FOLDER = Path("output/quickstart")
WEIGHTS = f"Global.pretrained_model={FOLDER}/model/best_model"
GOAL = 0.97


def write_digits(folder):
    """Write the digits into class folders, with lists, and ten of the test images beside them; return the counts."""
    sample_data("digits", folder)
    lists = {split: (folder / f"{split}_list.txt").read_text().splitlines() for split in ("train", "test")}
    samples = ROOT / FOLDER / "samples"
    samples.mkdir(exist_ok=True)
    for index, line in enumerate(lists["test"][:: len(lists["test"]) // 10][:10]):
        name, label = line.split()
        shutil.copyfile(folder / name, samples / f"{index}_is_{label}.png")
    return {split: len(lines) for split, lines in lists.items()}


def run(*arguments):
    """Print and run a command in the checkout; return what it printed. A failure ends the quickstart."""
    print(f"\n$ python {shlex.join(arguments)}", flush=True)
    lines = []
    command = [sys.executable, *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, encoding="utf-8") as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    if process.returncode:
        sys.exit(f"quickstart: the command above failed with exit code {process.returncode}")
    return "".join(lines)


def main():
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    began = time.perf_counter()
    counts = write_digits(ROOT / FOLDER / "digits")
    print(f"wrote {counts['train']} + {counts['test']} digits to {FOLDER}/digits")
    # Whoever starts this again wants it all anew; the model of the time before is moved, not replaced.
    run("tools/train.py", "-c", CONFIG, "-o", "Global.overwrite=true")
    score = run("tools/eval.py", "-c", CONFIG, "-o", WEIGHTS)
    run("tools/infer.py", "-c", CONFIG, "-o", WEIGHTS)
    exported = run("tools/export_model.py", "-c", CONFIG, "-o", WEIGHTS)
    served = run(
        "deploy/python/predict_cls.py", "-c", "deploy/configs/inference_cls.yaml",
        "-o", f"Global.inference_model_dir={FOLDER}/inference", "-o", f"Global.infer_imgs={FOLDER}/samples",
    )  # fmt: skip
    top1 = float(re.search(r"\[Avg\].*top1: ([\d.]+)", score)[1])
    right = sum(
        f"is_{ids}" in line for line in served.splitlines() for ids in re.findall(r": \[(\d+)", line)[:1]
    )
    difference = re.search(r"by at most ([\d.e+-]+)", exported)[1]
    rows = [
        ("photos and list files", f"{FOLDER}/digits", f"{counts['train']} train, {counts['test']} test"),
        ("trained weights", f"{FOLDER}/model/best_model.pdparams", f"top-1 {top1:.4f} on the test images"),
        ("exported model", f"{FOLDER}/inference", f"equals the network to {float(difference):.0e}"),
        ("served by Paddle Inference", f"{FOLDER}/samples", f"{right} of 10 right"),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    print(f"\nDone in {time.perf_counter() - began:.0f} s. What was made:")
    for row in rows:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    print("""
Next, with photos of your own in PHOTOS/<class>/<photo>:
  1. python tools/make_list.py PHOTOS --split 0.8/0.1/0.1   (--scratch: without ImageNet weights, which 2. fetches)
  2. the command that it prints: python tools/train.py -c PHOTOS/photos.yaml
  3. python tools/export_model.py -c output/PHOTOS/config.yaml -o Global.checkpoints=auto""")
    if top1 < GOAL:
        sys.exit(f"quickstart: top-1 {top1:.4f} is below {GOAL}")


if __name__ == "__main__":
    cli.run(main)
