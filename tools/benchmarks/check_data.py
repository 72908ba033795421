"""Faults that tools/check_data.py finds among planted ones, its speed and its memory.

    python tools/benchmarks/check_data.py --images 100000                     # pictures made for the purpose
    python tools/benchmarks/check_data.py --photos dataset/clothing10 --embeddings dataset/lite0.onnx

The pictures are 64 x 64 pixels of ten classes, a tenth of them for validation: soft colours with frames. PHOTOS is a
folder with the lists of tools/make_list.py, which is copied. Planted are 20 duplicates, 10 pictures of Train in the
validation, 10 with two labels, each half as equal files and half changed (quality, size, light, crop, mirrored); 10
damaged, 10 black, 10 blank and 10 blurred files, and with --embeddings 30 wrong labels in Train. "false" are findings
of these kinds that are not planted; in photos they may be true all the same. The time is that of the whole command,
its start and the report included; the memory is the most of its main process: those that read stay as they are.
"""

import collections
import csv
import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_light import cli
from ppcls_light.bench import harness

# isort: split
import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from ppcls_light.base.tables import markdown_table
from ppcls_light.data import read_image_list
from ppcls_light.errors import UserError

TOOL = Path(__file__).resolve().parents[1] / "check_data.py"
MEASURED = """
import runpy
runpy.run_path({tool!r}, run_name="__main__")
from ppcls_light.base.machine import peak_memory
open({told!r}, "w").write(str(peak_memory()))
"""
CLASSES = 10
# Kinds of findings that are right for a planted fault, and the number of them to plant.
FAULTS = {
    "duplicate": (20, {"duplicate", "near_duplicate"}),
    "leak": (10, {"leak", "near_leak"}),
    "conflict": (10, {"conflict", "near_conflict"}),
    "damaged": (10, {"damaged"}),
    "black": (10, {"dark"}),
    "blank": (10, {"blank"}),
    "blurred": (10, {"blurred"}),
    "wrong label": (30, {"suspect_label"}),
}


def parse_arguments():
    parser = harness.tool_parser(__doc__)
    parser.add_argument("--images", type=cli.positive, default=2000, help="to be made (2000)")
    parser.add_argument("--pixels", type=cli.positive, default=64, help="of both sides of them (64)")
    parser.add_argument("--photos", metavar="FOLDER", help="photos in the place of made ones")
    parser.add_argument("--embeddings", metavar="MODEL", help="as of tools/check_data.py")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", help="as of tools/check_data.py")
    parser.add_argument("--report", metavar="FOLDER", help="gets the report of the check")
    return parser.parse_args()


def make_picture(seed, side=64):
    """Return a Pillow image of soft colours with frames; another `seed` gives another picture."""
    rng = np.random.default_rng(seed)
    small = rng.integers(40, 216, (4, 4, 3), dtype=np.uint8)
    image = Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        box = np.sort(rng.integers(0, side, (2, 2)), axis=0)
        color = tuple(rng.integers(0, 256, 3).tolist())
        draw.rectangle([*box[0].tolist(), *box[1].tolist()], outline=color, width=2)
    return image


class Data:
    """Folder with lists, in which faults are planted.

    Attributes:
        lines: {split: [(path, label)]}, of "train" and "val".
        planted: {fault: set of paths, or of pairs of paths}.
    """

    def __init__(self, folder, lines, seed):
        self.folder, self.lines = Path(folder), lines
        self.planted = collections.defaultdict(set)
        self._rng = np.random.default_rng(seed)
        self._free = [int(index) for index in self._rng.permutation(len(lines["train"]))]
        self._labels = sorted({label for _, label in lines["train"]})

    def plant(self, with_labels):
        """Plant the FAULTS, each in other images, and write the lists."""
        wanted = sum(count for count, _ in FAULTS.values())
        if len(self._free) < 2 * wanted or len(self._labels) < 2:
            raise UserError(
                f"{self.folder}: {2 * wanted} training images of 2 classes are needed; give more --images or photos"
            )
        for fault, (count, _) in FAULTS.items():
            if fault != "wrong label" or with_labels:
                for number in range(count):
                    self._plant(fault, number)
        for split, lines in self.lines.items():
            text = "".join(f"{path} {label}\n" for path, label in lines)
            (self.folder / f"{split}_list.txt").write_text(text, encoding="utf-8")

    def _plant(self, fault, number):
        index = self._free.pop()
        path, label = self.lines["train"][index]
        other = int(self._rng.choice([each for each in self._labels if each != label]))
        if fault == "wrong label":
            self.lines["train"][index] = path, other
            self.planted[fault].add(path)
        elif fault in SPOILT:
            data = (self.folder / path).read_bytes()
            (self.folder / path).write_bytes(SPOILT[fault](data, self._rng))
            self.planted[fault].add(path)
        else:
            copy = f"{os.path.dirname(path)}/planted_{fault}_{number}.jpg"
            data = (self.folder / path).read_bytes()
            (self.folder / copy).write_bytes(data if number % 2 else changed(data, number // 2))
            split = "val" if fault == "leak" else "train"
            self.lines[split].append((copy, other if fault == "conflict" else label))
            self.planted[fault].add(frozenset((path, copy)))


def jpeg(image, quality=90):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def opened(data):
    return Image.open(io.BytesIO(data)).convert("RGB")


def changed(data, number):
    """Return a JPEG file of the same picture in one of five other forms."""
    image = opened(data)
    width, height = image.size
    return (
        lambda: jpeg(image, 50),
        lambda: jpeg(image.resize((width * 7 // 10, height * 7 // 10), Image.Resampling.LANCZOS)),
        lambda: jpeg(ImageEnhance.Brightness(image).enhance(1.2)),
        lambda: jpeg(ImageOps.crop(image, max(1, round(0.02 * min(width, height))))),
        lambda: jpeg(ImageOps.mirror(image)),
    )[number % 5]()


def black(data, rng):
    width, height = opened(data).size
    return jpeg(Image.fromarray(rng.integers(0, 25, (height, width, 3), dtype=np.uint8)))


def blank(data, rng):
    return jpeg(Image.new("RGB", opened(data).size, tuple(rng.integers(64, 256, 3).tolist())))


def blurred(data, rng):
    image = opened(data)
    return jpeg(image.filter(ImageFilter.GaussianBlur(max(image.size) / 40)))


def damaged(data, rng):
    return data[: len(data) * 2 // 3]


SPOILT = {"damaged": damaged, "black": black, "blank": blank, "blurred": blurred}


def made(folder, count, side, seed):
    """Write `count` pictures, and return `Data` of them."""
    lines = {"train": [], "val": []}
    for number in range(count):
        split, label = "val" if number % 10 == 9 else "train", number // 10 % CLASSES
        path = f"{split}/{label}/{number}.jpg"
        (folder / split / str(label)).mkdir(parents=True, exist_ok=True)
        make_picture([seed, number], side).save(folder / path, quality=85)
        lines[split].append((path, label))
    return Data(folder, lines, seed)


def copied(folder, photos, seed):
    """Copy the photos of the lists of `photos`, and return `Data` of them."""
    lines = {}
    for split in ("train", "val"):
        images = read_image_list(os.path.join(photos, f"{split}_list.txt"), photos)
        lines[split] = [(images.name(index), images.label(index)) for index in range(len(images))]
        for path, _ in lines[split]:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(os.path.join(photos, path), folder / path)
    return Data(folder, lines, seed)


def check(data, out, options):
    """Run tools/check_data.py; return its seconds, and the most MiB of its main process, NaN if unknown."""
    with tempfile.NamedTemporaryFile() as told:
        code = MEASURED.format(tool=str(TOOL), told=told.name)
        began = time.perf_counter()
        command = [sys.executable, "-c", code, str(data.folder), "--out", str(out), *options]
        done = subprocess.run(command, check=False, cwd=TOOL.parents[1])
        seconds = time.perf_counter() - began
        if done.returncode:
            raise UserError(f"{TOOL.name} ended with exit code {done.returncode}; its line is above")
        return seconds, float(Path(told.name).read_text())


def table(data, findings):
    """Return rows (fault, planted, found, false) for the rows of findings.csv."""
    rows = []
    for fault, planted in data.planted.items():
        kinds = FAULTS[fault][1]
        told = {
            frozenset((row["file"], row["other_file"])) if row["other_file"] else row["file"]
            for row in findings
            if row["kind"] in kinds
        }
        rows.append((fault, len(planted), len(planted & told), len(told - planted)))
    return rows


def main():
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "data")
        folder.mkdir()
        if arguments.photos:
            data = copied(folder, arguments.photos, arguments.seed)
        else:
            data = made(folder, arguments.images, arguments.pixels, arguments.seed)
        data.plant(with_labels=arguments.embeddings is not None)
        options = [] if arguments.embeddings is None else ["--embeddings", arguments.embeddings]
        options += [] if arguments.workers is None else ["--workers", arguments.workers]
        out = Path(arguments.report or Path(scratch, "report"))
        seconds, memory = check(data, out, options)
        with open(out / "findings.csv", encoding="utf-8", newline="") as file:
            rows = table(data, list(csv.DictReader(file)))
        images = sum(map(len, data.lines.values()))
        print(markdown_table(("fault", "planted", "found", "false"), rows))
        print(f"{images:,} images in {seconds:.1f} s, {images / seconds:,.0f} images/s, {memory:,.0f} MiB")
        print(harness.machine(), flush=True)


if __name__ == "__main__":
    cli.run(main)
