"""One training run at a time in an output folder: two would overwrite each other's checkpoints."""

import contextlib
import os

from ..errors import ConfigError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


@contextlib.contextmanager
def sole_run(folder):
    """Hold `folder/.lock` until the block ends; the system lets go of it when the process dies, however it does.

    Where the system or the file system has no locks, nothing is checked.

    Raises:
        ConfigError: another process that still runs holds it.
    """
    if fcntl is None:
        yield
        return
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, ".lock"), "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"Global.output_dir: another run is writing to {folder}; wait for it, stop it, "
                "or choose another folder: -o Global.output_dir=FOLDER"
            ) from None
        except OSError:
            pass  # a file system without locks
        yield
