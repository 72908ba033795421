"""One training run at a time in an output folder: two would overwrite each other's checkpoints."""

import contextlib
import os

from ..errors import ConfigError
from ..files import hold


@contextlib.contextmanager
def sole_run(folder):
    """Hold `folder/.lock` until the block ends, see `files.hold`.

    Raises:
        ConfigError: another process that still runs holds it.
    """
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, ".lock"), "a") as file:
        if not hold(file):
            raise ConfigError(
                f"Global.output_dir: another run is writing to {folder}; wait for it, stop it, "
                "or choose another folder: -o Global.output_dir=FOLDER"
            )
        yield
