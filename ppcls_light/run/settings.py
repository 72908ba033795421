"""Short names of the settings of a training, and the keys of the config that they stand for."""

from __future__ import annotations

import json
import os
import re
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

_OPTION = re.compile(r"--([a-z]+(?:-[a-z]+)*)(?: ([A-Z]+\b|\d[\d./]*))?")
_FLAGS = ("resume", "overwrite", "scratch")


def of_python(message: str) -> str:
    """Return `message` about options of `ppcls-light train PHOTOS` with the settings of Python in their place.

    One with a whole command stays as it is.
    """

    def setting(option: re.Match[str]) -> str:
        name, value = option[1].replace("-", "_"), option[2]
        name = "output_dir" if name == "out" else name
        value = "True" if name in _FLAGS else f'"{value}"' if value and value.isalpha() else value
        return f"{name}={value}" if value else name

    return message if "ppcls-light" in message or "ppcls_light " in message else _OPTION.sub(setting, message)


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
