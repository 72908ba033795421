"""Short names of the settings of a training, and the keys of the config that they stand for."""

from __future__ import annotations

import json
import os
from typing import Any, Iterable, Mapping

from ..errors import ConfigError
from ..registry import nearest

KEYS = {
    "epochs": "Global.epochs",
    "minutes": "Global.minutes",
    "batch_size": "DataLoader.Train.sampler.batch_size",
    "learning_rate": "Optimizer.lr.learning_rate",
    "network": "Arch.name",
    "pretrained": "Arch.pretrained",
    "freeze": "Arch.freeze",
    "pretrained_model": "Global.pretrained_model",
    "output_dir": "Global.output_dir",
    "save_inference_dir": "Global.save_inference_dir",
    "checkpoints": "Global.checkpoints",
    "resume_schedule": "Global.resume_schedule",
    "overwrite": "Global.overwrite",
    "early_stop": "Global.early_stop",
    "device": "Global.device",
    "seed": "Global.seed",
}


def assignment(key: str, value: object) -> str:
    """Return the override `key=value` of a value that YAML has, or of a path."""
    plain = os.fspath(value) if isinstance(value, os.PathLike) else value
    try:
        return f"{key}={json.dumps(plain, ensure_ascii=False)}"
    except TypeError:
        kind = type(value).__name__
        raise ConfigError(f"{key}: a number, text, path, list or dict is expected, no {kind}") from None


def all_overrides(overrides: str | Iterable[str], settings: Mapping[str, Any]) -> list[str]:
    """Return `overrides`, one text or several, and behind them those of `settings` by their short names, `KEYS`.

    With `output_dir` the exported folder moves, too: to inference in it, unless `save_inference_dir` is given.

    Raises ConfigError: an unknown name; the message has the nearest.
    """
    require_known(settings, KEYS)
    settings = dict(settings)
    if "output_dir" in settings:
        settings.setdefault("save_inference_dir", os.path.join(settings["output_dir"], "inference"))
    texts = [overrides] if isinstance(overrides, str) else overrides
    return [*texts, *(assignment(KEYS[name], value) for name, value in settings.items())]


def require_known(settings: Iterable[str], names: Iterable[str]) -> None:
    """Raise ConfigError, with the nearest of `names`, for one of `settings` that is none of them."""
    names = list(names)
    for name in settings:
        if name not in names:
            hint = nearest(name, names) or f"; there are {', '.join(names)}"
            raise ConfigError(f"there is no setting '{name}'{hint}")
