"""Summary of a training on photos: a few lines of what was made, and the commands that come next."""

from __future__ import annotations

import os
import shlex
from typing import NamedTuple

from ..base.hints import command
from ..base.probabilities import wilson_interval
from ..config import Config
from ..data.image_list import ImageList
from ..engine import checkpoint


class Made(NamedTuple):
    """Results in the folder `out`. lists: {split: photos}. top1: a share, of the photos of the list test.

    page: its file, or the reason for which there is none.
    """

    out: str
    config: Config
    lists: dict[str, ImageList]
    top1: float
    page: str


def summary(made: Made) -> list[str]:
    """Return the lines of a table of what was made."""
    config = made.config
    held = len(made.lists["test"])
    low, high = wilson_interval(round(made.top1 * held), held)
    states = checkpoint.load(os.path.join(made.out, "latest")).states
    used = {"train": "to learn", "val": "to choose the epoch", "test": "held out"}
    photos = ", ".join(f"{len(images):,} {used[name]}" for name, images in made.lists.items())
    rows = {
        "photos": f"{photos}; {config.Arch.class_num} classes",
        "network": f"{config.Arch.network.name} at {config.Global.image_shape[-1]} pixels, {_origin(config)}",
        "training": f"{states['epoch']} epochs in {states['seconds'] / 60:.1f} minutes",
        "top-1": f"{made.top1:.1%} of the {held:,} photos held out (95 % interval: {low:.0%} to {high:.0%})",
        "model": config.Global.save_inference_dir,
        "page": made.page,
        "config": os.path.join(made.out, "photos.yaml"),
    }
    width = max(map(len, rows))
    return ["", *(f"{name.ljust(width)}  {_shown(text)}" for name, text in rows.items())]


def _origin(config: Config) -> str:
    weights = config.Arch.weights
    if weights is None:
        return "from RANDOM weights: those of ImageNet (--weights FILE) would do with fewer photos"
    return f"from the weights {weights}"


def next_commands(made: Made, folder: str) -> list[str]:
    """Return lines with commands that work as pasted: predict a photo held out, serve, and train the same again."""
    model = shlex.quote(_shown(made.config.Global.save_inference_dir))
    photo = shlex.quote(os.path.join(folder, made.lists["test"].name(0)))
    config = shlex.quote(_shown(os.path.join(made.out, "photos.yaml")))
    return [
        "",
        "Next:",
        f"  {command('predict')} {model} {photo}",
        f"  {command('serve')} {model}",
        f"  {command('train')} -c {config} -o Global.overwrite=true    # the same training again, to the bit",
    ]


def _shown(path: str) -> str:
    """Return the shorter of a path and that from the working folder; any other text as it is."""
    return min(path, os.path.relpath(path), key=len) if os.path.isabs(path) else path
