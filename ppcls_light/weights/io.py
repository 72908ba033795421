"""Reading and writing of weight files (.pdparams, .safetensors), and loading of them into a network.

Files are `.pdparams`, which are pickles, and `.safetensors`. Every key must fit the network, or the message names those
that do not, and the fix.
"""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, Any, Mapping, NamedTuple, Sequence

import numpy as np
import safetensors.numpy

from ..base.files import StrPath, atomic_path, checksum
from ..base.plain_pickle import dump_plain_pickle, load_plain_pickle
from ..errors import WeightsError
from ..registry import nearest

if TYPE_CHECKING:
    from paddle import nn

logger = logging.getLogger(__name__)

State = dict[str, np.ndarray]

SUFFIXES = (".pdparams", ".safetensors")
_RENAMING = 0.2  # s, more than a few renames take

# paddle.save adds this map from structured names to parameter names; it is no weight.
_NAME_MAP_KEY = "StructuredToParameterName@@"


def read_weights(path: StrPath) -> State:
    """Return the weights in a `.pdparams` or `.safetensors` file as {key: numpy array}.

    `path` may leave the suffix out, as in PaddleClas. bfloat16 comes back as float32.

    Raises WeightsError: the file is missing (the message names the others there), damaged, of another format, not the
    one whose checksum the checkpoint's states beside it have, or holds something other than named arrays.
    """
    path = weights_file(path)
    _check_sum(path)
    state = _read_safetensors(path) if path.endswith(".safetensors") else _read_pdparams(path)
    if not state:
        raise WeightsError(f"{path} holds no weights; give the .pdparams file of a trained network")
    return state


def write_weights(path: StrPath, state: Mapping[str, Any], keep: bool = False) -> None:
    """Write `state` ({key: array}) to `path` atomically; the suffix (.pdparams, .safetensors) is the format.

    Values may be numpy arrays or Paddle tensors. `keep` as in `files.atomic_path`.
    """
    path = os.fspath(path)
    state = {key: np.asarray(value) for key, value in state.items()}
    if path.endswith(".safetensors"):
        content = safetensors.numpy.save({key: widened(value).copy("C") for key, value in state.items()})
        with atomic_path(path, WeightsError, keep) as temporary, open(temporary, "wb") as file:
            file.write(content)
    elif path.endswith(".pdparams"):
        dump_plain_pickle(state, path, keep)
    else:
        raise WeightsError(f"cannot tell the format of {path}; end its name in {' or '.join(SUFFIXES)}")


def weights_file(path: StrPath) -> str:
    """Return the weights file that the user means by `path`, with or without suffix."""
    path = os.fspath(path)
    if "://" in path:
        raise WeightsError(
            f"{path} is a URL; create_model(name, pretrained=URL) fetches it, and read_pretrained"
        )
    for candidate in (path, *(path + suffix for suffix in SUFFIXES)):
        if os.path.isfile(candidate):
            if candidate.endswith(SUFFIXES):
                return candidate
            raise WeightsError(f"{candidate} is no weights file; expected the suffix {' or '.join(SUFFIXES)}")
    is_folder = os.path.isdir(path)
    folder = path if is_folder else os.path.dirname(path) or "."
    there = sorted(name for name in _listdir(folder) if name.endswith(SUFFIXES))
    hint = nearest(os.path.basename(path), there)
    above = os.path.join(
        os.path.dirname(folder), os.path.basename(path)
    )  # PaddleClas' output_dir/ARCH/best_model
    if not there and any(os.path.isfile(above + suffix) for suffix in ("", *SUFFIXES)):
        hint = f"; did you mean '{above}'?"
    if not hint:
        hint = f"; {folder} has {', '.join(there[:5])}" if there else f"; there are no weights in {folder}"
    if is_folder:
        raise WeightsError(f"{path} is a folder; give the weights file itself{hint}")
    raise WeightsError(f"no weights file {path} (nor with {' or '.join(SUFFIXES)}){hint}")


def _check_sum(path: str) -> None:
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


def _listdir(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _read_pdparams(path: str) -> State:
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


def widened(array: np.ndarray) -> np.ndarray:
    """Return bfloat16, the upper half of a float32, which numpy has as uint16, as float32."""
    return (array.astype(np.uint32) << 16).view(np.float32) if array.dtype == np.uint16 else array


def _read_safetensors(path: str) -> State:
    try:
        with open(path, "rb") as file:
            return {key: _from_safetensors(entry) for key, entry in safetensors.deserialize(file.read())}
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}") from None
    except (safetensors.SafetensorError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} is damaged or no safetensors file: {error}; copy it again") from None


def _from_safetensors(entry: Mapping[str, Any]) -> np.ndarray:
    code = entry["dtype"]
    special = {"BOOL": "?", "BF16": "<u2"}
    dtype = special.get(code) or f"<{code[0].lower()}{int(code[1:]) // 8}"  # F32: <f4
    return widened(np.frombuffer(entry["data"], dtype)).reshape(entry["shape"]).copy()


class KeyReport(NamedTuple):
    """Comparison of the keys of some weights with those of a network.

    `mismatched` holds (key, shape in the weights, shape in the network); `replaced` the head's keys that
    kept the network's own values because `reset_head` was given.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: tuple[tuple[str, tuple, tuple], ...] = ()
    replaced: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        return not (self.missing or self.unexpected or self.mismatched)

    def __str__(self) -> str:
        shapes = [f"{key} {list(given)} instead of {list(own)}" for key, given, own in self.mismatched]
        faults = (("missing", self.missing), ("unexpected", self.unexpected), ("of another shape", shapes))
        parts = [f"{len(names)} {fault} ({_shorten(names)})" for fault, names in faults if names]
        return f"{len(self.loaded)} keys fit" + "".join(f", {part}" for part in parts)


def compare_keys(state: Mapping[str, Any], expected: Mapping[str, tuple]) -> KeyReport:
    """Return the KeyReport of `state` ({key: array}) against `expected` ({key: shape})."""
    shapes = {key: tuple(np.shape(value)) for key, value in state.items()}
    common = [key for key in expected if key in shapes]
    return KeyReport(
        loaded=tuple(key for key in common if shapes[key] == expected[key]),
        missing=tuple(key for key in expected if key not in shapes),
        unexpected=tuple(key for key in shapes if key not in expected),
        mismatched=tuple((key, shapes[key], expected[key]) for key in common if shapes[key] != expected[key]),
    )


def key_shapes(model: nn.Layer) -> dict[str, tuple]:
    """Return {key: shape} of the state dict of `model`."""
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}


def load_weights(
    model: nn.Layer,
    path_or_state: StrPath | Mapping[str, Any],
    reset_head: bool = False,
    source: str = "the weights",
) -> KeyReport:
    """Copy weights into `model`, all of them, and return the KeyReport.

    They are a file (see `read_weights`) or {key: array}, which `source` names in messages; floats of any width become
    float32. Those of a classifier's head, for which a `features_only` network has no use (`spare_prefixes`), are
    passed over. With `reset_head` the network keeps its own values for those of its `head_keys` that the weights lack
    or have in another shape (another class count); this is logged.

    Raises WeightsError: the file cannot be read, a key is missing, unexpected or of another shape, or a value is not
    finite. The network is then as it was.
    """
    if isinstance(path_or_state, (str, os.PathLike)):
        source, state = os.fspath(path_or_state), read_weights(path_or_state)
    else:
        state = {key: np.asarray(value) for key, value in path_or_state.items()}
    name = getattr(model, "model_name", type(model).__name__)
    head_keys = getattr(model, "head_keys", ())
    state = {
        key: value for key, value in state.items() if not key.startswith(getattr(model, "spare_prefixes", ()))
    }
    report = compare_keys(state, key_shapes(model))
    if reset_head:
        report = _without_head(report, head_keys)
    if not report.fits:
        raise WeightsError(f"{source} cannot be loaded into {name}: {_explain(report, head_keys)}")
    own = model.state_dict()
    wanted = {key: state[key] for key in report.loaded}
    wanted.update({key: value.astype(np.float32) for key, value in wanted.items() if value.dtype.kind == "f"})
    endless = [key for key, value in wanted.items() if not np.isfinite(value).all()]
    if endless:
        raise WeightsError(
            f"{source}: {len(endless)} of {len(wanted)} weights hold NaN or infinity ({_shorten(endless)}); take "
            "another checkpoint, from before the training diverged"
        )
    missing, unexpected = model.set_state_dict({**wanted, **{key: own[key] for key in report.replaced}})
    if missing or unexpected:
        raise RuntimeError(f"Paddle left keys out of {name}: missing {missing}, unexpected {unexpected}")
    if report.replaced:
        logger.warning(
            "%s: the head of %s starts anew (%s); %d other keys loaded",
            source, name, ", ".join(report.replaced), len(report.loaded),
        )  # fmt: skip
    return report


def _without_head(report: KeyReport, head_keys: Sequence[str]) -> KeyReport:
    """Move keys of the head from the faults of the report to `replaced`."""
    faulty = {*report.missing, *(key for key, _, _ in report.mismatched)}
    return report._replace(
        missing=tuple(key for key in report.missing if key not in head_keys),
        mismatched=tuple(entry for entry in report.mismatched if entry[0] not in head_keys),
        replaced=tuple(key for key in head_keys if key in faulty),
    )


def _explain(report: KeyReport, head_keys: Sequence[str]) -> str:
    others = _without_head(report, head_keys)
    sizes = {(given[-1], own[-1]) for _, given, own in report.mismatched}
    # Of a linear head both arrays end in the classes; in an ML-Decoder other sizes differ, too.
    if others.fits and len(sizes) == 1 and (pair := sizes.pop())[0] != pair[1]:
        given, own = pair
        return (
            f"the weights have {given} classes, Arch.class_num is {own}; set Arch.class_num={given}, "
            "or -o Global.reset_head=true to train a new head"
        )
    if any("._fake_quant_" in key for key in report.unexpected):
        return f"{report}; they are of quantization-aware training, as it was configured: -o Slim.quant.name=pact"
    return f"{report}; set Arch.name (and its options) to the network these weights were trained with"


def _shorten(names: Sequence[str], shown: int = 3) -> str:
    return ", ".join(names[:shown]) + (", ..." if len(names) > shown else "")
