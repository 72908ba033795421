"""Check of a search before its first trial: every value is bound to the training config that gets it."""

from __future__ import annotations

import contextlib
import os
from typing import Iterator, Sequence

from ..config import Config, load_config
from ..config.bind import located
from ..errors import ConfigError, DataError
from .settings import SearchConfig
from .stages import of_network, of_same_network, trial_of_distillation, trials_of_teacher

_PATHS = ("image_root", "cls_label_path", "data_file", "sample_list_path")  # of a dataset


def checked_base(search: SearchConfig, base: Sequence[str]) -> Config:
    """Return the training config that the trials change, after a check of all that they change in it.

    Raises ConfigError: names the line of the search file; or no epoch of the config ends in an evaluation. DataError: a
    list or folder of images is missing.
    """
    with _at(search, "base_config_file"):
        config = load_config(search.base_config_file, base)
    _require_parts(config)
    for place, searched in enumerate(search.search_dict):
        for key, value in searched.examples():
            with _at(search, f"search_dict.{place}.{key}"):
                load_config(search.base_config_file, [*base, *searched.overrides(value)])
    if search.teacher is not None:
        _check_teacher(search, base)
    return config


def _check_teacher(search: SearchConfig, base: Sequence[str]) -> None:
    found = list(base)
    for searched in search.search_dict:
        found += searched.overrides(next(value for _, value in searched.examples()))
    teachers = []
    for place, trial in enumerate(trials_of_teacher(search, found)):
        with _at(search, f"teacher.search_values.{place}"):
            load_config(trial.file, trial.overrides)
        teachers.append(of_network(trial.values["teacher"], search.output_dir))
    for teacher in teachers or [of_same_network(search, found)]:
        with _at(search, "distill_config_file"):
            trial = trial_of_distillation(search, found, teacher)
            _require_parts(load_config(trial.file, trial.overrides))


@contextlib.contextmanager
def _at(search: SearchConfig, path: str) -> Iterator[None]:
    with located(search.where(path), path):
        yield


def _require_parts(config: Config) -> None:
    """Raise ConfigError or DataError where a training would lack images or evaluations."""
    for split in ("Train", "Eval"):
        dataset = config.reader(split).dataset
        for key in _PATHS:
            path = getattr(dataset, key, None)
            if path is not None and not os.path.exists(path):
                place = config.place(f"DataLoader.{split}.dataset.{key}")
                raise DataError(
                    f"{place}: {path} is not there (working directory: {os.getcwd()}); give its path"
                )
    _require_evaluation(config)


def _require_evaluation(config: Config) -> None:
    settings = config.Global
    if not settings.eval_during_train:
        place = config.place("Global.eval_during_train")
        raise ConfigError(
            f"{place}: a trial is scored by its evaluations; use -o Global.eval_during_train=true"
        )
    if settings.minutes is None and not settings.evaluates():
        raise ConfigError(
            f"{config.place('Global.start_eval_epoch')}: none of {settings.epochs} epochs ends in an evaluation; use "
            "-o Global.start_eval_epoch=0 Global.eval_interval=1"
        )
