"""Run by `paddle.distributed.launch` in test_distributed.py: compares the ranks from inside.

two_ranks.py CONFIG OUTPUT.json
"""

import json
import sys

import numpy as np
import paddle.distributed as dist

from ppcls_light.config import load_config
from ppcls_light.engine import runtime as runtimes
from ppcls_light.engine.train import Trainer


def gather(value):
    gathered = []
    dist.all_gather_object(gathered, value)
    return gathered


def main(config_file, output):
    config = load_config(config_file)
    runtime = runtimes.start("cpu")
    trainer = Trainer(config, runtime)
    trainer.network.train()
    gradients = {}
    clear = trainer.optimizer.clear_grad

    def note_and_clear():
        for name, parameter in trainer.model.named_parameters():
            if parameter.grad is not None:
                gradients[name] = parameter.grad.numpy().copy()
        clear()

    trainer.optimizer.clear_grad = note_and_clear
    seen = []
    for batch in trainer.reader.loader.epoch(0):
        trainer.train_step(batch)
        seen.append(batch.indices.tolist())
        trainer.step += 1
    scored = []
    on_batch = lambda indices, probs: scored.extend(indices.tolist())  # noqa: E731
    from ppcls_light.engine.evaluate import evaluate
    from ppcls_light.engine.runtime import broadcast_statistics

    broadcast_statistics(trainer.model, runtime)
    result = evaluate(trainer.model, trainer.eval_reader, config, runtime, on_batch=on_batch)
    states = gather({key: np.asarray(value.numpy()) for key, value in trainer.model.state_dict().items()})
    every = gather(gradients)
    report = {
        "world_size": runtime.world_size,
        "gradients": max(float(np.abs(every[0][key] - every[1][key]).max()) for key in every[0]),
        "largest_gradient": max(float(np.abs(value).max()) for value in every[0].values()),
        "weights": max(float(np.abs(states[0][key] - states[1][key]).max()) for key in states[0]),
        "seen": gather(seen),
        "scored": gather(scored),
        "results": gather(result),
    }
    if runtime.is_main:
        with open(output, "w") as file:
            json.dump(report, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
