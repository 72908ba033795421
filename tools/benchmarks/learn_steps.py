"""This project's side of learn.py --steps: the batches, and training beside PyTorch's weights.

    python tools/benchmarks/learn_steps.py batches TASK
    python tools/benchmarks/learn_steps.py train TASK

TASK is the JSON file of a `learn_recipe.Task`, in whose folder the files are. `batches` writes the training batches to
images_N.npy and labels_N.npy; learn_torch.py trains on them. `train` then reads its weights_N.npz and writes ours.json.
"""

from __future__ import annotations

import itertools
import json
import math
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Dict, List, Tuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_light import cli  # before other packages: it says in one line which of them is missing

# isort: split
import numpy as np
from paddle import nn

from ppcls_light.config import Config, load_config
from ppcls_light.data.loader import Batch
from ppcls_light.engine.distributed import Runtime, start
from ppcls_light.engine.readers import build_reader
from ppcls_light.engine.trainer import Trainer
from ppcls_light.weights import write_weights
from ppcls_light.weights.convert import convert_state_dict
from tools.benchmarks.learn_recipe import Task

State = Dict[str, np.ndarray]


def peer_weights(folder: Path, model: str, step: int) -> State:
    """Return PyTorch's weights of `model` before `step`, of the files weights_N.npz in `folder`, under our names."""
    with np.load(folder / f"weights_{step}.npz") as file:
        return convert_state_dict(file, model)


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


def train_guided(trainer: Trainer, folder: Path) -> Tuple[List[float], List[float], float]:
    """Train as `train` does, with PyTorch's parameters, see `peer_weights`, in the place of ours before each step.

    Running statistics and the optimizer's state stay ours. Returns the losses; the distance between both updates of
    each step, relative to PyTorch's, where it has one; and that between the running statistics at the end.
    """
    losses: List[float] = []
    distances: List[float] = []
    model, name = trainer.model, trainer.model.model_name
    # Paddle lists the statistics of a batch norm among the parameters; they get no gradient.
    parameters = {key: one for key, one in model.named_parameters() if not one.stop_gradient}
    before = peer_weights(folder, name, 0)
    for batch in batches_without_dropout(trainer):
        for key, parameter in parameters.items():
            parameter.set_value(before[key])
        losses.append(_loss(trainer, batch))
        after = peer_weights(folder, name, len(losses))
        update = _norm(after[key] - before[key] for key in parameters)
        if update:
            left = _norm(parameter.numpy() - after[key] for key, parameter in parameters.items())
            distances.append(left / update)
        before = after
    state = {key: value.numpy() for key, value in model.state_dict().items() if key not in parameters}
    whole = _norm(before[key] for key in state)
    statistics = _norm(value - before[key] for key, value in state.items()) / whole if state else 0.0
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


def main() -> None:
    command, path = sys.argv[1:]
    task, runtime = Task.read(path), start("cpu")
    folder = Path(task.out)
    config = load_config(task.config(eval_during_train=False))
    if command == "batches":
        write_batches(config, runtime, folder)
        return
    first = str(folder / "first.pdparams")
    write_weights(first, peer_weights(folder, task.model, 0))
    config = load_config(task.config(eval_during_train=False, pretrained_model=first))
    ours = train(Trainer(config, runtime))
    guided, updates, statistics = train_guided(Trainer(config, runtime), folder)
    result = {"ours": ours, "guided": guided, "update": max(updates), "statistics": statistics}
    (folder / "ours.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    cli.run(main)
