"""The sampler of a split, and the training images' shares of the classes that a loss may weigh."""

import dataclasses

import numpy as np

from ..config.bind import located
from ..config.optim import CELoss
from ..config.reading import MultiScaleSamplerConfig
from ..data import BatchSampler, MultiScaleSampler, SizeSchedule
from ..errors import ConfigError
from .log import LOGGER


def build_sampler(config, split, images, transforms, runtime):
    """Build the sampler of `split` ("Train" or "Eval") of `images` for this process.

    Args:
        transforms: the `Compose` that will be given the sizes of batches.

    Raises:
        ConfigError: the settings contradict each other, the transforms or the number of images.
    """
    section, path = getattr(config.DataLoader, split).sampler, f"DataLoader.{split}.sampler"
    with located(config.where(path), path):
        training = split == "Train"
        if not training:
            _check_scores_every_image_once(section)
        common = {
            "seed": config.Global.seed,
            "rank": runtime.rank,
            "world_size": runtime.world_size,
            "balance": images.labels if section.balanced else None,
        }
        if isinstance(section, MultiScaleSamplerConfig) and section.is_training:
            _check_takes_size(transforms, "scales", split)
            if section.seed is not None:
                common["seed"] = section.seed
            return MultiScaleSampler(
                len(images),
                section.scales,
                section.first_bs,
                divided_factor=section.divided_factor,
                shuffle=section.shuffle,
                **common,
            )
        return BatchSampler(
            len(images),
            section.batch_size,
            shuffle=section.shuffle and getattr(section, "is_training", True),
            drop_last=getattr(section, "drop_last", False),
            pad=training,
            size_schedule=_size_schedule(config, section, transforms, split),
            **common,
        )


def _check_scores_every_image_once(section):
    for key in ("drop_last", "balanced"):
        if getattr(section, key, False):
            raise ConfigError(f"{key}: an evaluation scores every image; write {key}: false")
    if isinstance(section, MultiScaleSamplerConfig) and section.is_training:
        raise ConfigError("MultiScaleSampler is for training; write is_training: false")
    if getattr(section, "size_schedule", None):
        raise ConfigError("size_schedule is for training; leave it out")


def _check_takes_size(transforms, key, split):
    ops = f"DataLoader.{split}.dataset.transform_ops"
    if not transforms.takes_size:
        raise ConfigError(
            f"{key} sets the size of each batch, but none of {ops} can cut images to it; use RandCropImage"
        )
    for op in reversed(transforms.ops):
        if getattr(op, "takes_size", False):
            return
        if getattr(op, "size", None) is not None:
            raise ConfigError(
                f"{key} sets the size of each batch, but {type(op).__name__} in {ops} changes it again; leave it out"
            )


def _size_schedule(config, section, transforms, split):
    text = getattr(section, "size_schedule", None)
    if text is None:
        return None
    _check_takes_size(transforms, "size_schedule", split)
    schedule, epochs = SizeSchedule.parse(text), config.Global.epochs
    if epochs <= schedule.until:
        LOGGER.warning(
            "sampler.size_schedule %s: all %d epochs are at %d pixels; move its second number below Global.epochs",
            text,
            epochs,
            schedule.size,
        )
    return schedule


def weigh_classes(losses, labels, class_num):
    """Return `losses` with the numbers that their `class_weights: balanced` stand for.

    The weight of class c is n / (class_num * count(c)), n images in all (King and Zeng, "Logistic regression in
    rare events data", 2001; scikit-learn's "balanced"): the weights of the images average 1.

    Args:
        losses: of `Loss.Train`.
        labels: int (n,), of the training images.

    Raises:
        ConfigError: a class has no image.
    """
    if not any(getattr(loss, "class_weights", None) == "balanced" for loss in losses):
        return losses
    counts = np.bincount(labels, minlength=class_num)
    if not counts.all():
        raise ConfigError(
            f"Loss.Train: class_weights: balanced: class {int(counts.argmin())} has no training image; lower "
            f"Arch.class_num, or write {class_num} numbers"
        )
    weights = (len(labels) / (class_num * counts)).tolist()
    return [
        dataclasses.replace(loss, class_weights=weights)
        if isinstance(loss, CELoss) and loss.class_weights == "balanced"
        else loss
        for loss in losses
    ]
