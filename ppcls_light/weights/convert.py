"""Conversion of other projects' checkpoints to this project's parameter names.

A convolution's weight has the same layout on both sides, (out, in / groups, height, width); a linear
layer's is (out, in) in torch and (in, out) in Paddle. The names stand in the file of each family.
"""

from __future__ import annotations

import os
import re
from typing import Any, Callable, Mapping, NamedTuple

import numpy as np

from ..base.files import StrPath
from ..base.plain_pickle import PlainArray, reading
from ..errors import WeightsError
from ..registry import MODELS
from .io import SUFFIXES, KeyReport, State, compare_keys, key_shapes, read_weights, write_weights
from .torch_file import TorchTensor, Unknown, load_torch_file, reading_torch

TORCH_SUFFIXES = (".pth", ".pt", ".tar", ".ckpt", ".bin")
FORMATS = (*TORCH_SUFFIXES, ".npz", *SUFFIXES)  # ends of names

# Entries of the weights in checkpoints of training scripts, and of their exponential moving average.
_SECTIONS = ("state_dict", "model", "model_state_dict", "net", "network")
_EMA_SECTIONS = ("state_dict_ema", "model_ema", "ema_state_dict", "ema")

# Prefixes of every key by wrappers: DataParallel, Lightning modules, torch.compile.
_PREFIXES = ("module.", "model.", "_orig_mod.")

_TENSORS = (TorchTensor, PlainArray)

# Trained weights are hardly compressible; a few MB that unpack to many GB are an attack on the memory.
_ALWAYS_UNPACKED, _MOST_PACKED = 1 << 26, 32


class WeightNames(NamedTuple):
    """Form in which weights of a family come."""

    owner: str  # of the names
    marker: str  # pattern found in a key of this form, and of none before it
    rename: Callable[[str], str]  # their key to ours
    is_torch: bool = True  # torch's names of a batch norm's statistics and its layout of linear layers


PADDLECLAS = WeightNames("PaddleClas'", r"\._mean$", str, is_torch=False)
AUTHORS = WeightNames("the authors'", "", str)  # where our keys are theirs


def renaming(*rules: tuple[str, str | Callable[[re.Match], str]]) -> Callable[[str], str]:
    """Return the function that applies (pattern, replacement) `rules` to a key, one after another."""

    def rename(key: str) -> str:
        for pattern, replacement in rules:
            key = re.sub(pattern, replacement, key)
        return key

    return rename


_OF_BATCH_NORM = renaming((r"\.running_mean$", "._mean"), (r"\.running_var$", "._variance"))


def head_options(state: State, bias: str) -> dict[str, object]:
    """Return the constructor's parameters that the classifier's key `bias` shows, by its size or its absence."""
    return {"class_num": len(state[bias])} if bias in state else {"features_only": True}


class ConversionReport(NamedTuple):
    """Findings of a conversion."""

    keys: KeyReport  # under this project's names
    owner: str  # of the names that they had
    ignored: tuple[str, ...]  # keys without meaning here
    section: str = ""  # the checkpoint's entry that was converted; "" when the file is a state dict itself
    ema: str = ""  # the entry of averaged weights, if there is one

    def __str__(self) -> str:
        where = f"{self.section}: " if self.section else ""
        lines = [
            f"{where}{len(self.keys.loaded)} keys mapped from {self.owner} names, "
            f"{len(self.keys.missing)} missing, {len(self.keys.unexpected)} unexpected"
        ]
        if self.ignored:
            lines.append(f"left out: {len(self.ignored)} num_batches_tracked")
        if self.ema and self.ema != self.section:
            lines.append(f"the file has averaged weights too, {self.ema}; add --ema for those")
        return "\n".join(lines)


def convert_state_dict(state: Mapping[str, Any], arch: str) -> State:
    """Return weights of another project under this project's keys, in Paddle's layout and as float32.

    `state` is {key: array} as the authors' network, timm's or PaddleClas' saves it, told by the keys; the forms known
    are `weight_names` in the file of the family of `arch`. A classifier, a backbone (FasterNet's with the norms of
    its outputs) and layer scale are told by the keys.

    Raises:
        ConfigError: unknown `arch`.
        WeightsError: a key is left over, missing or of another shape, or an array is not of floats.
    """
    return _convert(state, arch)[0]


def convert_file(
    source: StrPath, destination: StrPath, arch: str, ema: bool | None = False
) -> ConversionReport:
    """Convert the weights in `source` to those of the network `arch` and write them.

    Args:
        source: `.pth`, `.pt`, `.pth.tar`, `.ckpt` or `.bin` of torch.save (torch is not needed),
            `.safetensors`, `.npz`, or PaddleClas' `.pdparams`. A training checkpoint is searched for its
            weights; the prefixes `module.`, `model.` and `_orig_mod.` are taken off the keys.
        destination: a `.pdparams` or `.safetensors` file, written atomically, float32. Other weights that are
            there are set aside, see `files.set_aside`.
        ema: take the exponential moving average of the weights that a training checkpoint holds; None: if it does.

    Raises:
        ConfigError: unknown `arch`.
        WeightsError: a file cannot be read or written, holds no weights (or no average), or a key is left
            over, missing or of another shape. Nothing is written then.
    """
    destination = os.fspath(destination)
    if not destination.endswith(SUFFIXES):
        raise WeightsError(
            f"cannot tell the format of {destination}; end its name in {' or '.join(SUFFIXES)}"
        )
    converted, report = read_converted(source, arch, ema)
    write_weights(destination, converted, keep=True)
    return report


def read_converted(source: StrPath, arch: str, ema: bool | None = False) -> tuple[State, ConversionReport]:
    """Return the weights in `source` as `convert_file` writes them, and its report."""
    source = os.fspath(source)
    section, average, state = _read(source, ema)
    try:
        converted, report = _convert(_without_prefixes(state), arch, is_ours=source.endswith(".pdparams"))
    except WeightsError as error:
        raise WeightsError(f"{source}: {error}") from None
    return converted, report._replace(section=section, ema=average)


def require_weights(path: StrPath) -> None:
    """Raise WeightsError if the file `path` holds no weights in a format that `convert_file` reads."""
    _read(os.fspath(path), None)


def is_foreign(state: Mapping[str, Any], arch: str) -> bool:
    """Return whether the keys of `state` are torch's or timm's names of the network `arch`, not ours."""
    forms = [form for form in MODELS.get(arch).family.weight_names if form.is_torch and form.marker]
    return any(
        key.endswith(".running_mean") or any(re.search(form.marker, key) for form in forms) for key in state
    )


def _convert(state: Mapping[str, Any], arch: str, is_ours: bool = False) -> tuple[State, ConversionReport]:
    """Convert as `convert_state_dict` does, and report.

    `is_ours`: PaddleClas' or this project's names, which the keys of a network without batch norm leave open.
    """
    name, variant = MODELS.canonical(arch), MODELS.get(arch)
    forms = (PADDLECLAS,) if is_ours else variant.family.weight_names
    form = next((form for form in forms if any(re.search(form.marker, key) for key in state)), forms[-1])
    ignored = tuple(key for key in state if key.endswith(".num_batches_tracked"))
    renamed: State = {}
    for key, value in state.items():
        if key in ignored:
            continue
        new_key, value = form.rename(key), np.asarray(value)
        if form.is_torch:
            new_key, value = _OF_BATCH_NORM(new_key), value.T if value.ndim == 2 else value
        if new_key in renamed:
            raise WeightsError(
                f"two keys of these weights mean {new_key}, {key} among them; give one network's"
            )
        renamed[new_key] = value
    report = compare_keys(renamed, key_shapes(variant(**variant.family.weight_options(renamed))))
    if not report.fits:
        raise WeightsError(
            f"these weights, read as {form.owner}, are not those of {name}: {report}; "
            "give the name they were trained as"
        )
    not_float = next((key for key, value in renamed.items() if value.dtype.kind != "f"), None)
    if not_float:
        raise WeightsError(f"{not_float} is {renamed[not_float].dtype}; give the weights before quantisation")
    # The first copy: a damaged file may claim any shape, and those of the network are checked by now.
    converted: State = {key: value.astype(np.float32, order="C", copy=True) for key, value in renamed.items()}
    return converted, ConversionReport(report, form.owner, ignored)


def _read(path: str, ema: bool | None) -> tuple[str, str, Mapping[str, Any]]:
    """Return (section, section of the averaged weights, {key: array}) of the checkpoint `path`."""
    if path.endswith(TORCH_SUFFIXES):
        return _read_torch(path, ema)
    if ema:
        raise WeightsError(
            f"{path} is no training checkpoint, so it holds no averaged weights; leave --ema out"
        )
    if path.endswith(".npz"):
        return "", "", _read_npz(path)
    if path.endswith(SUFFIXES):
        return "", "", read_weights(path)
    raise WeightsError(
        f"cannot tell the format of {path}; its name should end in one of {', '.join(FORMATS)}"
    )


def _read_torch(path: str, ema: bool | None) -> tuple[str, str, State]:
    content = load_torch_file(path)
    if not isinstance(content, dict):
        raise WeightsError(
            f"{path} holds {_describe(content)}; in torch, save the state_dict() of the module"
        )
    section, average = _find(content, _SECTIONS), _find(content, _EMA_SECTIONS)
    ema = bool(average) if ema is None else ema
    if ema and not average:
        raise WeightsError(f"{path} holds no averaged weights ({', '.join(_EMA_SECTIONS)}); leave --ema out")
    if average and not ema and not section:
        raise WeightsError(f"{path} holds averaged weights only ({average}); add --ema to take them")
    if ema:
        section = average
    state = content[section] if section else content
    return section, average, _arrays(path, state, section)


def _find(content: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """Return the first of `names` under which a checkpoint has tensors, or ""."""
    for name in names:
        entry = content.get(name)
        if isinstance(entry, dict) and any(isinstance(value, _TENSORS) for value in entry.values()):
            return name
    return ""


def _arrays(path: str, state: Mapping[str, Any], section: str) -> State:
    arrays: State = {}
    with reading_torch(path):
        for key, value in state.items():
            if not isinstance(key, str) or not isinstance(value, _TENSORS):
                where = f"{section}: " if section else ""
                known = ", ".join((*_SECTIONS, *_EMA_SECTIONS))
                raise WeightsError(
                    f"{where}{key!r} is {_describe(value)}, not a tensor; "
                    f"expected a state dict, or a checkpoint that has one as {known}"
                )
            arrays[key] = value.numpy()
    if not arrays:
        raise WeightsError(f"{path} holds no weights; give the checkpoint of a trained network")
    return arrays


def _describe(value: object) -> str:
    if isinstance(value, type) and issubclass(value, Unknown):
        value = value()
    if isinstance(value, Unknown):
        return f"a pickled {' '.join(value.origin.split())[:80]}"
    return f"a {type(value).__name__}"


def _read_npz(path: str) -> State:
    with reading(path, ".npz file"), open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
        unpacked, packed = sum(entry.file_size for entry in archive.zip.infolist()), os.path.getsize(path)
        if unpacked > max(_ALWAYS_UNPACKED, _MOST_PACKED * packed):
            raise WeightsError(f"its {packed} bytes unpack to {unpacked}, which trained weights never do")
        return {key: archive[key] for key in archive.files}


def _without_prefixes(state: Mapping[str, Any]) -> dict[str, Any]:
    stripped: dict[str, Any] = {}
    for key, value in state.items():
        new_key = key
        while new_key.startswith(_PREFIXES):
            new_key = new_key.split(".", 1)[1]
        if new_key in stripped:
            raise WeightsError(f"{key} and another key both mean {new_key}; save the network alone")
        stripped[new_key] = value
    return stripped
