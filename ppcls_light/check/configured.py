"""Splits of a config: the images that its training and its evaluation read; and its network as the one that embeds."""

from __future__ import annotations

from typing import Iterator, Sequence

import numpy as np

from ..config import Config
from ..config.dataloader import DatasetConfig
from ..engine import distributed
from ..engine.classes import class_names
from ..engine.embed_files import embed_files
from ..engine.network import build_model
from ..engine.readers import split_images
from ..errors import ConfigError
from .embeddings import Embed
from .facts import Source
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


def embedder_of_weights(config: Config, weights: str) -> Embed:
    """Return a function that embeds image files by the network of `config` with `weights`.

    Raises WeightsError: they are missing, damaged or of another network.
    """
    distributed.start(config.Global.device)
    model = build_model(config, weights)

    def embed(sources: Sequence[Source]) -> Iterator[np.ndarray | None]:
        paths = [source for source in sources if isinstance(source, str)]
        if len(paths) < len(sources):
            raise ConfigError("--embeddings: weights embed image files only; give an export with embeddings")
        waiting = iter(paths)  # `embed_files` leaves out those that it cannot read
        for batch in embed_files(model, config, paths):
            for path, row in zip(batch.paths, batch.embeddings):
                yield from (None for _ in iter(lambda: next(waiting), path))
                yield row
        yield from (None for _ in waiting)

    return embed
