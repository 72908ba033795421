"""Configs of trainings on photos: what to start from, their length and batch, and their sections."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from ..base.resources import configs_folder
from ..config.tree import from_plain, merge, read_tree

BATCH_SIZE, STEPS = 32, 4  # at most, and at least so many steps per epoch, down to batches of 2
_WARM_UP_SHARE = 4  # the warm-up takes at most one in so many epochs
_SIZES = {"RandCropImage": "size", "ResizeImage": "resize_short", "CropImage": "size"}


class Recipe(NamedTuple):
    """Config to start from, and the length of its training: images that it sees in all, and bounds of its epochs.

    networks: (network, pixels), the best first; the first is that of the config.
    """

    base: str
    networks: tuple[tuple[str, int], ...]
    images_seen: int
    least: int
    most: int

    def epochs(self, images: int) -> int:
        """Return the epochs of a training on so many images."""
        return min(max(round(self.images_seen / images), self.least), self.most)


PRETRAINED = Recipe(
    "photos.yaml",
    (("PPLCNet_x1_0", 160), ("PPLCNet_x1_0", 128), ("PPLCNet_x1_0", 96), ("PPLCNet_x0_5", 96)),
    *(36_000, 5, 40),
)
SCRATCH = Recipe(
    "photos_scratch.yaml",
    (("FasterNet_T0", 96), ("FasterNet_T0", 64)),  # docs/fine-tuning.md has what short trainings reach
    *(74_000, 12, 100),
)


class Lists(NamedTuple):
    """List files of photos below the folder `root`, and the file that names their classes.

    scored: the list of DataLoader.Eval; chooses: its photos choose the best epoch.
    """

    root: str
    train: str
    scored: str
    chooses: bool
    labels: str
    classes: int
    images: int  # of the list `train`


class Choice(NamedTuple):
    """Training on photos, decided. weights: `Arch.pretrained`, None: random ones."""

    network: str
    size: int
    weights: str | None
    batch_size: int
    epochs: int
    seed: int = 0


def batch_size_for(images: int) -> int:
    """Return the batch of a training on so many images."""
    size = BATCH_SIZE
    while size > 2 and size * STEPS > images:
        size //= 2
    return min(size, images)


def sections_of(recipe: Recipe, lists: Lists, choice: Choice, output_dir: str) -> dict[str, Any]:
    """Return the sections of the training `choice` on `lists`, which need no other file; lists are absolute paths."""
    base = read_tree(configs_folder() / "quick_start" / recipe.base)
    topk = [1, 3] if lists.classes > 3 else [1]  # of 3 classes, the first 3 are always right
    root = os.path.abspath(lists.root)
    shape = base.value["Global"].value["image_shape"].plain()
    factor = choice.size / shape[-1]
    readers = {name: reader.plain()["dataset"] for name, reader in base.value["DataLoader"].value.items()}
    data = {
        name: {
            "dataset": {
                "image_root": root,
                "cls_label_path": os.path.abspath(path),
                "transform_ops": [_resized(op, factor) for op in readers[name]["transform_ops"]],
            }
        }
        for name, path in (("Train", lists.train), ("Eval", lists.scored))
    }
    warm_up = base.value["Optimizer"].plain()["lr"]["warmup_epoch"]
    own: dict[str, Any] = {
        "Global": {
            "output_dir": output_dir,
            "save_inference_dir": os.path.join(output_dir, "inference"),
            "epochs": choice.epochs,
            "save_interval": choice.epochs,
            "image_shape": [*shape[:-2], choice.size, choice.size],
            "seed": choice.seed,
        },
        "Arch": {"name": choice.network, "class_num": lists.classes, "pretrained": choice.weights},
        "Optimizer": {"lr": {"warmup_epoch": min(warm_up, choice.epochs // _WARM_UP_SHARE)}},
        "DataLoader": {**data, "Train": {**data["Train"], "sampler": {"batch_size": choice.batch_size}}},
        "Infer": {
            "PostProcess": {
                "topk": min(3, lists.classes),
                "class_id_map_file": os.path.abspath(lists.labels),
            }
        },
        "Metric": {split: [{"TopkAcc": {"topk": list(topk)}}] for split in ("Train", "Eval")},
    }
    if not lists.chooses:  # the images of Eval are then only what an export is compared on
        own["Global"]["eval_during_train"] = False
    sections: dict[str, Any] = merge(base, from_plain(own)).plain()
    sections["Arch"].pop("use_ssld", None)  # `pretrained` has the training's name
    return sections


def _resized(op: dict[str, Any], factor: float) -> dict[str, Any]:
    """Return the entry of a transform with its pixels multiplied by `factor`."""
    ((name, given),) = op.items()
    key = _SIZES.get(name)
    return {name: given if key is None else {**given, key: round(given[key] * factor)}}
