"""Run by `paddle.distributed.launch` in test_two_ranks.py: compares the ranks from inside.

two_ranks.py OUTPUT.json CONFIG ...
"""

import json
import os
import sys

import numpy as np

from ppcls_light.config import load_config
from ppcls_light.engine import distributed as runtimes
from ppcls_light.engine.distributed import broadcast_statistics, gather, mean_over_ranks
from ppcls_light.engine.evaluate import evaluate
from ppcls_light.engine.trainer import Trainer
from ppcls_light.errors import UserError


def largest_difference(by_rank):
    return max(float(np.abs(by_rank[0][key] - by_rank[1][key]).max()) for key in by_rank[0])


def note_gradients(trainer):
    """Return a dict that has, after each step, the gradients that the update was made from."""
    gradients, clear = {}, trainer.optimizer.clear_grad

    def note_and_clear(set_to_zero):
        for name, parameter in trainer.model.named_parameters():
            if parameter.grad is not None:
                gradients[name] = parameter.grad.numpy().copy()
        clear(set_to_zero)

    trainer.optimizer.clear_grad = note_and_clear
    return gradients


def message_of(action, *arguments):
    """Return the text of the UserError that `action` raises."""
    try:
        action(*arguments)
    except UserError as error:
        return str(error)
    return None


def compare(config_file, runtime):
    """Train one epoch and evaluate; return what the ranks agree on and how they shared the work."""
    config = load_config(config_file)
    trainer = Trainer(config, runtime)
    trainer.network.train()
    gradients = note_gradients(trainer)
    seen, losses, scored = [], [], []
    for batch in trainer.reader.loader.epoch(0):
        losses.append(
            mean_over_ranks({"loss": float(trainer.train_step(batch)[-1]["loss"])}, runtime)["loss"]
        )
        seen.append(batch.indices.tolist())

    def keep(indices, logits):
        scored.extend(indices.tolist())

    broadcast_statistics(trainer.model, runtime)
    result = evaluate(trainer.model, trainer.eval_reader, config, runtime, on_batch=keep)
    states = gather({key: value.numpy() for key, value in trainer.model.state_dict().items()}, runtime)
    every = gather(gradients, runtime)
    report = {
        "world_size": runtime.world_size,
        "gradients": largest_difference(every),
        "largest_gradient": max(float(np.abs(value).max()) for value in every[0].values()),
        "weights": largest_difference(states),
        "losses": gather(losses, runtime),
        "seen": gather(seen, runtime),
        "scored": gather(scored, runtime),
        "results": gather(result, runtime),
    }
    spoiled = batch._replace(images=batch.images * np.nan) if runtime.rank == 1 else batch
    report["not finite"] = gather(message_of(trainer.train_step, spoiled), runtime)
    path = trainer.eval_reader.images.path(1)  # of rank 1's share
    if runtime.rank == 1:
        os.rename(path, f"{path}.away")
    unreadable = message_of(evaluate, trainer.model, trainer.eval_reader, config, runtime)
    report["unreadable"] = gather(unreadable, runtime)
    if runtime.rank == 1:
        os.rename(f"{path}.away", path)
    gather(None, runtime)  # the next config's lists are checked only once the file is back
    return report


def main(output, *config_files):
    runtime = runtimes.start("cpu")
    reports = [compare(config_file, runtime) for config_file in config_files]
    device = {
        "device": runtime.device,
        "backend": os.environ["PADDLE_DISTRI_BACKEND"],
        "gpu": runtimes.own_device("gpu", os.environ),
    }
    devices = gather(device, runtime)
    if runtime.is_main:
        with open(output, "w") as file:
            json.dump([devices, *reports], file)


if __name__ == "__main__":
    main(*sys.argv[1:])
