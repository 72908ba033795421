"""Class activation maps and gradients of a Paddle network.

The networks of this package pool the map of one layer (`family.Family.last_map`) over its positions and classify the
result. The gradient of a logit by that map is therefore the same at every position, and the map that it weighs is the
first order of the logit in the pooled features: CAM (Zhou et al., arXiv 1512.04150) itself where a linear classifier
alone follows, and Grad-CAM and HiResCAM agree. In a layer before (`family.Family.finer_map`) it differs from position
to position, which LayerCAM takes into account.

Every function takes a network in eval mode, images float32 (N, C, H, W) and classes (N,), and returns maps float32
(N, h, w), of which positive values speak for the class.
"""

from __future__ import annotations

import numpy as np
import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F

from ..errors import ConfigError
from .overlay import enlarged

BATCH = 32  # images in a pass
_SAMPLES = 25  # noisy copies of SmoothGrad
_NOISE = 0.15  # their standard deviation over the range of the image


def gradcam(model: nn.Layer, layer: nn.Layer, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Weigh the channels of the layer's map with the mean of the logit's gradient over its positions.

    Source: Selvaraju et al., arXiv 1610.02391, equations 1 and 2, without their ReLU.
    """
    activations, gradients = _map_and_gradient(model, layer, images, classes)
    return (gradients.mean(axis=(2, 3), keepdims=True) * activations).sum(axis=1)


def layercam(model: nn.Layer, layer: nn.Layer, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Weigh each place of each channel with its own gradient, if that is positive; for layers with finer maps, too.

    Source: Jiang et al., LayerCAM, IEEE TIP 2021, equations 4 to 6.
    """
    activations, gradients = _map_and_gradient(model, layer, images, classes)
    return (np.maximum(gradients, 0) * activations).sum(axis=1)


def scorecam(model: nn.Layer, layer: nn.Layer, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Weigh the channels by the logit of the image that is seen through each, a pass per channel and no gradient.

    Source: Wang et al., arXiv 1910.01279, algorithm 1: a channel, enlarged and brought to [0, 1], multiplies the image;
    the weights are the softmax of the logits over the channels.
    """
    with paddle.no_grad():
        return np.stack([_score_map(model, layer, *pair) for pair in zip(images, classes.tolist())])


def _score_map(model: nn.Layer, layer: nn.Layer, image: np.ndarray, label: int) -> np.ndarray:
    channels = _run_and_keep(model, layer, paddle.to_tensor(image[None]))[1][0].numpy()
    low, high = channels.min(axis=(1, 2)), channels.max(axis=(1, 2))
    seen = channels[high > low]  # one that is the same everywhere hides nothing
    if not len(seen):
        return np.zeros(channels.shape[1:], np.float32)
    scores = []
    for start in range(0, len(seen), BATCH):
        part = seen[start : start + BATCH]
        masks = np.stack([enlarged(channel, *image.shape[1:]) for channel in part])
        low, high = masks.min(axis=(1, 2), keepdims=True), masks.max(axis=(1, 2), keepdims=True)
        masked = image * ((masks - low) / np.maximum(high - low, 1e-12))[:, None]
        logits = model(paddle.to_tensor(masked))
        scores.append(_scores(logits, np.full(len(masked), label)))
    weights = F.softmax(paddle.concat(scores), axis=0).numpy()
    return np.tensordot(weights, seen, axes=1)


def smoothgrad(model: nn.Layer, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Average the logit's gradient by the pixels over noisy copies; the greatest absolute value of the channels.

    Source: Smilkov et al., arXiv 1706.03825, sections 3 and 4: noise of 15 % of the image's range, and values above
    the 99th percentile are cut to it. The noise is the same for every image.
    """
    noise = np.random.default_rng(0).standard_normal((_SAMPLES, *images.shape[1:]), np.float32)
    maps = []
    for image, label in zip(images, classes.tolist()):
        deviation = _NOISE * (image.max() - image.min())
        noisy = paddle.to_tensor(image + deviation * noise, stop_gradient=False)
        scores = _scores(model(noisy), np.full(_SAMPLES, label))
        (gradients,) = paddle.grad(scores.sum(), noisy)
        heat = np.abs(gradients.numpy().mean(axis=0)).max(axis=0)
        maps.append(np.minimum(heat, np.percentile(heat, 99)))
    return np.stack(maps)


def _scores(logits: Tensor, classes: np.ndarray) -> Tensor:
    """Return the logit of each image's class, (N,) in float32."""
    logits = logits.astype("float32")
    chosen = F.one_hot(paddle.to_tensor(classes), logits.shape[1])
    return (logits * chosen).sum(axis=1)


def _map_and_gradient(
    model: nn.Layer, layer: nn.Layer, images: np.ndarray, classes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the output of `layer`, float32 (N, K, h, w), and the gradient of the classes' logits by it."""
    activations, gradients = [], []
    for start in range(0, len(images), BATCH):
        # A network that is frozen computes gradients of its input alone.
        part = paddle.to_tensor(images[start : start + BATCH], stop_gradient=False)
        logits, output = _run_and_keep(model, layer, part)
        (gradient,) = paddle.grad(_scores(logits, classes[start : start + BATCH]).sum(), output)
        activations.append(output.numpy())
        gradients.append(gradient.numpy())
    return np.concatenate(activations), np.concatenate(gradients)


def _run_and_keep(model: nn.Layer, layer: nn.Layer, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits of `images` and the output of `layer` on their way.

    Raises ConfigError: that is no map (N, K, h, w), or the network does not ask the layer.
    """
    kept: list[Tensor] = []
    hook = layer.register_forward_post_hook(lambda _, inputs, output: kept.append(output))
    try:
        logits = model(images)
    finally:
        hook.remove()
    if not kept:
        raise ConfigError("the network does not ask this layer itself; name one inside it, or leave it out")
    shape = getattr(kept[-1], "shape", [])
    if len(shape) != 4:
        raise ConfigError(
            f"this layer gives {list(shape)} to {len(images)} images, and no map (N, K, h, w); name one before it, or "
            "leave it out"
        )
    return logits, kept[-1]
