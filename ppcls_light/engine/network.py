"""Construction of the config's network with initial or trained weights, and choice of its CPU operators."""

from __future__ import annotations

import os
from typing import Any, Mapping

import paddle
from paddle import nn

from ..base import mkl
from ..base.hints import command
from ..compress import compression_report, prune, quantize
from ..config import Config
from ..config.arch import ArchConfig, DistillationArch
from ..config.bind import located
from ..config.global_section import GlobalConfig
from ..data.classes import ClassNames
from ..errors import ConfigError, WeightsError
from ..export.static import Recorded
from ..models import create_model
from ..models.distillation import DistillationModel
from ..ops import training as cpu_ops
from ..ops.build import BuildError
from ..weights import load_pretrained, load_weights, read_pretrained
from ..weights.cache import NotFetchedError
from ..weights.io import KeyReport
from ..weights.pretrained import require_there
from ..weights.published import IMAGENET_CLASSES, training, training_names
from .checkpoint import strip_suffix
from .distributed import Runtime
from .features import compared_layers
from .head_rows import keep_rows
from .log import LOGGER
from .preprocessing import check_published


def build_model(
    config: Config,
    weights: str | None = None,
    resumes: bool = False,
    names: ClassNames | None = None,
    embedding_sizes: Mapping[str, int] | None = None,
) -> nn.Layer:
    """Create the network of `config.Arch`, to be trained on classes of these `names` or with trained weights.

    Every key of trained `weights` (see `trained_weights`) must fit. None, for training, takes `Arch.pretrained` and
    `Global.pretrained_model`, whose head may be replaced when that is asked for; a run that `resumes` reads none, as
    its checkpoint brings all. `embedding_sizes` as in `DistillationModel`.

    Raises ConfigError, WeightsError: naming the key to change.
    """
    arch, settings = config.Arch, config.Global
    if weights:
        return _trained(config, weights)
    if isinstance(arch, DistillationArch):
        model = _create_several(config, arch, resumes, names, embedding_sizes or {})
    else:
        _warn_of_ssld("Arch", arch, arch.weights)
        model = _create(config, arch, "Arch", None if resumes else arch.weights, names)
    if settings.pretrained_model and not resumes:
        first = read_pretrained(settings.pretrained_model, arch.network.name)
        # A file without the other networks is one for the student to start from.
        alone = arch.teachers and student_weights(arch, first.state) is first.state
        if alone:
            _require_no_random_parts(config)
        target = model.student if alone else model
        report = load_weights(target, first.state, settings.reset_head, source=first.file.path)
        if settings.reset_head:
            _match_head(model.student if arch.teachers else model, config, first.state, names, report)
        first.log_loaded(report, settings.pretrained_model)
    if config.Slim.prune:
        if not (resumes or settings.pretrained_model or arch.weights):
            raise ConfigError(
                f"{config.place('Slim.prune')}: random filters have no importance; add "
                "-o Global.pretrained_model=FILE with the weights of a finished training"
            )
        whole, model = model, _pruned(config, model)
        LOGGER.info("Slim.prune: %s", compression_report(whole, model, settings.image_shape))
    if config.Slim.quant:
        quantize(model.student if arch.teachers else model, config.Slim.quant.name)
    return model


def _require_no_random_parts(config: Config) -> None:
    """Raise ConfigError where parts of a network are frozen that `Global.pretrained_model`, the student's, has not."""
    arch, head_epochs = config.Arch, config.Global.head_epochs
    for name in arch.teachers:
        own = arch.learning.get(name)
        if own and (own.freeze or head_epochs) and not arch.weights_of(name):
            key = f"{arch.path_of(name)}.freeze" if own.freeze else "Global.head_epochs"
            raise ConfigError(
                f"{config.place(key)}: Global.pretrained_model has weights of {arch.infer_model_name} alone, and "
                f"frozen ones of {name} would be random; give their file by pretrained_list, or leave this out"
            )


def _match_head(
    network: nn.Layer, config: Config, state: Mapping[str, Any], names: ClassNames | None, report: KeyReport
) -> None:
    """Match the rows of the classifier of `network`, which has `state`, with `names`; warn where that cannot be."""
    path = str(config.Global.pretrained_model)
    known = keep_rows(network, path, names, dict(student_weights(config.Arch, state)))
    if not (known or report.replaced):
        LOGGER.warning(
            "the classifier is that of %s, in the order of its classes: their names are not known on both sides",
            path,
        )


def _pruned(config: Config, model: nn.Layer) -> nn.Layer:
    assert config.Slim.prune
    with located(config.where("Slim.prune"), "Slim.prune"):
        return prune(model, config.Slim.prune.pruned_ratio, config.Slim.prune.name)


def _create(
    config: Config,
    arch: ArchConfig,
    path: str,
    pretrained: str | bool | None = None,
    names: ClassNames | None = None,
) -> nn.Layer:
    with located(config.where(f"{path}.pretrained"), path):
        check_published(config, arch.name, pretrained)
        try:
            model = create_model(arch.name, class_num=arch.class_num, pretrained=pretrained, **arch.params)
        except NotFetchedError as problem:
            raise WeightsError(
                f"{problem}; or start without: -o {path}.pretrained=false, and for photos of your own "
                f"{command('lists')} FOLDER --scratch"
            ) from None
    if isinstance(pretrained, str):
        keep_rows(model, pretrained, names)
    return model


def _warn_of_ssld(path: str, arch: ArchConfig, weights: str | bool | None) -> None:
    if arch.use_ssld and weights != "ssld":
        LOGGER.warning(
            "%s.use_ssld has no effect: it chooses among published weights; add -o %s.pretrained=true, or leave it out",
            *(path, path),
        )


def _create_several(
    config: Config,
    arch: DistillationArch,
    resumes: bool,
    names: ClassNames | None,
    embedding_sizes: Mapping[str, int],
) -> DistillationModel:
    networks = {}
    for name, own in arch.networks.items():
        path, weights = arch.path_of(name), arch.weights_of(name)
        frozen = name in arch.frozen and not resumes
        _warn_of_ssld(path, own, weights)
        if frozen and not weights:
            raise ConfigError(
                f"{config.place('Arch.freeze_params_list')}: {name} is frozen but has no weights, and a random "
                f"teacher teaches nothing; train {own.name} on these classes first with -o Global.output_dir="
                f"output/{own.name} and then add -o {path}.pretrained=output/{own.name}/best_model"
            )
        networks[name] = _create(config, own, path, None if resumes or frozen else weights, names)
        if frozen:
            with located(config.where("Arch.pretrained_list"), f"the weights of {name}, which is frozen"):
                load_pretrained(networks[name], weights or True)  # every key: a teacher gets no new head
    layers = compared_layers(config, arch, networks)
    return DistillationModel(networks, arch.frozen, arch.infer_model_name, embedding_sizes, layers)


def student_weights(arch: ArchConfig | DistillationArch, state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the student's part of `state`, weights by key, under its own keys.

    A distillation's checkpoint holds every network, `<name>.<key>`. Anything else is the student's already,
    or that of the one network there is.
    """
    prefix = f"{arch.infer_model_name}."
    if not (arch.teachers and any(key.startswith(prefix) for key in state)):
        return state
    return {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}


def _trained(config: Config, path: str) -> nn.Layer:
    """Return the network that is evaluated, with all of its weights from `path`."""
    model = _create(config, config.Arch.network, "Arch")
    check_published(config, config.Arch.network.name, path)
    # How many channels are left does not depend on the weights.
    if config.Slim.prune:
        model = _pruned(config, model)
    if config.Slim.quant:
        quantize(model, config.Slim.quant.name)
    weights = read_pretrained(path, config.Arch.network.name)
    report = load_weights(model, student_weights(config.Arch, weights.state), source=weights.file.path)
    weights.log_loaded(report, path)
    return model


def trained_weights(config: Config) -> str:
    """Return the weights to evaluate, infer or export with: a path, an address or the name of a published training.

    `Global.checkpoints` counts as much as `Global.pretrained_model`: PaddleClas ignores it there and scores
    random weights. The config of a fine-tuning run names the weights that it began with, so of two keys the
    one given by `-o` counts.

    Raises:
        ConfigError: both keys are given in the same place.
        WeightsError: no weights are given, since results of random ones would look like results, or a path without any.
    """
    settings = config.Global
    checkpoints, pretrained = settings.checkpoints, settings.pretrained_model
    if checkpoints and pretrained:
        options = [config.where(f"Global.{key}")[:3] == "-o " for key in ("checkpoints", "pretrained_model")]
        if options[0] == options[1]:
            raise ConfigError(
                "Global.checkpoints and Global.pretrained_model are both given; name the weights that are meant by "
                "one of them: -o Global.checkpoints=null or -o Global.pretrained_model=null"
            )
        pretrained = None if options[0] else pretrained
    if pretrained:
        require_there(pretrained, config.Arch.network.name)
        return pretrained
    if checkpoints == "auto":
        for name in ("best_model", "latest"):
            prefix = os.path.join(settings.output_dir, name)
            if os.path.isfile(f"{prefix}.pdparams"):
                return prefix
        raise WeightsError(
            f"Global.checkpoints: auto: neither best_model nor latest in {settings.output_dir}; train first, "
            "or name the weights: -o Global.pretrained_model=FILE"
        )
    if checkpoints:
        return strip_suffix(checkpoints)
    if config.Arch.weights:
        return _first_weights(config)
    raise WeightsError(
        "no weights are given, and random ones would look like a result; add -o Global.pretrained_model=FILE, "
        f"for example -o Global.pretrained_model={os.path.join(settings.output_dir, 'best_model')}"
    )


def _first_weights(config: Config) -> str:
    """Return the weights of `Arch.pretrained`, to be evaluated. Raises WeightsError: they are of other classes."""
    weights, arch = config.Arch.weights, config.Arch.network
    if isinstance(weights, str) and weights not in training_names():
        return weights
    if arch.class_num != IMAGENET_CLASSES:
        raise WeightsError(
            f"{config.place('Arch.pretrained')}: published weights know ImageNet's {IMAGENET_CLASSES} classes, and "
            f"Arch.class_num is {arch.class_num}; for a training of your own add -o Global.checkpoints=auto"
        )
    return training(arch.name).name if weights is True else str(weights)


class StaticGraph(nn.Layer):
    """Network whose forward pass in training runs as a compiled graph, one per shape of its input.

    `network` keeps its state dict, evaluates, is copied and exported as ever: only this wrapper is compiled. A
    distillation's networks run one after the other, so that each draws the dropout that it draws without a graph.

    Raises ConfigError: FLAGS_use_mkldnn is on, with which Paddle's compiled backward pass dies of a signal.
    """

    def __init__(self, network: nn.Layer) -> None:
        super().__init__()
        if paddle.get_flags("FLAGS_use_mkldnn")["FLAGS_use_mkldnn"]:
            raise ConfigError("Global.to_static: Paddle crashes with FLAGS_use_mkldnn; unset that variable")
        if isinstance(network, DistillationModel):
            # Paddle runs independent operators in any order, and each draws the next random numbers.
            paddle.set_flags({"FLAGS_new_executor_serial_run": True})
        # A network of this package has no condition on values, see `Recorded`: translating its source takes seconds.
        own = type(network).__module__.startswith("ppcls_light.")
        self.network = Recorded(network) if own else network
        self.forward = paddle.jit.to_static(self.forward, full_graph=True)  # type: ignore[method-assign]

    def forward(self, images: paddle.Tensor) -> Any:
        return self.network(images)


def choose_operators(settings: GlobalConfig, runtime: Runtime) -> None:
    """Train on the project's operators for CPU when `settings` want it and it is possible; log the choice."""
    cpu_ops.disable()
    if runtime.device != "cpu":
        return
    if mkl.helps():
        LOGGER.info("kernels of MKL: %s", mkl.kernels())
    if settings.to_static or not settings.cpu_ops:
        reason = "Global.to_static: true" if settings.to_static else "Global.cpu_ops: false"
        LOGGER.info("CPU operators: Paddle's (%s)", reason)
        return
    try:
        threads = cpu_ops.enable()
    except BuildError as problem:
        LOGGER.warning("CPU operators: Paddle's, which train slower: %s", problem)
    else:
        LOGGER.info(
            "CPU operators: the project's convolution, norms and attention; threads: %d",
            threads,
        )
