"""Weights files: `.pdparams`, which are pickles, and `.safetensors`, read without trusting them and written
atomically.
"""

import os
import time

import numpy as np

from ..base.files import atomic_path, checksum
from ..base.plain_pickle import dump_plain_pickle, load_plain_pickle
from ..errors import WeightsError
from ..registry import nearest

SUFFIXES = (".pdparams", ".safetensors")
_RENAMING = 0.2  # s, more than a few renames take

# paddle.save adds this map from structured names to parameter names; it is no weight.
_NAME_MAP_KEY = "StructuredToParameterName@@"


def read_weights(path):
    """Return the weights in a `.pdparams` or `.safetensors` file as {key: numpy array}.

    `path` may leave the suffix out, as in PaddleClas. bfloat16 comes back as float32.

    Raises:
        WeightsError: the file is missing (the message names what is there), damaged, of another format, not the one
            whose checksum the checkpoint's states beside it have, or holds something other than named arrays.
    """
    path = _find(path)
    _check_sum(path)
    state = _read_safetensors(path) if path.endswith(".safetensors") else _read_pdparams(path)
    if not state:
        raise WeightsError(f"{path} holds no weights; give the .pdparams file of a trained network")
    return state


def write_weights(path, state, keep=False):
    """Write `state` ({key: array}) to `path` atomically; the suffix (.pdparams, .safetensors) is the format.

    Values may be numpy arrays or Paddle tensors. `keep` as in `files.atomic_path`.
    """
    path = os.fspath(path)
    state = {key: np.asarray(value) for key, value in state.items()}
    if path.endswith(".safetensors"):
        content = _import_safetensors(path).numpy.save(
            {key: widened(value).copy("C") for key, value in state.items()}
        )
        with atomic_path(path, WeightsError, keep) as temporary, open(temporary, "wb") as file:
            file.write(content)
    elif path.endswith(".pdparams"):
        dump_plain_pickle(state, path, keep)
    else:
        raise WeightsError(f"cannot tell the format of {path}; end its name in {' or '.join(SUFFIXES)}")


def _find(path):
    """Return the weights file that the user means by `path`, with or without suffix."""
    path = os.fspath(path)
    if "://" in path:
        raise WeightsError(f"{path} is a URL; download the file and give its local path")
    for candidate in (path, *(path + suffix for suffix in SUFFIXES)):
        if os.path.isfile(candidate):
            if candidate.endswith(SUFFIXES):
                return candidate
            raise WeightsError(f"{candidate} is no weights file; expected the suffix {' or '.join(SUFFIXES)}")
    is_folder = os.path.isdir(path)
    folder = path if is_folder else os.path.dirname(path) or "."
    there = sorted(name for name in _listdir(folder) if name.endswith(SUFFIXES))
    hint = nearest(os.path.basename(path), there)
    if not hint:
        hint = f"; {folder} has {', '.join(there[:5])}" if there else f"; there are no weights in {folder}"
    if is_folder:
        raise WeightsError(f"{path} is a folder; give the weights file itself{hint}")
    raise WeightsError(f"no weights file {path} (nor with {' or '.join(SUFFIXES)}){hint}")


def _check_sum(path):
    """Raise WeightsError if the states of a checkpoint beside `path` have another checksum than its own.

    While a set is being renamed, both the old states and the new ones are there.
    """
    prefix, suffix = os.path.splitext(path)
    for last in (False, True):
        states = [file for file in (f"{prefix}.pdstates", f"{prefix}.pdstates.new") if os.path.isfile(file)]
        contents = [load_plain_pickle(file) for file in states]
        sums = [content.get("sha256") for content in contents if isinstance(content, dict)]
        known = [own[suffix] for own in sums if isinstance(own, dict) and suffix in own]
        if not known or checksum(path, WeightsError) in known:
            return
        if not last:
            time.sleep(_RENAMING)  # a run may have been at it
    raise WeightsError(
        f"{path} is damaged, or not of the checkpoint that {states[0]} describes: its SHA-256 is another one; take "
        "another checkpoint, or, if you changed the file yourself, move that one away"
    )


def _listdir(folder):
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _read_pdparams(path):
    content = load_plain_pickle(path)
    if not isinstance(content, dict):
        raise WeightsError(f"{path} holds a {type(content).__name__}, not a dict of weights")
    state = {}
    for key, value in content.items():
        if key == _NAME_MAP_KEY:
            continue
        if isinstance(value, tuple) and len(value) == 2:  # paddle.save of a nested dict: (name, array)
            value = value[1]
        if not isinstance(key, str) or not isinstance(value, np.ndarray):
            raise WeightsError(
                f"{path}: {key!r} is a {type(value).__name__}, not an array; this is no weights file"
            )
        state[key] = widened(value)
    return state


def widened(array):
    """Return bfloat16, the upper half of a float32, which numpy has as uint16, as float32."""
    return (array.astype(np.uint32) << 16).view(np.float32) if array.dtype == np.uint16 else array


def _read_safetensors(path):
    safetensors = _import_safetensors(path)
    try:
        with open(path, "rb") as file:
            return {key: _from_safetensors(entry) for key, entry in safetensors.deserialize(file.read())}
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}") from None
    except (safetensors.SafetensorError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} is damaged or no safetensors file: {error}; copy it again") from None


def _from_safetensors(entry):
    code = entry["dtype"]
    special = {"BOOL": "?", "BF16": "<u2"}
    dtype = special.get(code) or f"<{code[0].lower()}{int(code[1:]) // 8}"  # F32: <f4
    return widened(np.frombuffer(entry["data"], dtype)).reshape(entry["shape"]).copy()


def _import_safetensors(path):
    try:
        import safetensors.numpy
    except ImportError:
        raise WeightsError(f"{path} needs the package safetensors: pip install safetensors") from None
    return safetensors
