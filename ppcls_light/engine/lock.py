"""One training run at a time in an output folder: two would overwrite each other's checkpoints."""

import contextlib
import os

from ..errors import ConfigError
from ..files import hold

_NAME = ".lock"


@contextlib.contextmanager
def sole_run(folder):
    """Hold `folder/.lock` until the block ends, see `files.hold`.

    Raises:
        ConfigError: another process that still runs holds it, or the folder cannot be written.
    """
    with _lock_file(folder) as file:
        if not hold(file):
            raise ConfigError(
                f"Global.output_dir: another run is writing to {folder}; wait for it, stop it, "
                "or choose another folder: -o Global.output_dir=FOLDER"
            )
        yield


def was_used(folder):
    """Return whether a run has ever held `folder`."""
    return os.path.exists(os.path.join(folder, _NAME))


def _lock_file(folder):
    try:
        os.makedirs(folder, exist_ok=True)
        return open(os.path.join(folder, _NAME), "a")
    except OSError as problem:
        raise ConfigError(
            f"Global.output_dir: {folder}: cannot be written: {problem.strerror}; choose another folder"
        ) from None
