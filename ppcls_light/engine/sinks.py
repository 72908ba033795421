"""Experiment loggers: VisualDL, TensorBoard, and Weights & Biases."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import io
import json
import math
import os
import time
import uuid
from typing import Any, Mapping, NamedTuple

import numpy as np
from paddle import nn

from ..base.files import write_text
from ..config import Config
from ..config.global_section import GlobalConfig
from ..errors import ConfigError
from .log import LOGGER
from .visualdl_files import describe_graph, drop_records_after

BUCKETS = 64


Values = Mapping[str, float]
Arrays = Mapping[str, np.ndarray]


class Sink:
    """Sink of values and pictures in `Global.output_dir`; `step` is always the number of batches done.

    A run that has done some continues the files that are there. ConfigError: the sink cannot be opened.
    """

    def __init__(self, config: Config, step: int) -> None: ...

    def scalars(self, group: str, values: Values, step: int) -> None:
        """Keep the `values` of `group` ("train", "train_avg", "eval")."""

    def images(self, tag: str, images: np.ndarray, step: int) -> None:
        """Keep uint8 `images` (N, H, W, 3)."""

    def histograms(self, arrays: Arrays, step: int) -> None:
        """Keep the distribution of each of `arrays`, of finite numbers."""

    def graph(self, model: nn.Layer, image_shape: tuple[int, int, int]) -> None:
        """Keep the graph of `model` on images (C, H, W), where the sink shows one."""

    def close(self) -> None:
        """Write the rest to disk."""


class _WriterSink(Sink):
    """Sink of a writer with the methods that VisualDL and TensorBoard have in common."""

    _writer: Any
    _buckets: str  # name of add_histogram's argument

    def scalars(self, group: str, values: Values, step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(f"{group}/{name}", value, step)

    def images(self, tag: str, images: np.ndarray, step: int) -> None:
        self._writer.add_image(tag, _sheet(images), step, dataformats="HWC")

    def histograms(self, arrays: Arrays, step: int) -> None:
        for name, array in arrays.items():
            self._writer.add_histogram(name, array, step, **{self._buckets: BUCKETS})

    def close(self) -> None:
        self._writer.close()


class VisualDLSink(_WriterSink):
    """Files for `visualdl --logdir OUTPUT_DIR/vdl`."""

    _buckets = "buckets"

    def __init__(self, config: Config, step: int) -> None:
        from visualdl import LogWriter

        self._folder = os.path.join(config.Global.output_dir, "vdl")
        # VisualDL shows one file per folder, so a resumed run has to go on in the one that is there.
        last = max(_names(self._folder, "vdlrecords."), default=None) if step else None
        if last is not None:
            drop_records_after(os.path.join(self._folder, last), step)
        with contextlib.redirect_stdout(io.StringIO()):  # it prints that the file exists
            self._writer = LogWriter(logdir=self._folder, file_name=last or "")

    def graph(self, model: nn.Layer, image_shape: tuple[int, int, int]) -> None:
        if _names(self._folder, "vdlgraph."):
            return
        try:
            text = json.dumps(describe_graph(model, image_shape))
        # Of Paddle's tracing or of VisualDL: a picture of the network is not worth the run.
        except Exception as problem:
            said = str(problem).strip().splitlines()
            LOGGER.warning("VisualDL gets no graph of this network: %s", said[-1] if said else repr(problem))
        else:
            write_text(os.path.join(self._folder, f"vdlgraph.{int(time.time()):010d}.log"), text)


class TensorBoardSink(_WriterSink):
    """Files for `tensorboard --logdir OUTPUT_DIR/tensorboard`."""

    _buckets = "bins"

    def __init__(self, config: Config, step: int) -> None:
        from tensorboardX import SummaryWriter

        folder = os.path.join(config.Global.output_dir, "tensorboard")
        # TensorBoard joins the files of a folder and forgets the values from `purge_step` on.
        purged = step + 1 if step else None
        self._writer = SummaryWriter(folder, purge_step=purged, filename_suffix=f".{step}")


class WandbSink(Sink):
    """Run of Weights & Biases; WANDB_MODE=offline keeps it in OUTPUT_DIR/wandb for a later `wandb sync`."""

    def __init__(self, config: Config, step: int) -> None:
        import wandb

        folder = config.Global.output_dir
        project = os.environ.get("WANDB_PROJECT", "ppcls_light")
        try:
            self._run = wandb.init(
                project=project,
                name=os.path.basename(os.path.abspath(folder)),
                id=_run_id(os.path.join(folder, "wandb_run.txt"), step),
                resume="allow",
                dir=folder,
                config=dataclasses.asdict(config),
                settings=wandb.Settings(console="off"),  # else it takes stdout, and the progress bar with it
            )
        except wandb.Error as problem:
            raise ConfigError(
                f"Global.loggers: wandb: {str(problem).splitlines()[0].rstrip('.')}; run `wandb login`, "
                "or set WANDB_MODE=offline in the environment"
            ) from None
        self._wandb = wandb
        # By default wandb counts calls; a resumed run goes back in steps.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def scalars(self, group: str, values: Values, step: int) -> None:
        self._run.log({**{f"{group}/{name}": value for name, value in values.items()}, "step": step})

    def images(self, tag: str, images: np.ndarray, step: int) -> None:
        self._run.log({tag: [self._wandb.Image(image) for image in images], "step": step})

    def histograms(self, arrays: Arrays, step: int) -> None:
        counted = {name: np.histogram(array, bins=BUCKETS) for name, array in arrays.items()}
        drawn = {name: self._wandb.Histogram(np_histogram=counts) for name, counts in counted.items()}
        self._run.log({**drawn, "step": step})

    def close(self) -> None:
        self._run.finish()


class _Kind(NamedTuple):
    sink: type[Sink]
    package: str
    extra: str  # of this project, which installs the package


KINDS = {
    "visualdl": _Kind(VisualDLSink, "visualdl", "visual"),
    "tensorboard": _Kind(TensorBoardSink, "tensorboardX", "tensorboard"),
    "wandb": _Kind(WandbSink, "wandb", "wandb"),
}


def check_loggers(settings: GlobalConfig) -> None:
    """Raise ConfigError when the package of one of the `Global.loggers` is missing."""
    for name in settings.all_loggers():
        kind = KINDS[name]
        try:
            importlib.import_module(kind.package)
        except ImportError:
            own = name == "visualdl" and settings.use_visualdl
            key = "Global.use_visualdl" if own else f"Global.loggers: {name}"
            without = "Global.use_visualdl=false" if own else "Global.loggers=[]"
            raise ConfigError(
                f"{key} needs the package {kind.package}: pip install 'ppcls_light[{kind.extra}]', "
                f"or use -o {without}"
            ) from None


def open_sinks(config: Config, step: int) -> list[Sink]:
    """Return the sinks that `Global.loggers` and `Global.use_visualdl` ask for, for a run of `step` batches."""
    return [KINDS[name].sink(config, step) for name in config.Global.all_loggers()]


def _sheet(images: np.ndarray) -> np.ndarray:
    """Return one picture (H, W, 3) with `images` (N, H, W, 3) in rows, as near to a square as they come."""
    count, height, width, _ = images.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    cells: np.ndarray = np.zeros((rows * columns, height, width, 3), np.uint8)
    cells[:count] = images
    return cells.reshape(rows, columns, height, width, 3).swapaxes(1, 2).reshape(rows * height, -1, 3)


def _names(folder: str, prefix: str) -> list[str]:
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return [name for name in names if name.startswith(prefix)]


def _run_id(path: str, step: int) -> str:
    """Return the id of the run at wandb: that in the file `path` when it goes on, else a new one there."""
    if step and os.path.isfile(path):
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    name = uuid.uuid4().hex[:8]
    write_text(path, f"{name}\n")
    return name
