import numpy as np
import paddle
import pytest

from ppcls_light.errors import ConfigError
from ppcls_light.models.layers import DropPath, PConv, activation, make_divisible


def numpy_conv3x3(x, weight):
    """A 3x3 convolution of stride 1 and padding 1, written out."""
    batch, _, height, width = x.shape
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    out = np.zeros((batch, weight.shape[0], height, width))
    for row in range(3):
        for column in range(3):
            window = padded[:, :, row : row + height, column : column + width]
            out += np.einsum("nchw,oc->nohw", window, weight[:, :, row, column])
    return out


@pytest.mark.parametrize("mode", ["split_cat", "slicing"])
@pytest.mark.parametrize(("dim", "n_div"), [(8, 4), (10, 4), (6, 1)])
def test_pconv_convolves_the_first_channels_only(mode, dim, n_div):
    layer = PConv(dim, n_div, mode=mode)
    x = np.random.RandomState(0).standard_normal((2, dim, 5, 7)).astype("float32")
    expected = x.astype("float64")
    convolved = dim // n_div
    expected[:, :convolved] = numpy_conv3x3(expected[:, :convolved], layer.partial_conv3.weight.numpy())
    given = paddle.to_tensor(x)
    np.testing.assert_allclose(layer(given).numpy(), expected, atol=1e-5)
    np.testing.assert_array_equal(given.numpy(), x)


def test_pconv_modes_have_equal_gradients():
    split_cat, slicing = PConv(8), PConv(8, mode="slicing")
    slicing.set_state_dict(split_cat.state_dict())
    gradients = []
    for layer in (split_cat, slicing):
        paddle.seed(0)
        x = paddle.randn([2, 8, 5, 5])
        x.stop_gradient = False
        (layer(x) ** 2).sum().backward()
        gradients.append((x.grad.numpy(), layer.partial_conv3.weight.grad.numpy()))
    for ours, theirs in zip(*gradients):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", [{"n_div": 9}, {"n_div": 0}, {"mode": "inplace"}])
def test_pconv_refuses_what_it_cannot_do(options):
    with pytest.raises(ConfigError):
        PConv(8, **options)


def test_drop_path_drops_whole_samples_and_keeps_the_mean():
    paddle.seed(1)
    layer = DropPath(0.25)
    out = layer(paddle.ones([4000, 2, 3])).numpy()
    per_sample = out.reshape(4000, -1)
    assert (per_sample == per_sample[:, :1]).all()
    assert set(np.unique(out).round(5)) == {0.0, np.float32(1 / 0.75).round(5)}
    # Standard error of the mean of 4000 samples: sqrt(0.25 * 0.75 / 4000) / 0.75 = 0.009.
    assert abs(out.mean() - 1) < 0.04
    layer.eval()
    assert (layer(paddle.ones([5, 2])).numpy() == 1).all()


def test_drop_path_follows_the_seed():
    layer = DropPath(0.5)
    draws = []
    for seed in (3, 3, 4):
        paddle.seed(seed)
        draws.append(layer(paddle.ones([64, 1])).numpy())
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2]).any()


@pytest.mark.parametrize(
    ("width", "expected"), [(4, 8), (8, 8), (11.2, 16), (12, 16), (11, 16), (19, 24), (89.6, 88)]
)
def test_make_divisible(width, expected):
    """11 rounds to 8, which is more than 10 % down, so it goes up; 89.6 may lose 2 %."""
    assert make_divisible(width) == expected


def test_gelu_is_the_exact_one():
    x = paddle.to_tensor([1.0, -2.0])
    # x * Phi(x) with Phi(1) = 0.84134475 and Phi(-2) = 0.02275013
    np.testing.assert_allclose(activation("GELU")(x).numpy(), [0.84134475, -0.04550026], atol=1e-6)


def test_unknown_activation():
    with pytest.raises(ConfigError, match=r"unknown activation 'mish'; known: relu"):
        activation("mish")
