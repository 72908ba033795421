"""Published networks for a purpose, by name: fetched, exported once and kept as a folder that every engine runs."""

from __future__ import annotations

import dataclasses
import logging
import os
import tempfile

from .. import __version__
from ..base.cache import HOME_VARIABLE, cache_folder
from ..base.call import call_in_process
from ..base.download import sole_process
from ..bundle.folder import CONFIG_FILE, read_bundle
from ..config import Config
from ..config.arch import ArchConfig
from ..config.dataloader import DataLoaderConfig
from ..errors import ConfigError, UserError
from ..registry import nearest
from ..weights import read_weights
from ..weights.pretrained import fetched
from ..weights.scenarios import PREFIX, Scenario, find_scenario, list_scenarios
from .settings import assignment

logger = logging.getLogger(__name__)


class _CacheError(ConfigError):
    """The folder of the exports cannot be written."""


def model_path(name: str) -> str:
    """Return the exported folder of the scenario `name`, such as PULC_person_exists; any other `name` is a path.

    A file or folder of that name comes first. The weights are fetched, and exported into the cache, where they are not
    yet there; see `weights/published.yaml` and `configs/pulc/`.

    Raises WeightsError: no address gives the weights, or they are not those of the network. ConfigError: the name
    begins like a scenario's and is none.
    """
    if os.path.exists(name) or os.path.isfile(f"{name}.pdparams"):
        return name
    row = find_scenario(name)
    if row is not None:
        return _exported(row)
    names = [each.name for each in list_scenarios()]
    if name.startswith(PREFIX):
        raise ConfigError(
            f"no scenario is called {name}{nearest(name, names) or '; there are ' + ', '.join(names)}"
        )
    close = nearest(name, [*names, *(each.replace(PREFIX, "", 1) for each in names)])
    if close and os.path.basename(name) == name:
        raise ConfigError(f"{name}: neither a folder nor a scenario{close}")
    return name


def _exported(row: Scenario) -> str:
    weights = fetched(row)
    folder = os.path.join(cache_folder("scenarios"), f"{row.name}-{weights.sha256[:12]}-{__version__}")
    if not _is_exported(folder):  # also where the cache is only read
        try:
            with sole_process(folder, _CacheError):
                if not _is_exported(folder):
                    logger.info("%s: exporting it to %s, once", row.name, folder)
                    # In a process of its own: the caller's log, device and random numbers stay as they are.
                    call_in_process(_export, row, weights.path, folder, task=f"{row.name} cannot be exported")
        except _CacheError as problem:
            raise ConfigError(f"{problem}; {HOME_VARIABLE} names another folder") from None
    return folder


def _is_exported(folder: str) -> bool:
    try:
        bundle = read_bundle(folder)
        bundle.verify_checksums(bundle.graph_file, bundle.params_file)
    except UserError:  # not there, or a part of it is gone or damaged: it is made anew
        return False
    return os.path.isfile(os.path.join(folder, CONFIG_FILE))


def _export(row: Scenario, weights: str, folder: str) -> None:
    from .. import jobs

    with tempfile.TemporaryDirectory() as scratch:
        jobs.export(_config(row, weights, folder, scratch))


def _config(row: Scenario, weights: str, folder: str, scratch: str) -> Config:
    """Return the config that exports `weights` to `folder`: that of the training, without its data."""
    places = {
        "Global.pretrained_model": weights,
        "Global.save_inference_dir": folder,
        "Global.output_dir": scratch,
    }
    config = row.load_config(assignment(key, path) for key, path in places.items())
    from ..models import variant

    assert isinstance(config.Arch, ArchConfig)
    assert config.DataLoader.Eval is not None  # whose transforms are those of a single picture
    infer = dataclasses.replace(config.Infer, transforms=config.DataLoader.Eval.dataset.transform_ops)
    # The files are the authority: what was published about the head of two of them contradicts itself.
    shown = variant(config.Arch.network.name).family.weight_options(read_weights(weights))
    head = {key: value for key, value in shown.items() if key != "class_num"}
    arch = dataclasses.replace(config.Arch, params={**config.Arch.params, **head})
    return dataclasses.replace(config, Arch=arch, Infer=infer, DataLoader=DataLoaderConfig())
