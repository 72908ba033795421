"""Folder of a training, and the file by which it is known."""

import os

RUN_CONFIG = "config.yaml"  # the training's config, with every value


def is_run(folder: str) -> bool:
    """Return whether `folder` is that of a training."""
    return os.path.isfile(os.path.join(folder, RUN_CONFIG))
