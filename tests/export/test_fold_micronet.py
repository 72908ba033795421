"""MicroNet folded: the same function, without a channel shuffle."""

import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls_light.export.fold.micronet import FoldedBlock, group_order, rotation_order
from ppcls_light.export.fold.steps import fold
from ppcls_light.models import create_model
from ppcls_light.models.micronet import LAYOUTS, ChannelShuffle, DYShiftMax


def outputs(model, size=64):
    images = np.random.default_rng(1).normal(size=(2, 3, size, size)).astype("float32")
    model.eval()
    with paddle.no_grad():
        result = model(paddle.to_tensor(images))
    return [tensor.numpy() for tensor in (result if isinstance(result, list) else [result])]


def assert_same(folded, model):
    for got, expected in zip(outputs(folded), outputs(model)):
        assert np.linalg.norm(got - expected) < 1e-5 * np.linalg.norm(expected)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_same_logits_without_shuffles(layout, randomise):
    model = randomise(create_model(f"MicroNet_{layout}", class_num=10))
    before = {key: value.numpy().copy() for key, value in model.state_dict().items()}
    folded = fold(model, ["micronet"])
    kinds = {type(layer) for layer in folded.sublayers()}
    assert not kinds & {ChannelShuffle, DYShiftMax, nn.BatchNorm2D, nn.BatchNorm1D}
    assert_same(folded, model)
    for key, value in model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[key], err_msg=key)


def test_expanding_convolutions_with_relu6_keep_their_groups():
    """As LAYOUTS has them; those with a Dynamic Shift-Max become dense."""
    kept = {}
    for layout in LAYOUTS:
        folded = fold(create_model(f"MicroNet_{layout}", class_num=10), ["micronet"])
        convolutions = [layer for layer in folded.sublayers() if isinstance(layer, nn.Conv2D)]
        kept[layout] = [
            layer._groups for layer in convolutions if layer._kernel_size == [1, 1] and layer._groups > 1
        ]
    assert kept == {"M0": [], "M1": [], "M2": [], "M3": [6, 8, 8, 8, 10, 10, 12, 12]}


def test_feature_maps_keep_their_order(randomise):
    model = randomise(create_model("MicroNet_M2", features_only=True))
    assert_same(fold(model), model)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_block_gives_its_channels_in_the_published_order(layout, randomise):
    """By itself, so that an error cannot cancel, and with coefficients at both ends of their range."""
    model = randomise(create_model(f"MicroNet_{layout}", class_num=10))
    folded = fold(model, ["batch_norm", "micronet"])
    model.eval()
    rng = np.random.default_rng(0)
    for block, new in zip(list(model.features)[1:], list(folded.features)[1:]):
        assert isinstance(new, FoldedBlock)
        first = next(layer for layer in block.sublayers() if isinstance(layer, nn.Conv2D))
        x = paddle.to_tensor(3 * rng.normal(size=(2, first._in_channels, 10, 10)).astype("float32"))
        with paddle.no_grad():
            got, expected = new(x).numpy(), block(x).numpy()
        assert np.linalg.norm(got - expected) < 1e-5 * np.linalg.norm(expected)


@pytest.mark.parametrize(("groups", "channels"), [(4, 16), (8, 4), (6, 24), (12, 60), (1, 5)])
def test_rotation_order(groups, channels):
    count = groups * channels
    shift = np.roll(np.arange(count).reshape(groups, channels), (-1, -1), axis=(0, 1)).ravel()
    order = rotation_order(shift)
    assert sorted(order) == list(range(count))
    places = np.argsort(order)[shift[order]] - np.arange(count)
    assert len(set(places % count)) == 1


@pytest.mark.parametrize(("groups", "channels"), [(4, 16), (6, 24), (10, 48), (12, 12), (5, 3)])
def test_group_order_makes_the_shift_three_slices(groups, channels):
    """The shift goes one group and one channel on, as it does after MicroNet's shuffle of a convolution in groups."""
    count = groups * channels
    places = np.arange(count).reshape(groups, channels)
    fused_with = np.roll(places, (-1, -1), axis=(0, 1)).ravel()
    order = group_order(nn.Conv2D(groups, count, 1, groups=groups))
    assert sorted(order) == list(range(count))
    cut = groups % channels
    wanted = [*range(channels, count), *range(cut, channels), *range(cut)]
    np.testing.assert_array_equal(np.argsort(order)[fused_with[order]], wanted)
