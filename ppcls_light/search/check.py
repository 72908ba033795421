"""Check of a search before its first trial: every value is bound to the training config that gets it."""

from __future__ import annotations

import contextlib
from typing import Iterator, Sequence

from ..config import Config, load_config
from ..config.bind import located
from ..errors import ConfigError
from .settings import SearchConfig
from .stages import of_network, of_same_network, trial_of_distillation, trials_of_teacher


def checked_base(search: SearchConfig, base: Sequence[str]) -> Config:
    """Return the training config that the trials change, after a check of all that they change in it.

    Raises ConfigError: names the line of the search file; or no epoch of the config ends in an evaluation.
    """
    with _at(search, "base_config_file"):
        config = load_config(search.base_config_file, base)
    _require_evaluation(config)
    for place, searched in enumerate(search.search_dict):
        for key, value in searched.examples():
            with _at(search, f"search_dict.{place}.{key}"):
                load_config(search.base_config_file, [*base, *searched.overrides(value)])
    if search.teacher is not None:
        _check_teacher(search, base)
    return config


def _check_teacher(search: SearchConfig, base: Sequence[str]) -> None:
    with _at(search, "distill_config_file"):
        load_config(search.distill_config_file or "")
    firsts = [(searched, (searched.search_values or [None])[0]) for searched in search.search_dict]
    found = [*base, *(text for searched, value in firsts for text in searched.overrides(value))]
    own = of_same_network(search, found)
    for place, trial in enumerate(trials_of_teacher(search, found)):
        with _at(search, f"teacher.search_values.{place}"):
            load_config(trial.file, trial.overrides)
        own = of_network(trial.values["teacher"], search.output_dir)
        with _at(search, f"teacher.search_values.{place}"):
            _check_distillation(search, found, own)
    with _at(search, "distill_config_file"):
        _check_distillation(search, found, own)


def _check_distillation(search: SearchConfig, found: Sequence[str], teacher: Sequence[str]) -> None:
    trial = trial_of_distillation(search, found, teacher)
    _require_evaluation(load_config(trial.file, trial.overrides))


@contextlib.contextmanager
def _at(search: SearchConfig, path: str) -> Iterator[None]:
    with located(search.where(path), path):
        yield


def _require_evaluation(config: Config) -> None:
    settings = config.Global
    if not settings.eval_during_train:
        place = config.place("Global.eval_during_train")
        raise ConfigError(
            f"{place}: a trial is scored by its evaluations; use -o Global.eval_during_train=true"
        )
    config.reader("Eval")
    epochs = range(settings.start_eval_epoch + 1, settings.epochs + 1)
    if settings.minutes is None and not any(epoch % settings.eval_interval == 0 for epoch in epochs):
        raise ConfigError(
            f"{config.place('Global.start_eval_epoch')}: none of {settings.epochs} epochs ends in an evaluation; use "
            "-o Global.start_eval_epoch=0 Global.eval_interval=1"
        )
