"""`search`: from a search file to the table of its trials, their picture and the config of the best."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
from typing import Iterator, Sequence

import paddle

from ..base.files import hold, require_writable, set_aside
from ..base.hints import command
from ..base.machine import physical_cores
from ..base.threads import OMP_NUM_THREADS, openmp_threads
from ..config import Config, dump_config, load_config
from ..config.types import plain
from ..engine.log import LOGGER, setup_logging
from ..errors import ConfigError
from .check import checked_base
from .free import check_optuna, trials_of
from .results import write_config, write_picture, write_table
from .runner import Environment, Runner
from .settings import SearchConfig, read_search
from .stages import best_of, run_stages
from .trials import DEFAULT, RECORD, Record, Row, Trial

_MAY_CHANGE = ("trials", "gpus")  # keys of a search file that no trial depends on


def search(
    path: str,
    overrides: Sequence[str] = (),
    jobs: int | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
) -> Row | None:
    """Run the search of the YAML file `path`, or go on with it; return the row of the best trial.

    `overrides` are `key=value` texts, those of Global, Arch, Optimizer, ... for all trainings. `jobs` is the number of
    trials at a time, by default that of `gpus`, and 1 on CPU. With `overwrite` another search in its folder is moved to
    previous_N there. With `dry_run` all values are checked, and None is returned.

    Raises:
        ConfigError: the search file, or a value in it, is wrong; the folder is of another search.
        UserError: all trials failed; Optuna is wanted and missing.
        KeyboardInterrupt: by Ctrl-C; the same call goes on.
    """
    setup_logging()
    if int(os.environ.get("PADDLE_TRAINERS_NUM", "1")) > 1:
        raise ConfigError(
            f"a search starts its own processes; without a launcher: {command('search')} -c {path}"
        )
    settings, base = read_search(path, overrides)
    if settings.method == "tpe":
        check_optuna()
    config = checked_base(settings, base)
    slots = slots_of(settings, config, jobs)
    if dry_run:
        LOGGER.info("dry run: every value of %s fits its config; nothing was trained", path)
        return None
    require_writable(os.path.join(settings.output_dir, RECORD))
    with _claimed(settings.output_dir):
        if overwrite:
            _set_aside(settings.output_dir)
        record = Record(settings.output_dir, _described(settings, base, config))
        setup_logging(os.path.join(settings.output_dir, "search.log"))
        metric = config.Metric.best
        runner = Runner(
            settings.output_dir,
            record,
            slots,
            settings.search_times,
            metric,
            lambda: write_table(settings.output_dir, list(record.rows.values()), metric),
        )
        try:
            best, final = _run(settings, base, runner)
        except KeyboardInterrupt:
            again = ["-c", path, *(part for text in overrides for part in ("-o", text))]
            again += [] if jobs is None else ["--jobs", str(jobs)]
            LOGGER.info("stopped; this goes on: %s %s", command("search"), shlex.join(again))
            raise
        finally:
            _show(settings.output_dir, list(record.rows.values()), metric)
        _conclude(settings.output_dir, record, metric, best, final)
    return best


def _run(settings: SearchConfig, base: Sequence[str], runner: Runner) -> tuple[Row, Row | None]:
    """Run all trials; return the row of the best, and that of the distillation."""
    rows = runner.record.rows

    def run_all(trials: Sequence[Trial]) -> list[Row]:
        runner.record.forget_failures(trials)
        left = iter(trials)
        runner.run(lambda: next(left, None))
        return [rows[trial.name] for trial in trials]

    if settings.method == "stages":
        return run_stages(settings, base, settings.output_dir, run_all)
    runner.record.forget_failures([row.trial for row in rows.values()])
    following = trials_of(settings, base, rows)
    runner.run(lambda: next(following, None), settings.prune)
    return best_of(list(rows.values())), None


def slots_of(settings: SearchConfig, config: Config, jobs: int | None = None) -> list[Environment]:
    """Return the environment of each of the trials that run at a time: its GPU, or its share of the cores.

    Raises ConfigError: there is no such GPU.
    """
    found = paddle.device.cuda.device_count() if config.Global.device in ("gpu", "auto") else 0
    gpus = settings.gpu_numbers() if found else []
    if settings.gpus is not None and not found:
        LOGGER.info("gpus: %s: without effect, the trials run on CPU", settings.gpus)
    missing = next((number for number in gpus if int(number) >= found), None)
    if missing is not None:
        raise ConfigError(
            f"{settings.place('gpus')}: there is no GPU {missing}, but {found} of them; -o gpus=0"
        )
    count = jobs or len(gpus) or 1
    if gpus:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        names = visible if visible != [""] else [str(number) for number in range(found)]
        return [{"CUDA_VISIBLE_DEVICES": names[int(gpus[place % len(gpus)])]} for place in range(count)]
    # Also for one at a time: it would inherit the 1 that Paddle's import has put here.
    threads = openmp_threads() or max(1, physical_cores() // count)
    return [{OMP_NUM_THREADS: str(threads)}] * count


def _described(settings: SearchConfig, base: Sequence[str], config: Config) -> dict[str, object]:
    """Return what the trials depend on, by names for messages."""
    keys = {key: value for key, value in plain(settings).items() if key not in _MAY_CHANGE}
    configs = {settings.base_config_file: dump_config(config)}
    if settings.teacher is not None and settings.distill_config_file is not None:
        configs[settings.distill_config_file] = dump_config(load_config(settings.distill_config_file))
    return {**keys, "-o for the trainings": list(base), **configs}


@contextlib.contextmanager
def _claimed(folder: str) -> Iterator[None]:
    """Hold the folder of a search until the block ends. Raises ConfigError: another process does."""
    with open(os.path.join(folder, ".search.lock"), "a") as file:
        if hold(file) is False:
            raise ConfigError(
                f"output_dir: another search is at work in {folder}; wait for it, or -o output_dir=FOLDER"
            )
        yield


def _set_aside(folder: str) -> None:
    names = [
        name for name in sorted(os.listdir(folder)) if not re.fullmatch(r"previous_\d+|\.search\.lock", name)
    ]
    if names:
        LOGGER.info(
            "--overwrite: the search that was in %s is in %s now",
            folder,
            set_aside(folder, names, ConfigError),
        )


def _show(folder: str, rows: Sequence[Row], metric: str) -> None:
    if any(row.trial.values and row.ended for row in rows):
        write_picture(folder, rows, metric)


def _conclude(folder: str, record: Record, metric: str, best: Row, final: Row | None) -> None:
    """Write the configs of the best trial and of the distillation, and log them with their scores."""
    default = record.rows.get(DEFAULT)
    beside = (
        f" ({default.score:.5f} with the config as it is)" if default and default.score is not None else ""
    )
    for name, row in (("best", best), ("distillation", final)):
        if row is not None:
            file = os.path.join(folder, f"{name}.yaml")
            write_config(file, row, os.path.join(folder, name))
            chosen = " ".join([row.trial.file, *row.trial.overrides])
            LOGGER.info("%s: %s, %s %.5f%s: %s", name, row.trial.name, metric, row.score, beside, chosen)
            LOGGER.info("train it: %s -c %s", command("train"), shlex.quote(file))
    LOGGER.info("table and picture: %s, trials.png", os.path.join(folder, "trials.csv"))
