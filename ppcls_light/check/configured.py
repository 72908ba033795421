"""Splits of a config: the images that its training and its evaluation read."""

from __future__ import annotations

from ..config import Config
from ..config.dataloader import DatasetConfig
from ..engine.classes import class_names
from ..engine.readers import split_images
from ..errors import ConfigError
from .splits import Split, Splits


def splits_of_config(config: Config) -> Splits:
    """Return the images of DataLoader.Train and DataLoader.Eval, by the same readers; files may be missing.

    Raises ConfigError: there is neither section. ConfigError, DataError: see `split_images`.
    """
    sections = [name for name in ("Train", "Eval") if getattr(config.DataLoader, name) is not None]
    if not sections:
        raise ConfigError(
            "there is neither DataLoader.Train nor DataLoader.Eval, so there are no images to check"
        )
    parts, names = [], None if "Train" in sections else class_names(config)
    for name in sections:
        images, names = split_images(config, name, names, check_files=False)
        dataset = config.reader(name).dataset
        delimiter = dataset.delimiter if isinstance(dataset, DatasetConfig) else None
        parts.append(Split(name, images, f"DataLoader.{name}.dataset", delimiter))
    return Splits(parts, names)
