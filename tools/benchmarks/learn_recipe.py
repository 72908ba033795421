"""Recipe of tools/benchmarks/learn.py as both sides get it: neither Paddle nor torch is needed here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

MOMENTUM = 0.9
SMOOTHING = 0.1  # of the labels
CROP_AREA = (0.5, 1.0)  # share of the image; square, the one random crop that both sides draw alike
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)
LOWEST_RATE = 1e-5  # at the end of the cosine


class Recipe(NamedTuple):
    """Training from scratch: warm-up, cosine, random square crop, horizontal flip, smoothed labels.

    Decay is for tensors of two or more dimensions.
    """

    optimizer: str  # AdamW or Momentum
    learning_rate: float
    weight_decay: float
    clip: float | None  # of the gradients' global norm
    epochs: int
    batch: int
    pixels: int  # height and width

    @property
    def warmup_epochs(self) -> int:
        return min(max(1, self.epochs // 6), self.epochs - 1)

    def __str__(self) -> str:
        clip = f", clip {self.clip:g}" if self.clip else ""
        return (
            f"{self.optimizer} {self.learning_rate:g}, decay {self.weight_decay:g}{clip}, {self.epochs} epochs with "
            f"{self.warmup_epochs} of warm-up, batch {self.batch}, {self.pixels} pixels"
        )


# As the authors train their networks, with rates for a batch of 64: FasterNet and EdgeNeXt by AdamW, PP-LCNet and
# MicroNet by Momentum.
OPTIMIZERS = {"AdamW": (0.001, 0.05, 5.0), "Momentum": (0.025, 3e-5, None)}


class Task(NamedTuple):
    """Training of `model` by one side. Files are lists of `path label`, paths relative to `root`."""

    model: str
    recipe: Recipe
    seed: int
    threads: int
    classes: int
    root: str
    train: str
    test: str
    out: str  # folder of the results
    repo: str | None = None  # checkout of the authors' PyTorch code, in place of timm

    def write(self) -> str:
        """Write `out`/task.json and return its path."""
        path = Path(self.out, "task.json")
        path.write_text(json.dumps({**self._asdict(), "recipe": self.recipe._asdict()}), encoding="utf-8")
        return str(path)

    @classmethod
    def read(cls, path: str) -> Task:
        fields = json.loads(Path(path).read_text(encoding="utf-8"))
        return cls(**{**fields, "recipe": Recipe(**fields["recipe"])})

    def config(self, **settings: Any) -> dict[str, Any]:
        """Return the sections of this project's config; `settings` are further ones of Global."""
        recipe, size = self.recipe, self.recipe.pixels
        decay = {"regularizer": {"name": "L2", "coeff": recipe.weight_decay}, "momentum": MOMENTUM}
        if recipe.optimizer == "AdamW":
            decay = {"weight_decay": recipe.weight_decay}
        normalise = {
            "NormalizeImage": {"scale": "1.0/255.0", "mean": list(MEAN), "std": list(STD), "order": ""}
        }
        crop = {"size": size, "scale": list(CROP_AREA), "ratio": [1.0, 1.0]}
        augment = [{"RandCropImage": crop}, {"RandFlipImage": {"flip_code": 1}}]

        def dataset(file: str, *ops: dict[str, Any]) -> dict[str, Any]:
            ops = ({"DecodeImage": None}, *ops, normalise)
            return {"image_root": self.root, "cls_label_path": file, "transform_ops": list(ops)}

        return {
            "Global": {
                "output_dir": self.out,
                "device": "cpu",
                "seed": self.seed,
                "epochs": recipe.epochs,
                "save_interval": recipe.epochs,
                "image_shape": [3, size, size],
                **settings,
            },
            "Arch": {"name": self.model, "class_num": self.classes},
            "Loss": {"Train": [{"CELoss": {"weight": 1.0, "epsilon": SMOOTHING}}]},
            "Metric": {"Eval": [{"TopkAcc": {"topk": [1]}}]},
            "Optimizer": {
                "name": recipe.optimizer,
                "one_dim_param_no_weight_decay": True,
                "clip_grad": recipe.clip,
                "lr": {
                    "name": "Cosine",
                    "learning_rate": recipe.learning_rate,
                    "warmup_epoch": recipe.warmup_epochs,
                    "eta_min": LOWEST_RATE,
                },
                **decay,
            },
            "DataLoader": {
                "Train": {
                    "dataset": dataset(self.train, *augment),
                    "sampler": {"batch_size": recipe.batch, "shuffle": True, "drop_last": True},
                },
                "Eval": {
                    "dataset": dataset(self.test, {"ResizeImage": {"size": [size, size]}}),
                    "sampler": {"batch_size": recipe.batch},
                },
            },
        }
