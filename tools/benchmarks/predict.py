"""Time of predict_cls.py from its start to its rows, beside PaddleClas' own or that of another checkout.

    python tools/benchmarks/predict.py inference/ photos/
    python tools/benchmarks/predict.py inference/ photos/ --beside ../ppcls_light-0.1
    python tools/benchmarks/predict.py inference/ photos/ --paddleclas ../PaddleClas --paddleclas-model peers/PPLCNet

Four figures: "first row" from the start of the process to its first printed row, on one photo, in seconds;
"images/s" between the first batch and the last row of the whole folder; "CPU", the processor's time for the whole
folder, starts of processes included, in milliseconds per image; "one image", from a file's name to its class in a
process that is warm, in milliseconds, of this checkout and PaddleClas. All cases take turns, and each figure is the
median of the rounds and the best of them. The photos are read once before, so that the disk is not measured.
`--long-side 500` takes copies of that size, about that of ImageNet's photos: decoding weighs more the larger a photo
is.

PaddleClas is a checkout of yours, or an unpacked wheel: the folder that has deploy/ and ppcls/. Its package must be
importable with what it needs. Paddle 3 refuses one call that its predictor makes; that line is left out, in a
temporary copy.
"""

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
from ppcls_light.bench import harness
from ppcls_light.data import find_images
from ppcls_light.data.decode import read_image
from ppcls_light.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
REFUSED = "config.enable_memory_optim()"
COLUMNS = ("case", "first row s", "best", "images/s", "best ", "CPU ms", "best  ", "one image ms", "best   ")


def parse_arguments():
    parser = harness.tool_parser(__doc__)
    harness.add_turns(parser, rounds=5)
    parser.add_argument("model", help="exported folder")
    parser.add_argument("photos", help="folder of images")
    parser.add_argument("--engines", nargs="+", default=["paddle"], help="default: paddle")
    parser.add_argument("--batch", type=cli.positive, default=8, help="default 8")
    parser.add_argument("--long-side", type=cli.positive, help="pixels; default: photos as they are")
    parser.add_argument(
        "--beside", metavar="DIR", help="another checkout of this project, which takes turns, too"
    )
    parser.add_argument("--paddleclas", metavar="DIR", help="checkout of PaddleClas")
    parser.add_argument("--paddleclas-model", metavar="DIR", help="the same network as PaddleClas exports it")
    arguments = parser.parse_args()
    if (arguments.paddleclas is None) != (arguments.paddleclas_model is None):
        parser.error("--paddleclas and --paddleclas-model go together")
    return arguments


class Ours:
    """predict_cls.py of the checkout `root` of this project, with `workers`; None: its default for many images."""

    def __init__(self, model, engine, workers, root=ROOT):
        self.model, self.engine, self.workers, self.root = model, engine, workers, root

    def command(self, images, batch, many):
        """Return the command, and a folder for Python's path or None."""
        keys = {
            "inference_model_dir": self.model,
            "infer_imgs": images,
            "batch_size": batch,
            "engine": self.engine,
            "workers": self.workers if many else 0,
        }
        script = str(Path(self.root, "deploy", "python", "predict_cls.py"))
        return [script, "-o", *(f"Global.{key}={value}" for key, value in keys.items())], None

    def single(self, image):
        """Return the call of a case: classify the file `image`."""
        from ppcls_light import Predictor

        predictor = Predictor(self.model, engine=self.engine)
        return lambda: predictor.predict([image])


class PaddleClas:
    """predict_cls.py of PaddleClas, whose default are 10 threads."""

    def __init__(self, checkout, model, threads):
        self.checkout, self.model, self.threads = checkout, model, threads
        package = Path(checkout) / "paddleclas"
        self._script = str(package / "deploy" / "python" / "predict_cls.py")
        self._config = str(package / "deploy" / "configs" / "inference_cls.yaml")
        self._names = package / "ppcls" / "utils" / "imagenet1k_label_list.txt"

    def _overrides(self, images, batch):
        return [
            f"Global.inference_model_dir={self.model}",
            f"Global.infer_imgs={images}",
            f"Global.batch_size={batch}",
            f"Global.cpu_num_threads={self.threads}",
            "Global.use_gpu=False",
            f"PostProcess.Topk.class_id_map_file={self._names}",
        ]

    def command(self, images, batch, many):
        """Return as that of `Ours`."""
        pairs = [text for override in self._overrides(images, batch) for text in ("-o", override)]
        return [self._script, "-c", self._config, *pairs], self.checkout

    def single(self, image):
        """Return the call of a case: classify the file `image` as its predict_cls.py does."""
        sys.path.insert(0, self.checkout)
        import cv2
        from paddleclas.deploy.python.predict_cls import ClsPredictor
        from paddleclas.deploy.utils import config

        settings = config.get_config(self._config, self._overrides(image, 1), show=False)
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
    predictor = Path("deploy", "utils", "predictor.py")
    if not (source / predictor).is_file() or not (source / "ppcls").is_dir():
        raise UserError(f"--paddleclas {checkout}: no deploy/utils/predictor.py and ppcls/ there")
    target.mkdir()
    for path in source.glob("*.py"):
        shutil.copy(path, target)
    for part in ("deploy", "ppcls"):
        shutil.copytree(source / part, target / part)
    lines = (target / predictor).read_text(encoding="utf-8").splitlines(keepends=True)
    kept = "".join(line for line in lines if line.strip() != REFUSED)
    (target / predictor).write_text(kept, encoding="utf-8")
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


def processor_seconds():
    """Return the time of the processor that the processes took which this one has waited for."""
    times = os.times()
    return times.children_user + times.children_system


def measure(cases, photos, arguments):
    """Return {case: values} three times, a value per round: seconds to the first row, images/s, CPU ms per image."""
    first, rate, used = ({name: [] for name in cases} for _ in range(3))
    image, images = find_images(photos)[0], len(find_images(photos))
    for _ in range(arguments.rounds):
        for name, case in cases.items():
            first[name].append(row_times(*case.command(image, 1, many=False))[0])
            before = processor_seconds()
            times = row_times(*case.command(photos, arguments.batch, many=True))
            used[name].append(1000 * (processor_seconds() - before) / images)
            if len(times) != images:
                raise UserError(
                    f"{name}: {len(times)} rows of {images} images; take those that fail out of {photos}"
                )
            rate[name].append(len(times[arguments.batch :]) / (times[-1] - times[0]))
    return first, rate, used


def all_cases(arguments, scratch):
    """Return {name: `Ours` or `PaddleClas`}."""
    checkouts = {
        "": ROOT,
        **({f", {Path(arguments.beside).name}": arguments.beside} if arguments.beside else {}),
    }
    cases = {
        f"{engine}, {workers} workers{of}": Ours(arguments.model, engine, workers, root)
        for engine in arguments.engines
        for workers in dict.fromkeys((0, physical_cores()))
        for of, root in checkouts.items()
    }
    if arguments.paddleclas:
        checkout = patched_copy(arguments.paddleclas, scratch)
        for threads in (10, physical_cores()):
            name = f"PaddleClas, {threads} threads"
            cases[name] = PaddleClas(checkout, arguments.paddleclas_model, threads)
    return cases


def main():
    arguments = parse_arguments()
    photos, images = arguments.photos, find_images(arguments.photos)
    if len(images) < 4 * arguments.batch:
        raise UserError(f"{photos}: {len(images)} images; give at least {4 * arguments.batch}")
    with tempfile.TemporaryDirectory() as scratch:
        if arguments.long_side:
            photos = resized(images, arguments.long_side, scratch)
            images = find_images(photos)
        for path in images:
            read_image(path)  # into the system's cache; a damaged one is named before anything is measured
        cases = all_cases(arguments, scratch)
        first, rate, used = measure(cases, photos, arguments)
        own = {name: case for name, case in cases.items() if getattr(case, "root", ROOT) == ROOT}
        singles = {name: (case.single, images[0]) for name, case in own.items()}
        single = harness.measure(singles, arguments.rounds, arguments.runs)
    rows = []
    for name in cases:
        figures = (
            *((first[name], min, 2), (rate[name], max, 1), (used[name], min, 2)),
            *([(single[name], min, 2)] if name in single else []),
        )
        shown = [
            f"{of(values):.{digits}f}" for values, best, digits in figures for of in (statistics.median, best)
        ]
        rows.append([name, *shown, *[""] * (len(COLUMNS) - 1 - len(shown))])
    settings = {"images": len(images), "batch": arguments.batch, "long side": arguments.long_side or ""}
    harness.report(arguments, COLUMNS, rows, {**settings, **harness.conditions(arguments)})


if __name__ == "__main__":
    from tools.benchmarks import predict

    cli.run(predict.main)  # the processes that are timed import its classes by this name
