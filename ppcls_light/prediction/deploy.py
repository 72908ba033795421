"""Reading of a deploy YAML, and construction of a `Predictor` from it."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import cast

from ..base.resources import labels_path
from ..bundle.folder import Bundle, read_bundle
from ..config import load_as
from ..config.deploy import MOVED_KEYS, DeployConfig, DeployGlobalConfig, moved
from ..config.postprocess import TAGS, PostProcess, bare, label_map
from ..config.sections import Plain
from ..config.values import EngineName, Precision
from ..data.classes import ClassNames, as_class_names, paddleclas_names, read_class_names
from ..errors import ConfigError
from .predictor import Predictor

logger = logging.getLogger(__name__)


def read_deploy_config(source: str | Plain, overrides: Sequence[str] = ()) -> DeployConfig:
    """Read a deploy YAML, PaddleClas' own or ours, or its sections as a dict; `overrides` as in `load_config`.

    Raises ConfigError: file:line, dotted path and fix, also for the two keys that have no default.
    """
    config = load_as(DeployConfig, source, overrides)
    for key in MOVED_KEYS:
        if getattr(config.Global, key) != getattr(DeployGlobalConfig, key):
            raise ConfigError(f"{config.place(f'Global.{key}')} {moved()}")
    for key, example in (("inference_model_dir", "./inference"), ("infer_imgs", "photo.jpg or a folder")):
        if not getattr(config.Global, key):
            file = config.where(f"Global.{key}")
            raise ConfigError(
                f"{file}{': ' if file else ''}Global.{key} is not set; add -o Global.{key}={example}"
            )
    return config


def _precision(config: DeployConfig) -> Precision:
    run = config.Global
    if run.use_fp16 and run.precision not in ("fp32", "fp16"):
        raise ConfigError(
            f"{config.where('Global.precision')}: Global.precision={run.precision} and Global.use_fp16=True exclude "
            "each other; leave one of them out"
        )
    return "fp16" if run.use_fp16 else run.precision


def _engine(config: DeployConfig) -> EngineName | None:
    run = config.Global
    if run.cpu_ops:
        return run.engine
    logger.info("Global.cpu_ops: false is of earlier versions; Global.engine: paddle takes its place")
    return run.engine or "paddle"


def _described(kind: PostProcess) -> str:
    """Return a kind of answer with its threshold, if it has one."""
    threshold = getattr(kind, "limit", None)
    return kind.name if threshold is None else f"threshold {threshold}"


def predictor_from_config(config: DeployConfig) -> Predictor:
    """Return the `Predictor` of a DeployConfig: the folder's own settings, with the YAML's laid over them."""
    run = config.Global
    bundle = read_bundle(cast(str, run.inference_model_dir))
    kind = config.PostProcess.of(bundle.postprocess)
    if bundle.chosen is not None and getattr(kind, "threshold", None) != bundle.chosen.threshold:
        logger.info(
            "PostProcess: %s counts, not the threshold %s that %s chose",
            *(_described(kind), bundle.chosen.threshold, bundle.chosen.rule),
        )
    path, delimiter, listed = label_map(kind)
    class_names = None if listed is None else as_class_names(listed, f"PostProcess.{kind.name}.label_list")
    if isinstance(kind, tuple(TAGS)) and bundle.class_names is not None:
        path = None  # the tags' usual names are for folders without any
    mapped = None if path is None else _mapped_names(path, delimiter, bundle)
    if mapped is not None and class_names is not None:
        class_names.require_same(mapped, "leave one of them out")
    return Predictor(
        bundle,
        device="gpu" if run.use_gpu else "cpu",
        batch_size=run.batch_size,
        transform_ops=config.PreProcess.transform_ops,
        postprocess=bare(kind),
        class_names=mapped or class_names,
        gpu_mem=run.gpu_mem,
        cpu_threads=run.cpu_num_threads,
        onednn=run.enable_mkldnn,
        engine=_engine(config),
        precision=_precision(config),
        use_tensorrt=run.use_tensorrt,
        ir_optim=run.ir_optim,
        profile=run.enable_profile,
    )


def _mapped_names(path: str, delimiter: str | None, bundle: Bundle) -> ClassNames | None:
    """Return the names of a label map; for a list of PaddleClas that is not there the package's.

    Not for a folder that was exported here from a training without names: nobody knows that it is of those classes.
    None, with a warning, for a file that is not there where the folder has names of its own.
    """
    path = labels_path(path)
    nameless = bundle.class_num is not None and bundle.class_names is None
    packaged = None if nameless else paddleclas_names(path)
    if packaged is None and bundle.class_names is not None and not os.path.exists(path):
        logger.warning("PostProcess.class_id_map_file: no such file: %s; the names are the folder's", path)
        return None
    if packaged is None:
        return read_class_names(path, delimiter)
    logger.info("PostProcess.class_id_map_file: %s is not there; the package has the same names", path)
    return packaged
