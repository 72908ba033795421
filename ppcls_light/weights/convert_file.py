"""From a checkpoint of another project to a weights file of this one."""

import os
from typing import NamedTuple, Tuple

import numpy as np

from ..base.plain_pickle import PlainArray, reading
from ..errors import WeightsError
from .convert import convert
from .io import SUFFIXES, read_weights, write_weights
from .load import KeyReport
from .torch_file import TorchTensor, Unknown, load_torch_file, reading_torch

TORCH_SUFFIXES = (".pth", ".pt", ".tar", ".ckpt", ".bin")

# Where training scripts keep the weights in a checkpoint, and their exponential moving average.
_SECTIONS = ("state_dict", "model", "model_state_dict", "net", "network")
_EMA_SECTIONS = ("state_dict_ema", "model_ema", "ema_state_dict", "ema")

# What wrappers put before every key: DataParallel, Lightning modules, torch.compile.
_PREFIXES = ("module.", "model.", "_orig_mod.")

_TENSORS = (TorchTensor, PlainArray)

# Trained weights are hardly compressible; a few MB that unpack to many GB are an attack on the memory.
_ALWAYS_UNPACKED, _MOST_PACKED = 1 << 26, 32


class FileReport(NamedTuple):
    """What `convert_file` found and did.

    `section` is the checkpoint's entry that was converted ("" when the file is a state dict itself), `ema`
    the entry of averaged weights if there is one, `owner` whose names the keys had, `keys` the KeyReport,
    `ignored` the keys without meaning here.
    """

    section: str
    ema: str
    owner: str
    keys: KeyReport
    ignored: Tuple[str, ...]

    def __str__(self):
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


def convert_file(source, destination, arch, ema=False):
    """Convert the weights in `source` to those of the network `arch`, write them, return a `FileReport`.

    Args:
        source: `.pth`, `.pt`, `.pth.tar`, `.ckpt` or `.bin` of torch.save (torch is not needed),
            `.safetensors`, `.npz`, or PaddleClas' `.pdparams`. A training checkpoint is searched for its
            weights; the prefixes `module.`, `model.` and `_orig_mod.` are taken off the keys.
        destination: a `.pdparams` or `.safetensors` file, written atomically, float32. Other weights that are
            there are set aside, see `files.set_aside`.
        arch: see `convert_state_dict`.
        ema: take the exponential moving average of the weights that a training checkpoint holds.

    Raises:
        ConfigError: unknown `arch`.
        WeightsError: a file cannot be read or written, holds no weights (or no average), or a key is left
            over, missing or of another shape. Nothing is written then.
    """
    source, destination = os.fspath(source), os.fspath(destination)
    if not destination.endswith(SUFFIXES):
        raise WeightsError(
            f"cannot tell the format of {destination}; end its name in {' or '.join(SUFFIXES)}"
        )
    section, average, state = _read(source, ema)
    try:
        conversion = convert(_without_prefixes(state), arch, is_ours=source.endswith(".pdparams"))
    except WeightsError as error:
        raise WeightsError(f"{source}: {error}") from None
    write_weights(destination, conversion.state, keep=True)
    return FileReport(section, average, conversion.owner, conversion.report, conversion.ignored)


def _read(path, ema):
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
    known = ", ".join((*TORCH_SUFFIXES, ".npz", *SUFFIXES))
    raise WeightsError(f"cannot tell the format of {path}; its name should end in one of {known}")


def _read_torch(path, ema):
    content = load_torch_file(path)
    if not isinstance(content, dict):
        raise WeightsError(
            f"{path} holds {_describe(content)}; in torch, save the state_dict() of the module"
        )
    section, average = _find(content, _SECTIONS), _find(content, _EMA_SECTIONS)
    if ema and not average:
        raise WeightsError(f"{path} holds no averaged weights ({', '.join(_EMA_SECTIONS)}); leave --ema out")
    if average and not ema and not section:
        raise WeightsError(f"{path} holds averaged weights only ({average}); add --ema to take them")
    if ema:
        section = average
    state = content[section] if section else content
    return section, average, _arrays(path, state, section)


def _find(content, names):
    """Return the first of `names` under which a checkpoint has tensors, or ""."""
    for name in names:
        entry = content.get(name)
        if isinstance(entry, dict) and any(isinstance(value, _TENSORS) for value in entry.values()):
            return name
    return ""


def _arrays(path, state, section):
    arrays = {}
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


def _describe(value):
    if isinstance(value, type) and issubclass(value, Unknown):
        value = value()
    if isinstance(value, Unknown):
        return f"a pickled {' '.join(value.origin.split())[:80]}"
    return f"a {type(value).__name__}"


def _read_npz(path):
    with reading(path, ".npz file"), open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
        unpacked, packed = sum(entry.file_size for entry in archive.zip.infolist()), os.path.getsize(path)
        if unpacked > max(_ALWAYS_UNPACKED, _MOST_PACKED * packed):
            raise WeightsError(f"its {packed} bytes unpack to {unpacked}, which trained weights never do")
        return {key: archive[key] for key in archive.files}


def _without_prefixes(state):
    stripped = {}
    for key, value in state.items():
        new_key = key
        while new_key.startswith(_PREFIXES):
            new_key = new_key.split(".", 1)[1]
        if new_key in stripped:
            raise WeightsError(f"{key} and another key both mean {new_key}; save the network alone")
        stripped[new_key] = value
    return stripped
