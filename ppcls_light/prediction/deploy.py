"""Reading of a deploy YAML, and construction of a `Predictor` from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from ..config import load_as
from ..config.deploy import MOVED_KEYS, DeployConfig, DeployGlobalConfig, Precision, moved
from ..config.load import Plain
from ..data.classes import as_class_names, read_class_names
from ..errors import ConfigError
from .predictor import Predictor


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
            raise ConfigError(
                f"{config.where(f'Global.{key}')}: Global.{key} is not set; add -o Global.{key}={example}"
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


def predictor_from_config(config: DeployConfig) -> Predictor:
    """Return the `Predictor` of a DeployConfig: the folder's own settings, with the YAML's laid over them."""
    run, post = config.Global, config.PostProcess.merged()
    class_names = None
    if post.label_list is not None:
        class_names = as_class_names(post.label_list, "PostProcess.Topk.label_list")
    if post.class_id_map_file is not None:
        mapped = read_class_names(post.class_id_map_file, post.delimiter)
        if class_names is not None:
            class_names.require_same(mapped, "leave one of them out")
        class_names = mapped
    return Predictor(
        cast(str, run.inference_model_dir),
        device="gpu" if run.use_gpu else "cpu",
        batch_size=run.batch_size,
        transform_ops=config.PreProcess.transform_ops,
        topk=post.topk,
        class_names=class_names,
        gpu_mem=run.gpu_mem,
        cpu_threads=run.cpu_num_threads,
        onednn=run.enable_mkldnn,
        cpu_ops=run.cpu_ops,
        engine=run.engine,
        precision=_precision(config),
        use_tensorrt=run.use_tensorrt,
        ir_optim=run.ir_optim,
        profile=run.enable_profile,
    )
