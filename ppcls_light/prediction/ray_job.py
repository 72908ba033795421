"""Classify images by the million with Ray Data, on one machine or on a cluster.

The same command again makes the parts that are missing. On a cluster the three paths are the same on every node.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import os
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple, Union

from ..errors import ConfigError, DataError, DeviceError
from . import Predictor
from .job import speed
from .results import Row
from .rows import Parts
from .sources import fetch, is_url, read_names

THREADS = 16  # an actor's, to fetch with: they wait more than they work
CHUNK = 64  # images that an actor holds at a time


class Classifier:
    """An actor: one `Predictor`, made with `settings`, which makes one part after the other.

    `root` is the folder of relative names, `limits` are (seconds, bytes) for one URL.
    """

    def __init__(self, settings: Dict[str, Any], parts: Parts, root: str, limits: Tuple[int, int]) -> None:
        self._predictor = Predictor(**settings)
        self._parts, self._root, self._limits = parts, root, limits
        self._threads = ThreadPoolExecutor(THREADS)

    def __call__(self, row: Dict[str, Any]) -> Dict[str, int]:
        """Classify and write the images of one part; return their number, and that of the failed ones."""
        names = [os.fsdecode(name) for name in row["names"]]
        chunks = (names[start : start + CHUNK] for start in range(0, len(names), CHUNK))
        rows = list(itertools.chain.from_iterable(map(self._classified, chunks)))
        self._parts.write(row["part"], rows)
        return {"images": len(rows), "failed": sum("error" in row for row in rows)}

    def _classified(self, names: List[str]) -> Iterator[Row]:
        images = list(self._threads.map(self._image, names))
        results = iter(self._predictor.predict([one for one in images if not isinstance(one, DataError)]))
        for name, image in zip(names, images):
            result = {"error": str(image)} if isinstance(image, DataError) else next(results)
            yield {**result, "file_name": name}

    def _image(self, name: str) -> Union[str, bytes, DataError]:
        if not is_url(name):
            return os.path.join(self._root, name)
        try:
            return fetch(name, *self._limits)
        except DataError as error:
            return error


def classify(args: argparse.Namespace) -> None:
    """Do the job of the command `batch`, with its arguments.

    The process ends with 0 if all images were classified, 1 if some failed, 2 if all did or a setting is wrong.
    """
    root, names = read_names(args.input, args.column)
    settings = {
        "folder": os.path.abspath(args.model),
        "engine": args.engine,
        "precision": args.precision,
        "batch_size": args.batch_size,
        "cpu_threads": 1,
    }
    # here, what is wrong with the folder or the engine shows in one line
    predictor = Predictor(**settings)
    bundle = predictor.bundle
    folder, unknown = os.path.abspath(args.output), bundle.unknown is not None
    parts = Parts(folder, args.format, args.part_size, len(names), unknown, predictor.rows.columns.keys)
    files = [bundle.graph_file, bundle.params_file, os.path.join(bundle.folder, "inference.yml")]
    parts.claim(names, [path for path in files if os.path.exists(path)], args.precision)
    missing = parts.missing()
    images = failed = 0
    if missing:
        tasks = [
            {"part": part, "names": [os.fsencode(names[index]) for index in parts.images(part)]}
            for part in missing
        ]
        images, failed = _run(tasks, args, (settings, parts, root, (args.timeout, args.max_bytes)))
    print(f"{images - failed} of {len(names)} images classified now, {failed} failed; rows in {args.output}")
    if failed:
        sys.exit(2 if failed == images else 1)


def _run(tasks: List[Dict[str, Any]], args: argparse.Namespace, settings: tuple) -> Tuple[int, int]:
    """Make all parts in actors; return the number of images, and of the failed ones."""
    # Ray Data's own actors make Ray's C++ side print an error that is none
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray
        import ray.data
    except ImportError:
        raise DeviceError('Ray Data is not installed; pip install "ppcls_light[batch]"') from None
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    _start(ray, args)
    workers = args.workers or int(ray.cluster_resources().get("CPU", 1))
    data = ray.data.from_items(tasks, override_num_blocks=len(tasks)).map(
        Classifier,
        fn_constructor_args=settings,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=min(workers, len(tasks))),
        num_cpus=1,
    )
    images = failed = 0
    start = shown = time.monotonic()
    try:
        for done, row in enumerate(data.iter_rows(), 1):
            images, failed = images + row["images"], failed + row["failed"]
            now = time.monotonic()
            if now - shown > 5 or done == len(tasks):
                shown, left = now, (now - start) / done * (len(tasks) - done)
                parts = f"part {done}/{len(tasks)}", speed(images - failed, now - start), f"{left:.0f} s left"
                print(", ".join(filter(None, parts)), file=sys.stderr)
    except ray.exceptions.RayError as error:
        raise DeviceError(
            f"a worker failed: {str(error).strip().splitlines()[-1].strip()}; run the command again for the rest"
        ) from None
    finally:
        ray.shutdown()
    return images, failed


def _start(ray: Any, args: argparse.Namespace) -> None:
    search_path = str(Path(__file__).resolve().parents[2])  # a checkout works without being installed
    local = {} if args.address else {"num_cpus": args.workers, "include_dashboard": False}
    try:
        if args.address and args.address != "auto":
            host, _, port = args.address.rpartition(":")
            socket.create_connection((host, int(port)), 10).close()  # Ray itself would try for minutes
        ray.init(
            args.address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": {"PYTHONPATH": search_path}},
            **local,
        )
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"--address {args.address}: no Ray cluster there ({str(error).splitlines()[0]}); "
            "start one with: ray start --head"
        ) from None
