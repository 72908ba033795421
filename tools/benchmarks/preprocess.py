"""Difference between the preprocessing in a graph and that of the transforms, by interpolation and engine.

    python tools/benchmarks/preprocess.py
    python tools/benchmarks/preprocess.py photos/ --engines onnxruntime

A graph is exported that prepares a photo and returns the pixels. A row has the largest difference in grey levels, the
share of the values that differ, and of those that differ by more than one level, over all photos; and the median
milliseconds of a photo. Without a folder the photos are generated, smooth ones with noise, of SIZES.
"""

import itertools
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_light import cli  # noqa: F401 - says what is missing
from ppcls_light.bench import harness
from ppcls_light.data import find_images

# isort: split
import cv2
import numpy as np
from paddle import nn

from ppcls_light.bundle.folder import read_bundle, write_inference_yml
from ppcls_light.config.postprocess import Topk
from ppcls_light.data.decode import read_image
from ppcls_light.data.transforms.compose import build_transforms
from ppcls_light.export.preprocess import Preprocessing
from ppcls_light.export.resample import FILTERS
from ppcls_light.export.static import save_static
from ppcls_light.runtime.engines import create_engine
from ppcls_light.runtime.options import EngineOptions

SHAPE = (3, 224, 224)
SIZES = [
    *((1, 1), (1, 40), (40, 1), (2, 2000), (7, 5), (100, 130), (112, 119), (224, 224), (256, 256)),
    *((256, 300), (375, 500), (448, 623), (480, 640), (500, 375), (512, 683), (513, 1027), (719, 1281)),
    (1200, 1600),
]
RESIZES = ({"resize_short": 256}, {"resize_short": 232}, {"size": [240, 231]})
VALUES = ("NormalizeImage", {"scale": 1, "mean": [0, 0, 0], "std": [1, 1, 1], "order": ""})
COLUMNS = ("resize", "engine", "largest", "differ", "differ by more than 1", "ms")


def parse_arguments():
    parser = harness.tool_parser(__doc__)
    parser.add_argument("photos", nargs="?", help="folder of images; default: generated ones")
    parser.add_argument("--engines", nargs="+", default=["paddle", "onnxruntime", "openvino"])
    return parser.parse_args()


def generated():
    """Return RGB photos uint8 (H, W, 3) of SIZES: few cells enlarged, and noise."""
    rng, photos = np.random.default_rng(0), []
    for height, width in SIZES:
        cells = rng.integers(0, 256, (height // 17 + 2, width // 13 + 2, 3)).astype("uint8")
        smooth = cv2.resize(cells, (width, height), interpolation=cv2.INTER_CUBIC).astype(int)
        photos.append((smooth + rng.integers(-40, 41, smooth.shape)).clip(0, 255).astype("uint8"))
    return photos


def pixels_bundle(ops, folder):
    """Export a graph that returns the pixels that `ops` make of a photo; return its Bundle."""
    preprocessing = Preprocessing(ops, SHAPE)
    as_it_is = nn.Conv2D(3, 3, 1, bias_attr=False)
    as_it_is.weight.set_value(np.eye(3, dtype="float32").reshape(3, 3, 1, 1))
    save_static(as_it_is, folder, SHAPE, softmax=False, preprocessing=preprocessing)
    own = {"arch": "pixels", "output": "logits", "photos": {"channels": preprocessing.channels}}
    write_inference_yml(folder, ops, Topk(), None, own)
    return read_bundle(folder)


def measure(bundle, engine, photos, expected):
    """Return the cells of a row behind the engine's name."""
    run, differences, times = create_engine(bundle, EngineOptions(engine=engine, batch_size=1)).run, [], []
    for photo, right in zip(photos, expected):
        found = run(photo[None])[0]
        begin = time.perf_counter()
        run(photo[None])
        times.append((time.perf_counter() - begin) * 1000)
        differences.append(np.abs(found - right).ravel())
    all_of_them = np.concatenate(differences)
    return (
        f"{all_of_them.max():g}",
        f"{100 * np.mean(all_of_them > 0.5):.4f} %",
        f"{100 * np.mean(all_of_them > 1.5):.4f} %",
        f"{statistics.median(times):.2f}",
    )


def main():
    arguments = parse_arguments()
    photos = [read_image(path) for path in find_images(arguments.photos)] if arguments.photos else generated()
    print(" | ".join(COLUMNS))
    filters = [(backend, name) for backend, names in FILTERS.items() for name in names]
    for resize, (backend, name) in itertools.product(RESIZES, filters):
        own = {**resize, "interpolation": name, "backend": backend}
        ops = [("ResizeImage", own), ("CropImage", {"size": SHAPE[1]}), VALUES]
        transforms = build_transforms(ops)
        expected = [transforms(photo) for photo in photos]
        with tempfile.TemporaryDirectory() as folder:
            bundle = pixels_bundle(ops, folder)
            for engine in arguments.engines:
                cells = measure(bundle, engine, photos, expected)
                print(" | ".join((f"{backend} {name} {resize}", engine, *cells)), flush=True)


if __name__ == "__main__":
    main()
