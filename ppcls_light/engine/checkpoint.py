"""Checkpoints: sets of files, written so that a crash at any moment loses nothing.

`PREFIX.pdparams` holds the weights, `PREFIX.pdopt` the optimizer state by structured parameter names and
`PREFIX.pdstates` everything else (epoch, step, position in the epoch, whether it is evaluated, best metric, schedule,
order of the images, loss scale, class names, network, versions) with the SHA-256 of the others; `Trainer.save` collects
them, and writes the student's weights of a distillation beside the set. With an EMA `PREFIX.pdparams` holds the
averaged weights, which are the ones to use, and `PREFIX.pdema` those in training, as in PaddleClas. All are first
written as `*.new`, the states last: from that moment the new set is complete, and `load` reads it whether it has been
renamed yet or not. Reading changes nothing, so it never gets in the way of a run that still writes; `finish_renames`
is for the one that does.

Which one a run starts from (`Global.checkpoints`):
    a prefix, with or without suffix   that one, or an error
    "auto"                             the set in `Global.output_dir` with the most steps; a damaged set is
                                       named and passed over; no set at all starts from the beginning, and
                                       damaged ones alone are an error
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import Any, Dict, Mapping

import numpy as np

from ..base.files import StrPath, checksum
from ..errors import WeightsError
from ..weights import dump_plain_pickle, load_plain_pickle
from ..weights.io import widened
from .log import LOGGER

Arrays = Dict[str, np.ndarray]

SUFFIXES = (".pdparams", ".pdopt", ".pdema", ".pdstates")
_REQUIRED = (".pdparams", ".pdopt", ".pdstates")

# The states that a run needs, whatever others there are.
_STATES = {"sha256": dict, "epoch": int, "position": int, "step": int, "schedule": dict, "scaler": dict}


@dataclass
class Checkpoint:
    """Complete set: `weights` and `optimizer` by name, and the plain values in `states`.

    `raw`: with an EMA, the weights in training, of which `weights` are the average; else None.
    """

    prefix: str
    weights: Arrays
    optimizer: Arrays
    states: dict[str, Any]
    raw: Arrays | None = None

    @property
    def trained(self) -> Arrays:
        """The weights to train on."""
        return self.weights if self.raw is None else self.raw


def save(
    prefix: str, weights: Arrays, optimizer: Arrays, states: Mapping[str, Any], raw: Arrays | None = None
) -> None:
    """Write the set `prefix.*`; the previous set stays valid until the new one is complete."""
    if os.path.isfile(f"{prefix}.pdstates.new"):
        _finish_rename(prefix)  # a complete set that a crash left: parts of this one must not mix with it
    contents = {".pdparams": weights, ".pdopt": optimizer}
    if raw is not None:
        contents[".pdema"] = raw
    try:
        for suffix, content in contents.items():
            dump_plain_pickle(content, f"{prefix}{suffix}.new")
        sums = {suffix: checksum(f"{prefix}{suffix}.new", WeightsError) for suffix in contents}
        dump_plain_pickle({**states, "sha256": sums, "sealed": True}, f"{prefix}.pdstates.new", seal=True)
    except WeightsError:
        for suffix in contents:
            with contextlib.suppress(OSError):  # a full disk needs the room
                os.remove(f"{prefix}{suffix}.new")
        raise
    _finish_rename(prefix)
    if raw is None:
        with contextlib.suppress(FileNotFoundError):  # of a run with an EMA: no part of this set
            os.remove(f"{prefix}.pdema")


def load(prefix: StrPath) -> Checkpoint:
    """Read the set `prefix.*` (a suffix is accepted).

    Raises WeightsError: a file of the set is missing, damaged, or belongs to another set.
    """
    prefix = strip_suffix(prefix)
    if os.path.isdir(prefix):
        raise WeightsError(
            f"checkpoint {prefix} is a folder; give one of: {_present(os.path.join(prefix, ''))}"
        )
    missing = [suffix for suffix in _REQUIRED if not os.path.isfile(_place(prefix, suffix))]
    if missing:
        raise WeightsError(
            f"checkpoint {prefix}: no {' and no '.join(prefix + suffix for suffix in missing)}; "
            f"to start from weights alone use Global.pretrained_model, to resume give one of: {_present(prefix)}"
        )
    states = _read_states(prefix)
    if not isinstance(states, dict) or not all(
        isinstance(states.get(key), kind) for key, kind in _STATES.items()
    ):
        raise WeightsError(
            f"checkpoint {prefix} was not written by ppcls_light, so its optimizer state cannot be continued "
            f"exactly; start from its weights: -o Global.checkpoints=null -o Global.pretrained_model={prefix}"
        )
    sums = {".pdparams": None, ".pdopt": None, **states["sha256"]}
    for suffix in SUFFIXES[:-1]:
        if suffix in sums and checksum(_place(prefix, suffix), WeightsError) != sums[suffix]:
            raise WeightsError(
                f"checkpoint {prefix}: {prefix}{suffix} is damaged or from another save; resume from one of: "
                f"{_present(os.path.dirname(prefix) + '/', but=prefix)}"
            )
    weights = {key: widened(array) for key, array in _named_arrays(prefix, ".pdparams").items()}
    optimizer = _named_arrays(prefix, ".pdopt")
    raw = _named_arrays(prefix, ".pdema") if ".pdema" in sums else None
    return Checkpoint(prefix, weights, optimizer, states, raw)


def _read_states(prefix: str) -> Any:
    """Return the content of the set's states; those that say so are sealed, older ones were not."""
    path = _place(prefix, ".pdstates")
    states = load_plain_pickle(path)
    if isinstance(states, dict) and states.get("sealed"):
        load_plain_pickle(path, sealed=True)
    return states


def _place(prefix: str, suffix: str) -> str:
    """Return the file of the newest complete set: `*.new` until it has been renamed."""
    new = f"{prefix}{suffix}.new"
    complete = os.path.isfile(f"{prefix}.pdstates.new")
    return new if complete and os.path.isfile(new) else prefix + suffix


def _named_arrays(prefix: str, suffix: str) -> Arrays:
    content = load_plain_pickle(_place(prefix, suffix))
    if not isinstance(content, dict) or not all(isinstance(a, np.ndarray) for a in content.values()):
        raise WeightsError(
            f"checkpoint {prefix}: {prefix}{suffix} holds no named arrays; resume from another one"
        )
    return content


def find_latest(output_dir: str) -> Checkpoint | None:
    """Return the readable Checkpoint of `output_dir` with the most steps, or None when it has none.

    Of several with as many, the one that has been evaluated comes first. Those that cannot be read are warnings.
    """

    def order(prefix: str) -> tuple[bool, int, bool]:
        steps, evaluated = _progress(prefix)
        # A set that cannot be read might be the newest: it is tried, and named, first.
        return steps < 0, steps, evaluated

    for prefix in sorted(_prefixes(output_dir), key=order, reverse=True):
        try:
            return load(prefix)
        except WeightsError as error:
            LOGGER.warning("passed over: %s", error)
    return None


def latest_states(output_dir: str) -> dict[str, Any] | None:
    """Return the states of the set of `output_dir` with the most steps, which may be damaged otherwise, or None."""
    prefixes = _prefixes(output_dir)
    newest = max(prefixes, key=_progress, default=None)
    return None if newest is None or _progress(newest)[0] < 0 else dict(_read_states(newest))


def finish_renames(output_dir: str) -> None:
    """Finish the sets of `output_dir` that a crash left complete but under `*.new`; for the folder's only run."""
    for prefix in _prefixes(output_dir):
        if os.path.isfile(f"{prefix}.pdstates.new"):
            _finish_rename(prefix)


def is_ahead(prefix: str, other: str) -> bool:
    """Return whether the set `prefix.*` has more steps than the set `other.*`, or does not say how many."""
    own = _progress(prefix)[0]
    return own > _progress(other)[0] or own < 0


def _progress(prefix: str) -> tuple[int, bool]:
    """Return (steps, evaluated or not) as the set says of itself; (-1, False) for one that cannot be read."""
    try:
        states = _read_states(prefix)
        return int(states["step"]), bool(states.get("evaluated", True))
    except (WeightsError, KeyError, TypeError, ValueError, AttributeError):
        return -1, False


def strip_suffix(path: StrPath) -> str:
    """Return `path` without the suffix of one of a checkpoint's files."""
    path = os.fspath(path)
    root, suffix = os.path.splitext(path)
    return root if suffix in SUFFIXES else path


def _finish_rename(prefix: str) -> None:
    """Rename the complete set `*.new`; a `.new` file that is gone has been renamed before."""
    for suffix in SUFFIXES:
        if os.path.isfile(f"{prefix}{suffix}.new"):
            try:
                os.replace(f"{prefix}{suffix}.new", prefix + suffix)
            except OSError as problem:
                raise WeightsError(
                    f"cannot write {prefix}{suffix}: {problem.strerror}; it is complete as {prefix}{suffix}.new, "
                    "and the next resume finishes the set"
                ) from None


def _prefixes(folder: str) -> list[str]:
    names = os.listdir(folder) if os.path.isdir(folder) else []
    ends = (".pdstates", ".pdstates.new")
    return sorted({os.path.join(folder, name.split(".pdstates")[0]) for name in names if name.endswith(ends)})


def _present(prefix: str, but: str | None = None) -> str:
    """Return the checkpoints beside `prefix` for a message."""
    folder = os.path.dirname(prefix) or "."
    present = [path for path in _prefixes(folder) if path != but]
    return ", ".join(present) or f"(none in {folder})"
