"""Training of learn.py --steps here: on the batches, and from the weights, that PyTorch has."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Dict, List, Tuple

import numpy as np
from paddle import nn

from ppcls_light.config import Config
from ppcls_light.data.loader import Batch
from ppcls_light.engine.distributed import Runtime
from ppcls_light.engine.readers import build_reader
from ppcls_light.engine.trainer import Trainer
from ppcls_light.weights.convert import convert_state_dict

State = Dict[str, np.ndarray]


class PeerWeights:
    """PyTorch's weights before each step, under our names: `weights[step]` of the files weights_N.npz of `folder`."""

    def __init__(self, folder: Path, model: str) -> None:
        self._folder, self._model = folder, model

    @lru_cache(maxsize=2)  # noqa: B019 - before and after a step, for the life of the process
    def __getitem__(self, step: int) -> State:
        with np.load(self._folder / f"weights_{step}.npz") as file:
            return convert_state_dict(file, self._model)


def write_batches(config: Config, runtime: Runtime, folder: Path) -> None:
    """Write the training batches of `config` to `folder` as images_N.npy and labels_N.npy, N from 0."""
    with build_reader(config, "Train", runtime).loader as loader:
        epochs = (loader.epoch(epoch) for epoch in range(config.Global.epochs))
        for number, batch in enumerate(itertools.chain.from_iterable(epochs)):
            np.save(folder / f"images_{number}.npy", batch.images)
            np.save(folder / f"labels_{number}.npy", batch.labels)


def train(trainer: Trainer) -> List[float]:
    """Train without dropout from the weights that `trainer` has; return the loss of each step, before its update."""
    return [_loss(trainer, batch) for batch in batches_without_dropout(trainer)]


def train_guided(trainer: Trainer, peer: PeerWeights) -> Tuple[List[float], List[float], float]:
    """Train as `train` does, with PyTorch's parameters put in the place of ours before each step.

    Running statistics and the optimizer's state stay ours. Returns the losses; the distance between both updates of
    each step, relative to PyTorch's, where it has one; and that between the running statistics at the end.
    """
    losses: List[float] = []
    distances: List[float] = []
    # Paddle lists the statistics of a batch norm among the parameters; they get no gradient.
    parameters = {name: one for name, one in trainer.model.named_parameters() if not one.stop_gradient}
    for step, batch in enumerate(batches_without_dropout(trainer)):
        before, after = peer[step], peer[step + 1]
        for name, parameter in parameters.items():
            parameter.set_value(before[name])
        losses.append(_loss(trainer, batch))
        update = _norm(after[name] - before[name] for name in parameters)
        if update:
            left = _norm(parameter.numpy() - after[name] for name, parameter in parameters.items())
            distances.append(left / update)
    state = {key: value.numpy() for key, value in trainer.model.state_dict().items() if key not in parameters}
    whole = _norm(after[key] for key in state)
    statistics = _norm(value - after[key] for key, value in state.items()) / whole if state else 0.0
    return losses, distances, statistics


def batches_without_dropout(trainer: Trainer) -> Iterator[Batch]:
    """Yield the batches of all epochs of `trainer`, whose network trains but for its dropout."""
    trainer.model.train()
    for layer in trainer.model.sublayers():
        if isinstance(layer, nn.Dropout):
            layer.eval()
    for epoch in range(trainer.config.Global.epochs):
        yield from trainer.reader.loader.epoch(epoch)


def _loss(trainer: Trainer, batch: Batch) -> float:
    return float(trainer.train_step(batch)[-1]["loss"])


def _norm(arrays: Iterable[np.ndarray]) -> float:
    return math.sqrt(sum(float((array.astype("float64") ** 2).sum()) for array in arrays))
