"""Checkpoints: three files that belong together, written so that a crash at any moment loses nothing.

`PREFIX.pdparams` holds the weights, `PREFIX.pdopt` the optimizer state by structured parameter names and
`PREFIX.pdstates` everything else (epoch, step, position in the epoch, best metric, schedule, class names)
with the SHA-256 of the two others. All three are first written as `*.new`, the states last: from that
moment the new set is complete, and `find` finishes the renaming should the process die before it does.

Which one a run starts from (`Global.checkpoints`):
    a prefix, with or without suffix   that one, or an error
    "auto"                             the set in `Global.output_dir` with the most steps; a damaged set is
                                       named and passed over; none at all starts from the beginning
"""

import hashlib
import os
from dataclasses import dataclass

import numpy as np

from ..errors import WeightsError
from ..weights import dump_plain_pickle, load_plain_pickle, read_weights
from .log import LOGGER

SUFFIXES = (".pdparams", ".pdopt", ".pdstates")

# What a run needs of the states, whatever else they hold.
_STATES = {"sha256": dict, "epoch": int, "position": int, "step": int, "schedule": dict, "scaler": dict}


@dataclass
class Checkpoint:
    """One complete set: `weights` and `optimizer` by name, and the plain values in `states`."""

    prefix: str
    weights: dict
    optimizer: dict
    states: dict


def save(prefix, weights, optimizer, states):
    """Write the set `prefix.*`; the previous set stays valid until the new one is complete."""
    dump_plain_pickle(weights, f"{prefix}.pdparams.new")
    dump_plain_pickle(optimizer, f"{prefix}.pdopt.new")
    sums = {suffix: _sha256(f"{prefix}{suffix}.new") for suffix in SUFFIXES[:2]}
    dump_plain_pickle({**states, "sha256": sums}, f"{prefix}.pdstates.new")
    _finish_rename(prefix)


def load(prefix):
    """Read the set `prefix.*` (a suffix is accepted).

    Raises:
        WeightsError: a file of the set is missing, damaged, or belongs to another set.
    """
    prefix = strip_suffix(prefix)
    if os.path.isdir(prefix):
        raise WeightsError(
            f"checkpoint {prefix} is a folder; give one of: {_present(os.path.join(prefix, ''))}"
        )
    if os.path.isfile(f"{prefix}.pdstates.new"):
        _finish_rename(prefix)
    missing = [suffix for suffix in SUFFIXES if not os.path.isfile(prefix + suffix)]
    if missing:
        raise WeightsError(
            f"checkpoint {prefix}: no {' and no '.join(prefix + suffix for suffix in missing)}; "
            f"to start from weights alone use Global.pretrained_model, to resume give one of: {_present(prefix)}"
        )
    states = load_plain_pickle(f"{prefix}.pdstates")
    own = isinstance(states, dict) and all(isinstance(states.get(key), kind) for key, kind in _STATES.items())
    if not own:
        raise WeightsError(
            f"checkpoint {prefix} was not written by ppcls_light, so its optimizer state cannot be continued "
            f"exactly; start from its weights: -o Global.checkpoints=null -o Global.pretrained_model={prefix}"
        )
    for suffix in SUFFIXES[:2]:
        if _sha256(prefix + suffix) != states["sha256"].get(suffix):
            raise WeightsError(
                f"checkpoint {prefix}: {prefix}{suffix} is damaged or from another save; resume from one of: "
                f"{_present(os.path.dirname(prefix) + '/', but=prefix)}"
            )
    optimizer = load_plain_pickle(f"{prefix}.pdopt")
    if not isinstance(optimizer, dict) or not all(isinstance(a, np.ndarray) for a in optimizer.values()):
        raise WeightsError(
            f"checkpoint {prefix}: {prefix}.pdopt holds no named arrays; resume from another one"
        )
    return Checkpoint(prefix, read_weights(f"{prefix}.pdparams"), optimizer, states)


def find_latest(output_dir):
    """Return the readable Checkpoint of `output_dir` with the most steps, or None when it has none.

    Of several with as many, the one that has been evaluated comes first.
    """
    for prefix in sorted(_prefixes(output_dir), key=_progress, reverse=True):
        try:
            return load(prefix)
        except WeightsError as error:
            LOGGER.warning("passed over: %s", error)
    return None


def _progress(prefix):
    """Return (steps, evaluated or not) as the set says of itself; (-1, False) for one that cannot be read."""
    path = f"{prefix}.pdstates"
    try:
        states = load_plain_pickle(f"{path}.new" if os.path.isfile(f"{path}.new") else path)
        return int(states["step"]), bool(states.get("evaluated", True))
    except (WeightsError, KeyError, TypeError, ValueError, AttributeError):
        return -1, False


def strip_suffix(path):
    """Return `path` without the suffix of one of a checkpoint's files."""
    path = os.fspath(path)
    root, suffix = os.path.splitext(path)
    return root if suffix in SUFFIXES else path


def _finish_rename(prefix):
    """Rename the complete set `*.new`; a `.new` file that is gone has been renamed before."""
    for suffix in SUFFIXES:
        if os.path.isfile(f"{prefix}{suffix}.new"):
            os.replace(f"{prefix}{suffix}.new", prefix + suffix)


def _prefixes(folder):
    names = os.listdir(folder) if os.path.isdir(folder) else []
    ends = (".pdstates", ".pdstates.new")
    return sorted({os.path.join(folder, name.split(".pdstates")[0]) for name in names if name.endswith(ends)})


def _present(prefix, but=None):
    """Return the checkpoints beside `prefix` for a message."""
    folder = os.path.dirname(prefix) or "."
    present = [path for path in _prefixes(folder) if path != but]
    return ", ".join(present) or f"(none in {folder})"


def _sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
