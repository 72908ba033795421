"""Trained network before its export as a `Predictor`: the same rows and embeddings, without files of a graph."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import Any, Callable, Iterator

import numpy as np
import paddle
from paddle import nn

from ..bundle.folder import WEIGHTS_FORMAT, Bundle
from ..config import Config
from ..config.postprocess import bare
from ..errors import DeviceError
from ..explanation.heat_maps import probabilities
from ..export import static
from ..export.export import weights_checksum
from ..models.embedding import logits_and_embeddings
from ..prediction.predictor import Predictor
from ..runtime.options import EngineOptions
from ..weights.io import weights_file
from .answering import answering
from .classes import class_names
from .distributed import require_device
from .log import silence
from .network import build_model, trained_weights
from .readers import inference_transforms


def trained_predictor(config: Config, **options: Any) -> Predictor:
    """Return a Predictor of the network of `config` with its trained weights, see `network.trained_weights`.

    Its rows are those of `infer` and, to 1e-5, of the export; it has embeddings whatever `Global.embedding` says.
    `options` are those of `Predictor`. There is one engine, Paddle in fp32: "auto" is that, and another is refused.

    Raises ConfigError, WeightsError: see `build_model`. DeviceError: another engine, or no such device.
    """
    weights = trained_weights(config)
    config, chosen = answering(config, weights)
    names, transforms = class_names(config, weights), list(inference_transforms(config))
    network = _Trained(config, weights)
    folder, name = os.path.split(weights_file(weights))
    bundle = Bundle(
        folder or ".",
        WEIGHTS_FORMAT,
        transforms,
        postprocess=bare(config.postprocess),
        chosen=chosen,
        class_names=names,
        further=["embedding"],
        multilabel=config.multilabel,
        class_num=config.Arch.class_num,
        image_shape=list(config.Global.image_shape),
        model_name=config.Arch.network.name,
        weights=weights_checksum(network.layer),
        stem=os.path.splitext(name)[0],
    )
    for key, only in (("engine", "paddle"), ("precision", "fp32")):
        if options.get(key) == "auto":
            options[key] = only
    return Predictor(bundle, make_engine=network, **options)


class _Trained:
    """Network of a config as a function that makes its engine; a copy by pickle reads the weights again."""

    def __init__(self, config: Config, weights: str) -> None:
        self._source = config, weights
        self.layer = build_model(config, weights)
        self.layer.eval()

    def __reduce__(self) -> tuple[Callable[..., _Trained], tuple[Config, str]]:
        return _copy, self._source

    def __call__(self, bundle: Bundle, options: EngineOptions) -> TrainedEngine:
        return TrainedEngine(self.layer, bundle, options)


def _copy(config: Config, weights: str) -> _Trained:
    """Return the network of another process, whose log has the lines about its weights."""
    with silence():
        return _Trained(config, weights)


class TrainedEngine:
    """Network in training code as a `runtime.engines.Engine`: class probabilities, and embeddings behind them.

    One thread at a time runs it. Raises DeviceError: what only an exported folder can do, or no such device.
    """

    def __init__(self, network: nn.Layer, bundle: Bundle, options: EngineOptions) -> None:
        if (options.engine, options.precision, options.use_tensorrt) != ("paddle", "fp32", False):
            raise DeviceError(
                f"{bundle.graph_file}: weights before an export run in Paddle in fp32, not on {options.title}; export "
                "them and load that folder"
            )
        require_device(options.device, options.gpu_id)
        if options.cpu_threads is not None:
            paddle.base.core.set_num_threads(options.cpu_threads)
        self.network, self.options, self._multilabel = network, options, bundle.multilabel
        self._device = "cpu" if options.device == "cpu" else f"gpu:{options.gpu_id}"
        network.to(device=self._device)
        self._running = threading.Lock()

    def run(self, images: np.ndarray) -> np.ndarray:
        """Return class probabilities float32 (N, class_num) of images (N, C, H, W)."""
        with self.alone():
            return probabilities(self.network, images, self._multilabel)

    def run_all(self, images: np.ndarray) -> list[np.ndarray]:
        """Return [class probabilities (N, class_num), embeddings (N, D)] of images (N, C, H, W), float32."""
        with self.alone(), paddle.no_grad():
            logits, embeddings = logits_and_embeddings(self.network, paddle.to_tensor(images))
            answers = static.probabilities(logits.astype("float32"), self._multilabel)
            return [answers.numpy(), embeddings.astype("float32").numpy()]

    def clone(self) -> TrainedEngine:
        """Return itself: threads wait for one another, as with every engine of Paddle."""
        return self

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other threads off the network in the block, and put new tensors on its device."""
        with self._running:
            before = paddle.get_device()
            if before != self._device:
                paddle.set_device(self._device)
            try:
                yield
            finally:
                if before != self._device:
                    paddle.set_device(before)
