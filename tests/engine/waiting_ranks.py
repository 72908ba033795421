"""Run by `paddle.distributed.launch` in test_two_ranks.py: two ranks that train as on accelerators, here on CPU.

waiting_ranks.py CONFIG OUTPUT: rank 1 gets SIGTERM in batch 1, or the loss of its batch 1 is NaN; the outcome of
each rank is written to OUTPUT/NAME_RANK.json.
"""

import json
import os
import signal
import sys

import numpy as np

from ppcls_light.config import load_config
from ppcls_light.engine import distributed
from ppcls_light.engine.trainer import Trainer
from ppcls_light.errors import UserError


def stop(batch):
    os.kill(os.getpid(), signal.SIGTERM)
    return batch


def poison(batch):
    return batch._replace(images=np.full_like(batch.images, np.nan))


def main(config_file, output):
    own = distributed.start("cpu")
    for name, change in (("stop", stop), ("poison", poison)):
        overrides = [f"Global.output_dir={output}/{name}", "Global.cpu_ops=false", "Global.update_freq=2"]
        config = load_config(config_file, [*overrides, "DataLoader.Train.sampler.batch_size=2"])
        run = Trainer(config, distributed.Runtime("gpu", own.rank, own.world_size))
        loader, train_step, seen = run.reader.loader, run.train_step, []

        def changed(batch, change=change, train_step=train_step, seen=seen):
            seen.append(batch.number)
            return train_step(change(batch) if own.rank == 1 and batch.number == 1 else batch)

        run.train_step = changed
        try:
            run.fit()
            error = None
        except (UserError, KeyboardInterrupt) as problem:
            error = str(problem)
        with open(os.path.join(output, f"{name}_{own.rank}.json"), "w") as file:
            json.dump({"error": error, "seen": seen, "batches": len(loader)}, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
