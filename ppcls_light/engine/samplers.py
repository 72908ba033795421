"""The sampler of a split: which images make a batch, and at which size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..config import Config
from ..config.bind import located
from ..config.dataloader import MultiScaleSamplerConfig, SamplerConfig
from ..data.sampler import BatchSampler, MultiScaleSampler, SizeSchedule
from ..errors import ConfigError
from .distributed import Runtime
from .log import LOGGER

if TYPE_CHECKING:
    from ..data.image_list import ImageList
    from ..data.transforms.compose import Compose


def build_sampler(
    config: Config, split: str, images: ImageList, transforms: Compose, runtime: Runtime
) -> BatchSampler | MultiScaleSampler:
    """Build the sampler of `split` ("Train" or "Eval") of `images` for this process.

    `transforms` will be given the sizes of batches.

    Raises ConfigError: the settings contradict each other, the transforms or the number of images.
    """
    section, path = config.reader(split).sampler, f"DataLoader.{split}.sampler"
    with located(config.where(path), path):
        training = split == "Train"
        if not training:
            _check_scores_every_image_once(section)
        common: dict[str, Any] = {
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
            config.batch_size(split),
            shuffle=section.shuffle and getattr(section, "is_training", True),
            drop_last=getattr(section, "drop_last", False),
            pad=training,
            size_schedule=_size_schedule(config, section, transforms, split),
            **common,
        )


def _check_scores_every_image_once(section: SamplerConfig | MultiScaleSamplerConfig) -> None:
    for key in ("drop_last", "balanced"):
        if getattr(section, key, False):
            raise ConfigError(f"{key}: an evaluation scores every image; write {key}: false")
    if isinstance(section, MultiScaleSamplerConfig) and section.is_training:
        raise ConfigError("MultiScaleSampler is for training; write is_training: false")
    if getattr(section, "size_schedule", None):
        raise ConfigError("size_schedule is for training; leave it out")


def _check_takes_size(transforms: Compose, key: str, split: str) -> None:
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


def _size_schedule(
    config: Config, section: SamplerConfig | MultiScaleSamplerConfig, transforms: Compose, split: str
) -> SizeSchedule | None:
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
