"""Resuming: selection of the checkpoint, and checks of its learning rate schedule and image order."""

from __future__ import annotations

import dataclasses
from typing import Any, Mapping

from ..config import Config
from ..config.global_section import GlobalConfig
from ..config.optim import LearningRate
from ..errors import ConfigError
from ..optim import build_schedule
from ..optim.schedule import Schedule
from . import checkpoint
from .checkpoint import Checkpoint
from .distributed import Runtime, raise_on_all_ranks, require_same
from .global_batch import images_per_update
from .log import LOGGER
from .output_folder import require_resumable


def find_checkpoint(settings: GlobalConfig, runtime: Runtime) -> Checkpoint | None:
    """Return the Checkpoint that `Global.checkpoints` asks for, or None to start from the beginning.

    Raises:
        WeightsError: see `checkpoint.load`.
        ConfigError: "auto" finds checkpoints of which none can be resumed.
    """
    if not settings.checkpoints:
        return None
    automatic = settings.checkpoints == "auto"
    found = (
        checkpoint.find_latest(settings.output_dir) if automatic else checkpoint.load(settings.checkpoints)
    )
    step = None if found is None else found.states["step"]
    require_same(step, runtime, f"Global.checkpoints: the step of the checkpoint in {settings.output_dir}")
    if found is None:
        with raise_on_all_ranks(runtime):
            if runtime.is_main:
                require_resumable(settings)
        folder = settings.output_dir
        LOGGER.info(
            "Global.checkpoints: auto: nothing to go on from in %s; starting from the beginning", folder
        )
    return found


def schedule_settings(lr: LearningRate, epochs: int, steps_per_epoch: int) -> dict[str, Any]:
    """Return the settings of the learning rate, as a checkpoint keeps them."""
    return {"lr": dataclasses.asdict(lr), "epochs": epochs, "steps_per_epoch": steps_per_epoch}


def resumed_schedule(
    found: Checkpoint, settings: GlobalConfig, lr: LearningRate, steps_per_epoch: int
) -> Schedule:
    """Return the Schedule to go on with; where it changed, `Global.resume_schedule` says which one holds.

    `lr` and `steps_per_epoch` are those of this run, scaled to its global batch.

    Raises ConfigError: it changed and nothing says so, or the checkpoint's cannot be kept.
    """
    saved, now = found.states["schedule"], schedule_settings(lr, settings.epochs, steps_per_epoch)
    schedule = build_schedule(lr, settings.epochs, steps_per_epoch)
    changed = _differences(saved, now)
    if not changed:
        return schedule
    choice = settings.resume_schedule
    if choice is None:
        raise ConfigError(
            f"the schedule differs from that of checkpoint {found.prefix}: {changed}; say which one holds: "
            "-o Global.resume_schedule=new (as configured now) or keep (as it was)"
        )
    LOGGER.info("schedule: %s; Global.resume_schedule: %s", changed, choice)
    if saved.get("steps_per_epoch") != steps_per_epoch and found.states["position"]:
        raise ConfigError(
            f"checkpoint {found.prefix} stands inside an epoch of {saved['steps_per_epoch']} steps, which now has "
            f"{steps_per_epoch}; resume with the same data and batch size, or from an epoch_N checkpoint"
        )
    if choice == "new":
        return schedule
    kind = type(lr)
    if saved["lr"]["name"] != kind.__name__:
        raise ConfigError(f"Global.resume_schedule: keep needs Optimizer.lr.name {saved['lr']['name']}")
    if saved["steps_per_epoch"] != steps_per_epoch:
        raise ConfigError(
            f"Global.resume_schedule: keep needs epochs of {saved['steps_per_epoch']} steps, these have "
            f"{steps_per_epoch}; use the data and batch size of the checkpoint, or new"
        )
    return build_schedule(kind(**saved["lr"]), saved["epochs"], saved["steps_per_epoch"])


def order_settings(config: Config, runtime: Runtime, count: int) -> dict[str, Any]:
    """Return the settings of the order of `count` images in an epoch, and of their division into updates."""
    sampler = dataclasses.asdict(config.reader("Train").sampler)
    # A batch is of one process; an update is of all of them.
    others = ("batch_size", "first_bs", "size_schedule", "name")
    return {
        **{key: value for key, value in sampler.items() if key not in others},
        "images": count,
        "images_per_update": images_per_update(config, runtime),
        "seed": config.Global.seed if sampler.get("seed") is None else sampler["seed"],
    }


def require_same_order(found: Checkpoint, order: Mapping[str, Any]) -> None:
    """Raise ConfigError when `found`, inside an epoch, counts its updates in another order.

    Some images of the epoch would be seen twice and others not at all. A checkpoint of an older version does
    not tell.
    """
    changed = _differences(found.states.get("order", order), order)
    if found.states["position"] and changed:
        raise ConfigError(
            f"checkpoint {found.prefix} stands inside an epoch whose images came in another order: {changed}; "
            "resume with these settings as they were, or from an epoch_N checkpoint"
        )


def require_same_learning(found: Checkpoint, learned: int) -> None:
    """Raise ConfigError when `found` was made while another number of parameters learned than the `learned` now.

    A checkpoint of an older version does not tell.
    """
    before = found.states.get("learned", learned)
    if before != learned:
        raise ConfigError(
            f"checkpoint {found.prefix} was made while {before:,} parameters learned, and now {learned:,} do; resume "
            "with Arch.freeze and Global.head_epochs as they were, or start from its weights: "
            f"-o Global.checkpoints=null Global.pretrained_model={found.prefix}"
        )


def _differences(saved: Mapping[str, Any], now: Mapping[str, Any], path: str = "") -> str:
    """Return "key was -> is, ..." of two nested dicts."""
    parts = []
    for key in dict.fromkeys([*saved, *now]):
        was, value = saved.get(key), now.get(key)
        if isinstance(was, dict) and isinstance(value, dict):
            parts.append(_differences(was, value, f"{path}{key}."))
        elif was != value:
            parts.append(f"{path}{key} {was} -> {value}")
    return ", ".join(filter(None, parts))
