"""The teachers, whose logits tests/parity compares with PaddleClas'."""

import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls_light.export.fold.steps import fold
from ppcls_light.models import create_model, list_models, published
from ppcls_light.models.profile import profile

SHALLOW = {"depths": (1, 2, 1, 1), "class_num": 3}


# PaddleClas, docs/zh_CN/models/ImageNet1k/README.md: multiply-adds (G), parameters (M).
@pytest.mark.usefixtures("zero_weights")
@pytest.mark.parametrize(
    ("name", "giga", "millions"), [("ResNet50_vd", 4.35, 25.63), ("ResNet101_vd", 8.08, 44.67)]
)
def test_params_and_multiply_adds(name, giga, millions):
    counted = profile(create_model(name))
    assert counted.params / 1e6 == pytest.approx(millions, rel=0.01)
    assert counted.multiply_adds / 1e9 == pytest.approx(giga, rel=0.01)


def test_teachers_are_listed_apart():
    assert list_models("*101*", teachers=True) == ["ResNet101_vd"]
    assert list_models("resnet*") == []
    assert not any("ResNet" in name for name in published())


def test_a_shortcut_averages_pairs_of_positions_before_it_is_projected():
    block = create_model("ResNet50_vd", **SHALLOW).blocks[1]
    for branch in (block.conv2, block.short):
        branch.eval()
    block.conv2.bn.weight.set_value(paddle.zeros_like(block.conv2.bn.weight))  # the shortcut alone
    block.eval()
    x = np.random.default_rng(0).normal(size=(1, 256, 6, 6)).astype("float32")
    means = x.reshape(1, 256, 3, 2, 3, 2).mean(axis=(3, 5))
    weight = block.short.conv.weight.numpy()[:, :, 0, 0]
    # Statistics of an untrained batch norm are 0 and 1.
    expected = np.einsum("oc,nchw->nohw", weight, means) / np.sqrt(1 + block.short.bn._epsilon)
    np.testing.assert_allclose(block(paddle.to_tensor(x)).numpy(), np.maximum(expected, 0), atol=1e-5)


@pytest.mark.parametrize("size", [64, 75])  # with odd borders of the pools
def test_all_batch_norms_fold(size):
    model = create_model("ResNet50_vd", **SHALLOW)
    images = paddle.to_tensor(np.random.default_rng(0).normal(size=(2, 3, size, size)).astype("float32"))
    model(images)  # in training mode, which moves the statistics
    folded = fold(model)
    assert not any(isinstance(layer, nn.BatchNorm2D) for layer in folded.sublayers())
    model.eval()
    expected = model(images).numpy()
    np.testing.assert_allclose(folded(images).numpy(), expected, atol=1e-4 * np.abs(expected).max())


def test_rates_and_strides_are_those_of_the_lists():
    factors = [0.0, 0.1, 0.2, 0.3, 0.4]
    strides = [2, [2, 1], [2, 1], [2, 1], [2, 1]]
    model = create_model("ResNet50_vd", lr_mult_list=factors, stride_list=strides, **SHALLOW)
    for key, parameter in model.named_parameters():
        part, _, index = key.partition(".")
        stage = (
            0 if part == "stem" else (1, 2, 2, 3, 4)[int(index.split(".")[0])] if part == "blocks" else None
        )
        if not parameter.stop_gradient:
            assert parameter.optimize_attr["learning_rate"] == (1.0 if stage is None else factors[stage]), key
    features = create_model("ResNet50_vd", stride_list=strides, features_only=True, depths=(1, 1, 1, 1))
    assert features.feature_strides == [(4, 2), (8, 2), (16, 2), (32, 2)]
    maps = features(paddle.zeros([1, 3, 64, 32]))
    assert [list(one.shape[1:]) for one in maps] == [
        [256, 16, 16],
        [512, 8, 16],
        [1024, 4, 16],
        [2048, 2, 16],
    ]
