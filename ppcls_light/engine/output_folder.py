"""Protection of the runs in `Global.output_dir`: refusal to overwrite, and moving to `previous_N`.

Its files are the checkpoints (best_model, latest, epoch_N), config.yaml, metrics.jsonl, the logs, the curves and
the files of the loggers. A start in a folder that has checkpoints
    goes on from one of them where `Global.checkpoints` names it or is "auto"; those that are ahead of it are moved
    to `previous_N`, so that going back to an earlier epoch costs no better model, and a later "auto" stays on
    the new way
    is refused otherwise, before anything is written
    moves all of the old run to `previous_N` with `Global.overwrite`, once the new one is built and has read what
    it starts from
Exported models stay in place: something may be serving them. The config.yaml that moved names its new folder,
so that it evaluates, exports and goes on with the models beside it.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from typing import Collection, Iterator

from ..base.files import set_aside
from ..base.run_folder import RUN_CONFIG
from ..config import relocate_config
from ..config.global_section import GlobalConfig
from ..errors import ConfigError, listed
from . import checkpoint
from .distributed import Runtime, raise_on_all_ranks
from .history import FILE_NAME
from .lock import sole_run, was_used
from .log import LOGGER

_CHECKPOINT = re.compile(
    r"((?:best_model|latest|epoch_[0-9]+)(?:_student)?)(\.pdparams|\.pdopt|\.pdema|\.pdstates)(\.new)?"
)
_DESCRIPTIONS = (RUN_CONFIG, FILE_NAME)
_OTHERS = (
    *(*_DESCRIPTIONS, f"{FILE_NAME}.old", "train.log", "eval.log", "infer.log", "export.log"),
    *("curves.png", "curves.svg", "vdl", "tensorboard", "wandb", "wandb_run.txt"),
)


@contextlib.contextmanager
def claimed(settings: GlobalConfig, runtime: Runtime) -> Iterator[None]:
    """Hold `Global.output_dir` for a run until the block ends; only the main process looks, all end alike.

    Raises ConfigError: see `require_room`; another run is writing to it, or it cannot be written.
    """
    with contextlib.ExitStack() as held:
        with raise_on_all_ranks(runtime):
            if runtime.is_main:
                if not was_used(settings.output_dir):
                    require_room(settings)  # a refusal leaves no lock file behind, either
                held.enter_context(sole_run(settings.output_dir))
                require_room(settings)
                checkpoint.finish_renames(settings.output_dir)
        yield


def require_room(settings: GlobalConfig) -> None:
    """Raise ConfigError if a start with these `Global` settings would replace another run, and may not."""
    names = _names(settings.output_dir)
    if names and not settings.overwrite and not _goes_on(settings):
        raise ConfigError(
            f"Global.output_dir: {settings.output_dir} holds a run ({listed(names, 4)}), which this one would replace; "
            "go on with it: -o Global.checkpoints=auto, train elsewhere: -o Global.output_dir=FOLDER "
            "Global.save_inference_dir=FOLDER/inference, or have it moved "
            f"to {os.path.join(settings.output_dir, 'previous_N')}: -o Global.overwrite=true"
        )


def require_resumable(settings: GlobalConfig) -> None:
    """Raise ConfigError if "auto" found nothing to go on from although there are checkpoints, and none may go.

    The beginning of a first save, which a crash cut off, is no checkpoint.
    """
    names = _names(settings.output_dir, complete=True)
    if names and not settings.overwrite:
        raise ConfigError(
            f"Global.checkpoints: auto: {settings.output_dir} holds a run ({listed(names, 4)}) of which no checkpoint "
            "can be resumed; to start from the beginning and have it moved to "
            f"{os.path.join(settings.output_dir, 'previous_N')} add -o Global.overwrite=true, to start from its "
            "weights elsewhere -o Global.checkpoints=null Global.output_dir=FOLDER "
            f"Global.pretrained_model={os.path.join(settings.output_dir, names[0])}"
        )


def make_room(settings: GlobalConfig, resumed_from: str | None = None) -> dict[str, str]:
    """Set aside the files that a run that begins now, or goes on from the checkpoint `resumed_from`, would replace.

    Returned is {absolute path: path it has now} of the weights that are elsewhere now, with and without suffix.
    Raises ConfigError: see `require_room`; a file cannot be moved.
    """
    require_room(settings)
    folder = settings.output_dir
    if resumed_from is not None and _goes_on(settings):
        return _step_back(folder, resumed_from)
    files = _files(folder)
    if not files or not settings.overwrite:  # the files are then the beginning of a first save
        return {}
    # The checkpoints last: until they are gone the folder holds a run, whatever happens.
    others = [name for name in _OTHERS if os.path.lexists(os.path.join(folder, name))]
    target = set_aside(folder, [*others, *files], ConfigError)
    LOGGER.info("Global.overwrite: the run that was in %s is in %s now", folder, target)
    return _settle(folder, target, files)


def _step_back(folder: str, resumed_from: str) -> dict[str, str]:
    """Set aside the checkpoints with more steps than `resumed_from`, with a copy of their descriptions."""
    ahead = [
        name
        for name in _names(folder)
        if _has_states(folder, name) and checkpoint.is_ahead(os.path.join(folder, name), resumed_from)
    ]
    if not ahead:
        return {}
    files = _files(folder, {*ahead, *(f"{name}_student" for name in ahead)})
    target = set_aside(folder, files, ConfigError)
    try:
        for name in _DESCRIPTIONS:  # the run that goes on drops the rows ahead of it
            if os.path.isfile(os.path.join(folder, name)):
                shutil.copy2(os.path.join(folder, name), target)
    except OSError as problem:
        raise ConfigError(f"cannot write {target}: {problem.strerror}; the checkpoints are there") from None
    LOGGER.info(
        "checkpoints ahead of %s, or that cannot be read, are in %s now: %s",
        *(resumed_from, target, listed(ahead, 4)),
    )
    return _settle(folder, target, files)


def _goes_on(settings: GlobalConfig) -> bool:
    """Return whether `Global.checkpoints` is about the run in `Global.output_dir`."""
    if not settings.checkpoints or settings.checkpoints == "auto":
        return bool(settings.checkpoints)
    there = os.path.dirname(os.path.abspath(checkpoint.strip_suffix(settings.checkpoints)))
    return os.path.realpath(there) == os.path.realpath(settings.output_dir)


def _files(folder: str, only: Collection[str] | None = None) -> list[str]:
    """Return the files of the checkpoints of `folder`, of all or of those called as in `only`."""
    try:
        names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    except OSError as problem:
        raise ConfigError(f"Global.output_dir: {folder}: cannot be read: {problem.strerror}") from None
    found = ((name, _CHECKPOINT.fullmatch(name)) for name in names)
    return [name for name, match in found if match and (only is None or match[1] in only)]


def _names(folder: str, complete: bool = False) -> list[str]:
    """Return the names of the checkpoints of `folder`; only those of which there is a whole file if `complete`."""
    matches = list(filter(None, map(_CHECKPOINT.fullmatch, _files(folder))))
    begun = {match[1] for match in matches}
    whole = {match[1] for match in matches if not match[3] or match[2] == ".pdstates"}
    return sorted(whole if complete else begun, key=lambda name: (name.startswith("epoch_"), name))


def _has_states(folder: str, name: str) -> bool:
    path = os.path.join(folder, f"{name}.pdstates")
    return os.path.isfile(path) or os.path.isfile(f"{path}.new")


def _settle(folder: str, target: str, files: Collection[str]) -> dict[str, str]:
    """Let the config.yaml in `target` be about that folder; return {absolute path: path now} of its weights."""
    places = {}
    for file in files:
        for name in (file, checkpoint.strip_suffix(file)):
            places[os.path.abspath(os.path.join(folder, name))] = os.path.join(target, name)
    config = os.path.join(target, RUN_CONFIG)
    if os.path.isfile(config):
        try:
            relocate_config(config, {**places, os.path.abspath(folder): target})
        except ConfigError as problem:
            LOGGER.warning("%s still names %s as its output_dir: %s", config, folder, problem)
    return places
