"""Speed of the reader of training images, stage by stage, and the stage that holds the others up.

    python tools/benchmarks/data.py                            # photos made for the purpose
    python tools/benchmarks/data.py PHOTOS                     # a folder of images
    python tools/benchmarks/data.py -c configs/....yaml        # the reader of DataLoader.Train

Without -c the transforms are DecodeImage, RandCropImage 224, RandFlipImage and NormalizeImage. Without a folder
256 JPEG photos of 500x375 pixels and about 95 kB are made: noise of four widths and grain, 4:2:0, quality 94. Files
are read once before the measurement: what is measured is the processor, not the disk.

A stage is measured in one thread, on images that the stages before it made. "transport" is what the way from
W workers to this process takes when they have nothing else to do, with the normalisation at its end.
"all, 0 workers" and "all, W workers" are whole epochs. --baseline adds the same epochs without what makes the
reader fast: photos decoded whole, each image normalised by itself with numpy, one thread, and float32 batches
pickled through pipes. All cases take turns, round by round; a row is the median of the rounds, with the slowest
and the fastest.
"""

import contextlib
import os
import statistics
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_light import cli
from ppcls_light.bench import harness

# isort: split
import numpy as np
import PIL

from ppcls_light.base.pool import Pool
from ppcls_light.base.timing import Spread, time_calls
from ppcls_light.config import load_config
from ppcls_light.data import BatchLoader, BatchSampler, ImageDataset, ImageList, build_transforms, find_images
from ppcls_light.data.opencv import opencv
from ppcls_light.data.transforms.compose import DecodeAndCrop
from ppcls_light.errors import UserError

OPS = (
    ("DecodeImage", {}),
    ("RandCropImage", {"size": 224}),
    ("RandFlipImage", {}),
    ("NormalizeImage", {"order": ""}),
)
SIZE = 500, 375
QUALITY = 94
COLUMNS = ("stage", "samples/s", "slowest round", "fastest round", "us/sample")


def parse_arguments():
    parser = harness.tool_parser(__doc__)
    harness.add_turns(parser, runs=None)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("folder", nargs="?", help="images to read")
    source.add_argument("-c", "--config", metavar="YAML", help="measure the reader of its DataLoader.Train")
    cli.add_override(parser)
    parser.add_argument("--images", type=cli.positive, default=256, help="how many (default 256)")
    parser.add_argument("--workers", type=cli.positive, default=2, help="beside 0 (default 2)")
    parser.add_argument("--batch-size", type=cli.positive, default=64, help="default 64")
    parser.add_argument("--baseline", action="store_true", help="also without what makes the reader fast")
    return parser.parse_args()


def make_photo(seed):
    """Return the bytes of a JPEG photo of SIZE: coarse and fine noise, as much of each as in a photo."""
    cv2, rng, (width, height) = opencv(), np.random.default_rng(seed), SIZE
    image = np.full((height, width, 3), 120, np.float32)
    for columns, strength in ((4, 60), (16, 35), (64, 18), (250, 10)):
        noise = rng.standard_normal((height * columns // width, columns, 3)).astype(np.float32)
        image += strength * cv2.resize(noise, SIZE, interpolation=cv2.INTER_CUBIC)
    image += 6 * rng.standard_normal(image.shape).astype(np.float32)
    _, data = cv2.imencode(
        ".jpg", np.clip(image, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    )
    return data.tobytes()


def dataset_and_ops(arguments, scratch):
    """Return (dataset, its ops as (name, parameters))."""
    if arguments.config:
        from ppcls_light.engine.readers import build_reader

        config = load_config(arguments.config, cli.overrides(arguments))
        reader = build_reader(config, "Train", SimpleNamespace(rank=0, world_size=1))
        return reader.loader.dataset, config.DataLoader.Train.dataset.transform_ops
    if arguments.folder:
        paths = find_images(arguments.folder)
    else:
        paths = [str(Path(scratch) / f"{index}.jpg") for index in range(arguments.images)]
        for index, path in enumerate(paths):
            Path(path).write_bytes(make_photo(index))
    images = ImageList("", map(os.fsencode, paths), np.zeros(len(paths), np.int64))
    return ImageDataset(images, build_transforms(OPS)), OPS


def stages(dataset, count, batch_size):
    """Yield (name, call): each call does one stage for `count` images, on what the stages before it made."""

    def read():
        return [dataset.read(index) for index in range(count)]

    def each(function, values):
        seeds = [[dataset.seed, 0, index] for index in range(count)]
        return lambda: [function(*value, np.random.default_rng(seed)) for value, seed in zip(values, seeds)]

    yield "read", read
    values = [(data,) for data in read()]
    for step in dataset.transforms.steps:
        parts = [(type(step).__name__, step)]
        if isinstance(step, DecodeAndCrop):
            parts = [("DecodeImage", step.decode), (step.name, step.cut)]
        for name, part in parts:
            call = each(part, values)
            yield name, call
            values = [result if isinstance(result, tuple) else (result,) for result in call()]
    arrays = [np.asarray(value) for (value,) in values]
    parts = [arrays[start : start + batch_size] for start in range(0, count, batch_size)]
    yield "stack", lambda: drain(map(np.stack, parts))
    if dataset.transforms.closing is not None:
        batches = [np.stack(part) for part in parts]
        yield "NormalizeImage", lambda: drain(map(dataset.transforms.finish, batches))


class Ready:
    """A dataset whose images are there already: what is left of a reader is the transport."""

    def __init__(self, dataset):
        self._sample = dataset.prepare(0)
        self.transforms, self.image_list = dataset.transforms, dataset.image_list

    def __len__(self):
        return len(self.image_list)

    def prepare(self, index, epoch, size):
        return self._sample

    def changed(self, index):
        return False


class Baseline:
    """The plain way to such batches: every photo decoded whole, each image normalised by itself."""

    def __init__(self, dataset, ops):
        self._dataset = dataset
        self._transforms = build_transforms(
            (name, {**(params or {}), "reduced": False} if name == "DecodeImage" else params)
            for name, params in ops
        )

    def read(self, indices):
        """Return float32 (N, C, H, W)."""
        return np.stack([self._sample(index) for index in indices])

    def _sample(self, index):
        image, rng = self._dataset.read(index), np.random.default_rng(index)
        closing = self._transforms.closing
        if closing is None:
            return self._transforms(image, rng)
        for op in self._transforms.steps:
            image = op(image, rng)
        image = (np.asarray(image).astype(np.float32) * closing.scale - closing.mean) / closing.std
        return image.transpose(2, 0, 1)


_baseline = None  # of a worker


def start_baseline(baseline):
    global _baseline
    _baseline = baseline


def read_baseline(indices):
    return _baseline.read(indices)


def cases(dataset, ops, count, arguments, ends):
    """Return {name: call}; what the calls use until the end is entered in `ends`, a contextlib.ExitStack."""
    workers, size = arguments.workers, arguments.batch_size
    calls = dict(stages(dataset, count, size))

    def epoch(source, workers):
        loader = ends.enter_context(BatchLoader(source, BatchSampler(count, size), workers))
        return lambda: drain(loader.epoch(0))

    calls[f"transport, {workers} workers"] = epoch(Ready(dataset), workers)
    calls["all, 0 workers"] = epoch(dataset, 0)
    calls[f"all, {workers} workers"] = epoch(dataset, workers)
    if arguments.baseline:
        baseline = Baseline(dataset, ops)
        batches = [range(start, min(start + size, count)) for start in range(0, count, size)]
        pool = ends.enter_context(Pool(workers, start_baseline, baseline))
        calls["baseline, 0 workers"] = lambda: drain(map(baseline.read, batches))
        calls[f"baseline, {workers} workers"] = lambda: drain(pool.map(read_baseline, batches))
    return calls


def drain(batches):
    """Take all of `batches` and keep none."""
    for _ in batches:
        pass


def measure(calls, rounds, samples):
    """Return {name: [samples/s of each round]}; every case is called once before."""
    speeds = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            (milliseconds,) = time_calls(call, runs=1)
            if number:
                speeds[name].append(1000 * samples / milliseconds)
    return speeds


def bottleneck(speeds, workers):
    """Return a sentence about the slowest of the stages."""
    seconds = {name: 1 / statistics.median(rates) for name, rates in speeds.items() if ", " not in name}
    slowest = max(seconds, key=seconds.get)
    text = f"bottleneck: {slowest}, {seconds[slowest] / sum(seconds.values()):.0%} of a sample's time in one thread"
    transport = statistics.median(speeds[f"transport, {workers} workers"])
    if transport * seconds[slowest] < workers:
        text += f"; with {workers} workers the transport, which no further worker makes faster"
    return text


def ratios(speeds, workers):
    """Return for 0 and `workers` workers a line: how many times the baseline's speed, median and range."""
    lines = []
    for count in (0, workers):
        pairs = zip(speeds[f"all, {count} workers"], speeds[f"baseline, {count} workers"])
        median, least, most = Spread.of([own / other for own, other in pairs])
        rounds = f"{least:.2f} to {most:.2f} in {len(speeds['read'])} rounds"
        lines.append(f"{count} workers: {median:.2f} times the baseline ({rounds})")
    return lines


def row(name, rates):
    spread = Spread.of(rates)
    return [name, *(f"{rate:.0f}" for rate in spread), f"{1e6 / spread.median:.0f}"]


def versions():
    """Return the machine and the libraries as one line."""
    version = f", OpenCV {opencv().__version__}" if opencv() is not None else ""
    return f"{harness.machine()}, numpy {np.__version__}{version}, Pillow {PIL.__version__}"


def main():
    arguments = parse_arguments()
    if opencv() is None and not (arguments.folder or arguments.config):
        raise UserError(
            "making photos needs OpenCV: pip install opencv-python-headless, or name a folder of photos"
        )
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as ends:
        dataset, ops = dataset_and_ops(arguments, scratch)
        count = min(len(dataset), arguments.images)
        speeds = measure(cases(dataset, ops, count, arguments, ends), arguments.rounds, count)
    settings = {"images": count, "batch size": arguments.batch_size, "rounds": arguments.rounds}
    settings["environment"] = versions()
    harness.report(arguments, COLUMNS, [row(name, rates) for name, rates in speeds.items()], settings)
    print(f"\n{bottleneck(speeds, arguments.workers)}")
    if arguments.baseline:
        print(*ratios(speeds, arguments.workers), sep="\n")


if __name__ == "__main__":
    cli.run(main)
