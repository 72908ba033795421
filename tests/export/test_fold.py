import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls_light.export.fold import fold
from ppcls_light.models import create_model


def norms(model):
    return [layer for layer in model.sublayers() if isinstance(layer, nn.BatchNorm2D)]


def relative_error(folded, model, size):
    images = paddle.to_tensor(np.random.default_rng(1).normal(size=(2, 3, size, size)).astype("float32"))
    model.eval()
    with paddle.no_grad():
        expected, got = model(images).numpy(), folded(images).numpy()
    return np.linalg.norm(got - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("name", ["PPLCNet_x0_25", "FasterNet_T0", "MicroNet_M0"])
def test_every_batch_norm_is_folded_and_outputs_stay(name, randomise):
    model = randomise(create_model(name, class_num=10))
    model.train()
    before = {key: value.numpy().copy() for key, value in model.state_dict().items()}
    folded = fold(model)
    assert norms(model)
    assert norms(folded) == []
    assert not any(layer.training for layer in folded.sublayers(include_self=True))
    assert all(layer.training for layer in model.sublayers(include_self=True))
    after = model.state_dict()
    assert list(after) == list(before)
    for key, value in before.items():
        np.testing.assert_array_equal(after[key].numpy(), value, err_msg=key)
    assert relative_error(folded, model, 64) < 1e-5


def test_values_of_a_pair_computed_by_hand():
    net = nn.Sequential(nn.Conv2D(1, 1, 1), nn.BatchNorm2D(1, epsilon=0.0))
    for tensor, value in (
        (net[0].weight, 2.0),
        (net[0].bias, 5.0),
        (net[1].weight, 3.0),
        (net[1].bias, 1.0),
        (net[1]._mean, 4.0),
        (net[1]._variance, 0.25),
    ):
        tensor.set_value(np.full(tensor.shape, value, "float32"))
    folded = fold(net)
    assert folded[0].weight.item() == 12.0  # 2 * 3 / 0.5
    assert folded[0].bias.item() == 7.0  # (5 - 4) * 3 / 0.5 + 1


@pytest.mark.parametrize("affine", [None, False])
@pytest.mark.parametrize("bias", [None, False])
def test_bias_groups_and_missing_affine(bias, affine, randomise):
    net = randomise(
        nn.Sequential(
            nn.Conv2D(3, 6, 3, groups=3, bias_attr=bias),
            nn.BatchNorm2D(6, weight_attr=affine, bias_attr=affine),
        )
    )
    folded = fold(net)
    assert norms(folded) == []
    assert relative_error(folded, net, 8) < 1e-5


def test_a_batch_norm_without_its_convolution_before_it_stays(randomise):
    net = randomise(
        nn.Sequential(
            nn.BatchNorm2D(3),
            nn.Conv2D(3, 4, 3),
            nn.ReLU(),
            nn.BatchNorm2D(4),
            nn.Conv2D(4, 5, 3),
            nn.BatchNorm2D(5),
        )
    )
    folded = fold(net)
    assert len(norms(folded)) == 2
    assert relative_error(folded, net, 8) < 1e-5
