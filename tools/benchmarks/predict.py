"""How long predict_cls.py takes from its start to its rows, beside PaddleClas' own predict_cls.py if you have it.

    python tools/benchmarks/predict.py inference/ photos/
    python tools/benchmarks/predict.py inference/ photos/ --paddleclas ../PaddleClas --paddleclas-model peers/PPLCNet

Three times: "first row" from the start of the process to its first printed row, on one photo, in seconds;
"images/s" between the first batch and the last row of the whole folder; "one image", from a file's name to its
class in a process that is warm, in milliseconds. All cases take turns, and each figure is the median of the rounds
and the best of them. The photos are read once before, so that the disk is not measured. `--long-side 500` takes copies
of that size, about that of ImageNet's photos: decoding weighs more the larger a photo is.

PaddleClas is a checkout of yours, or an unpacked wheel: the folder that has deploy/ and ppcls/. Its package must be
importable with what it needs. Paddle 3 refuses one call that its predictor makes; that line is left out, in a
temporary copy.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_light import cli
from ppcls_light.base.machine import physical_cores
from ppcls_light.base.tables import markdown_table
from ppcls_light.data import find_images
from ppcls_light.data.decode import read_image
from ppcls_light.errors import UserError
from tools.benchmarks import harness

ROOT = Path(__file__).resolve().parents[2]
REFUSED = "config.enable_memory_optim()"
COLUMNS = ("case", "first row s", "best", "images/s", "best ", "one image ms", "best  ")


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="exported folder")
    parser.add_argument("photos", help="folder of images")
    parser.add_argument("--engines", nargs="+", default=["paddle"], help="default: paddle")
    parser.add_argument("--batch", type=harness.positive, default=8, help="default 8")
    parser.add_argument("--rounds", type=harness.positive, default=5, help="turns of each case (default 5)")
    parser.add_argument("--runs", type=harness.positive, default=30, help="single images a turn (default 30)")
    parser.add_argument("--long-side", type=harness.positive, help="pixels; default: photos as they are")
    parser.add_argument("--paddleclas", metavar="DIR", help="checkout of PaddleClas")
    parser.add_argument("--paddleclas-model", metavar="DIR", help="the same network as PaddleClas exports it")
    parser.add_argument("--csv", metavar="FILE", help="also write the rows there")
    arguments = parser.parse_args()
    if (arguments.paddleclas is None) != (arguments.paddleclas_model is None):
        parser.error("--paddleclas and --paddleclas-model go together")
    return arguments


class Ours:
    """predict_cls.py of this project, with `workers` processes."""

    def __init__(self, model, engine, workers):
        self.model, self.engine, self.workers = model, engine, workers

    def command(self, images, batch, many):
        keys = {
            "inference_model_dir": self.model,
            "infer_imgs": images,
            "batch_size": batch,
            "engine": self.engine,
        }
        keys["workers"] = self.workers if many else 0
        script = ROOT / "deploy" / "python" / "predict_cls.py"
        return [str(script), "-o", *(f"Global.{key}={value}" for key, value in keys.items())], None

    def single(self, image):
        """Return a function that classifies the file `image`."""
        from ppcls_light import Predictor

        predictor = Predictor(self.model, engine=self.engine)
        return lambda: predictor.predict([image])


class PaddleClas:
    """predict_cls.py of PaddleClas, whose default are 10 threads."""

    def __init__(self, checkout, model, threads):
        self.checkout, self.model, self.threads = checkout, model, threads

    def _overrides(self, images, batch):
        names = Path(self.checkout) / "paddleclas" / "ppcls" / "utils" / "imagenet1k_label_list.txt"
        return [
            f"Global.inference_model_dir={self.model}",
            f"Global.infer_imgs={images}",
            f"Global.batch_size={batch}",
            f"Global.cpu_num_threads={self.threads}",
            "Global.use_gpu=False",
            f"PostProcess.Topk.class_id_map_file={names}",
        ]

    @property
    def _deploy(self):
        return Path(self.checkout) / "paddleclas" / "deploy"

    def command(self, images, batch, many):
        command = [str(self._deploy / "python" / "predict_cls.py"), "-c", str(self._config)]
        for override in self._overrides(images, batch):
            command += ["-o", override]
        return command, self.checkout

    @property
    def _config(self):
        return self._deploy / "configs" / "inference_cls.yaml"

    def single(self, image):
        """Return a function that classifies the file `image`, as its predict_cls.py does."""
        sys.path.insert(0, self.checkout)
        import cv2
        from paddleclas.deploy.python.predict_cls import ClsPredictor
        from paddleclas.deploy.utils import config

        settings = config.get_config(str(self._config), self._overrides(image, 1), show=False)
        predictor = ClsPredictor(settings)
        return lambda: predictor.predict([cv2.imread(image)[:, :, ::-1]])


def resized(images, long_side, scratch):
    """Write copies of `images` as JPEG with a longer side of `long_side` pixels; return their folder."""
    import cv2

    folder = Path(scratch) / "photos"
    folder.mkdir()
    for number, path in enumerate(images):
        image = read_image(path, to_rgb=False)
        scale = long_side / max(image.shape[:2])
        size = [max(1, round(side * scale)) for side in image.shape[1::-1]]
        cv2.imwrite(str(folder / f"{number:07d}.jpg"), cv2.resize(image, size, interpolation=cv2.INTER_CUBIC))
    return str(folder)


def patched_copy(checkout, scratch):
    """Copy of PaddleClas what predict_cls.py imports to `scratch`/paddleclas, without the call Paddle 3 refuses."""
    source, target = Path(checkout), Path(scratch) / "paddleclas"
    predictor = source / "deploy" / "utils" / "predictor.py"
    if not predictor.is_file() or not (source / "ppcls").is_dir():
        raise UserError(f"--paddleclas {checkout}: no deploy/utils/predictor.py and ppcls/ there")
    target.mkdir()
    for path in source.glob("*.py"):
        shutil.copy(path, target)
    for part in ("deploy", "ppcls"):
        shutil.copytree(source / part, target / part)
    copy = target / "deploy" / "utils" / "predictor.py"
    copy.write_text("".join(line for line in copy.open(encoding="utf-8") if line.strip() != REFUSED))
    return str(scratch)


def row_times(command, path):
    """Run a predict_cls.py; return the seconds from its start to each of the rows that it prints."""
    environment = dict(os.environ)
    if path is not None:
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (path, os.environ.get("PYTHONPATH"))))
    began, times = time.perf_counter(), []
    # -u: what Python holds back for a pipe would come all at once.
    with tempfile.TemporaryFile("w+") as errors:
        settings = {"env": environment, "stdout": subprocess.PIPE, "stderr": errors, "text": True}
        with subprocess.Popen([sys.executable, "-u", *command], **settings) as process:
            for line in process.stdout:
                if ":\tclass id(s): " in line:
                    times.append(time.perf_counter() - began)
        errors.seek(0)
        said = errors.read()
    if not times:
        raise UserError(f"{command[0]} printed no row; it said: {said.strip().splitlines()[-1:]}")
    return times


def measure(cases, photos, arguments):
    """Return {case: (seconds to the first row, images a second)}, lists with a value a round."""
    first, rate = ({name: [] for name in cases} for _ in range(2))
    image, images = find_images(photos)[0], len(find_images(photos))
    for _ in range(arguments.rounds):
        for name, case in cases.items():
            first[name].append(row_times(*case.command(image, 1, many=False))[0])
            times = row_times(*case.command(photos, arguments.batch, many=True))
            if len(times) != images:
                raise UserError(
                    f"{name}: {len(times)} rows of {images} images; take those that fail out of {photos}"
                )
            rows = times[arguments.batch :]
            rate[name].append(len(rows) / (rows[-1] - times[0]))
    return first, rate


def main():
    arguments = parse_arguments()
    images = find_images(arguments.photos)
    if len(images) < 4 * arguments.batch:
        raise UserError(f"{arguments.photos}: {len(images)} images; give at least {4 * arguments.batch}")
    with tempfile.TemporaryDirectory() as scratch:
        photos = arguments.photos
        if arguments.long_side:
            photos = resized(images, arguments.long_side, scratch)
            images = find_images(photos)
        for path in images:
            read_image(
                path
            )  # into the system's cache, and a damaged one is named before anything is measured
        cases = {}
        for engine in arguments.engines:
            for workers in dict.fromkeys((0, physical_cores())):
                cases[f"{engine}, {f'{workers} processes' if workers else 'one process'}"] = Ours(
                    arguments.model, engine, workers
                )
        if arguments.paddleclas:
            checkout = patched_copy(arguments.paddleclas, scratch)
            for threads in (10, physical_cores()):
                cases[f"PaddleClas, {threads} threads"] = PaddleClas(
                    checkout, arguments.paddleclas_model, threads
                )
        first, rate = measure(cases, photos, arguments)
        single = harness.measure(
            {name: harness.Case(case.single, (images[0],)) for name, case in cases.items()},
            arguments.rounds,
            arguments.runs,
        )
    rows = []
    for name in cases:
        figures = [(first[name], min, 2), (rate[name], max, 1), (single[name], min, 2)]
        cells = (f"{value:.{digits}f}" for values, best, digits in figures for value in summary(values, best))
        rows.append((name, *cells))
    size = f" of {arguments.long_side} pixels" if arguments.long_side else ""
    print(f"\n{harness.environment()}; {len(images)} images{size}, batch {arguments.batch}\n")
    print(markdown_table(COLUMNS, rows), end="")
    if arguments.csv:
        settings = {"images": len(images), "batch": arguments.batch, "long side": arguments.long_side or ""}
        harness.write_rows(arguments, COLUMNS, rows, **settings)


def summary(values, best):
    return statistics.median(values), best(values)


if __name__ == "__main__":
    from tools.benchmarks import predict

    cli.run(predict.main)  # the processes that are timed import its classes by this name
