"""The random weights that a training from scratch begins with, against what the authors' code draws."""

import math

import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls_light.models import create_model


@pytest.mark.parametrize("name", ["FasterNet_T0", "EdgeNeXt_XX_Small"])
def test_a_normal_of_002_is_not_cut(name):
    """torch's trunc_normal_(std=0.02) cuts at -2 and 2, which is 100 of them."""
    paddle.seed(0)
    model = create_model(name, class_num=10)
    layers = [layer for layer in model.sublayers() if isinstance(layer, (nn.Conv2D, nn.Linear))]
    weights = np.concatenate([layer.weight.numpy().ravel() for layer in layers]) / 0.02
    count = len(weights)
    assert count > 1e6
    assert weights.std() == pytest.approx(1, abs=5 / math.sqrt(2 * count))
    # The share of a normal beyond 2 is erfc(sqrt 2) = 4.55 %, with a standard error of sqrt(p / n).
    share = math.erfc(math.sqrt(2))
    assert np.mean(np.abs(weights) > 2) == pytest.approx(share, abs=5 * math.sqrt(share / count))
    assert not any(np.any(layer.bias.numpy()) for layer in layers if layer.bias is not None)


@pytest.mark.parametrize("class_num", [10, 1000])
def test_timms_lcnet_starts_as_timms(class_num):
    """By timm's efficientnet_init_weights: fan-out of a group for convolutions, of all outputs for the classifier."""
    paddle.seed(0)
    model = create_model("lcnet_100", class_num=class_num)
    for name, layer in model.named_sublayers():
        if not isinstance(layer, (nn.Conv2D, nn.Linear)):
            continue
        weights = layer.weight.numpy()
        if isinstance(layer, nn.Linear):
            std = 1 / math.sqrt(3 * class_num)  # of an even distribution to 1 / sqrt(outputs)
            assert np.abs(weights).max() <= 1 / math.sqrt(class_num)
        else:
            groups = weights.shape[0] if weights.shape[1] == 1 and weights.shape[0] > 1 else 1
            std = math.sqrt(2 / (weights.shape[0] // groups * weights.shape[2] * weights.shape[3]))
        # The standard error of a standard deviation is that over sqrt(2 n).
        assert weights.std() == pytest.approx(std, rel=5 / math.sqrt(2 * weights.size)), name
        assert abs(weights.mean()) <= 5 * std / math.sqrt(weights.size), name
        if layer.bias is not None:
            assert not layer.bias.numpy().any(), name


def test_paddleclas_networks_start_as_paddleclas():
    """Its KaimingNormal: variance 2 / inputs."""
    paddle.seed(0)
    weights = create_model("PPLCNet_x1_0").blocks6[1].pw_conv.conv.weight.numpy()
    assert weights.std() == pytest.approx(math.sqrt(2 / 512), rel=5 / math.sqrt(2 * weights.size))
