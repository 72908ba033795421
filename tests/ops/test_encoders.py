"""EdgeNeXt on the operators, in float32, against its form of Paddle's own in float64."""

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.nn import functional as F

from ppcls_light.models import create_model
from ppcls_light.models.edgenext import ConvEncoder, LayerNorm2D, SDTAEncoder

pytestmark = pytest.mark.usefixtures("own_operators")

PLANES = [(1, 1), (2, 3), (7, 7), (13, 20)]


def random(shape, seed=0):
    return np.random.RandomState(seed).standard_normal(shape).astype("float32")


def trained(layer):
    """Draw the parameters of `layer`, whose first values are no test: factors of 1e-6 hide what they multiply."""
    for seed, parameter in enumerate(layer.parameters()):
        if not parameter.stop_gradient:
            parameter.set_value(0.3 * random(parameter.shape, seed) + 0.5 * (parameter.ndim == 1))
    return layer


def results(layer, images, loss, dtype="float32"):
    """Return {name: array} of the output of `layer`, and of the gradients of `images` and the parameters."""
    layer.to(dtype=dtype)
    x = paddle.to_tensor(images.astype(dtype), stop_gradient=False)
    paddle.seed(0)
    out = layer(x)
    loss(out).backward()
    found = {"out": out.numpy(), "grad of x": x.grad.numpy()}
    for name, parameter in layer.named_parameters():
        if not parameter.stop_gradient:
            found[name] = parameter.grad.numpy()
    layer.clear_gradients()
    return found


def assert_equals_paddle(operators, layer, images, loss):
    """Each array to 1e-5 of its largest value, or of 1e-2 of the largest of all.

    Before a batch norm to 1e-5 of the largest of all: it takes biases away, whose gradients are rounding errors.
    """
    share = 1 if any(isinstance(each, nn.BatchNorm2D) for each in layer.sublayers()) else 1e-2
    ours = results(layer, images, loss)
    operators.disable()
    exact = results(layer, images, loss, "float64")
    operators.enable()
    largest = max(np.abs(value).max() for value in exact.values())
    for name, value in exact.items():
        assert np.abs(ours[name] - value).max() <= 1e-5 * max(np.abs(value).max(), share * largest), name


def weighted(out):
    """A loss with another gradient at each output."""
    return (out * paddle.to_tensor(random(out.shape, 1).astype(str(out.dtype).split(".")[-1]))).sum()


@pytest.mark.parametrize("plane", PLANES, ids=str)
@pytest.mark.parametrize(("channels", "batch"), [(24, 2), (7, 33), (3, 1)])
def test_layer_norm_over_channels(own_operators, channels, batch, plane):
    norm = trained(LayerNorm2D(channels, epsilon=1e-6))
    assert "ppcls_layer_norm" in norm(paddle.to_tensor(random([1, channels, 1, 1]))).grad_fn.name()
    assert_equals_paddle(own_operators, norm, 3 + random([batch, channels, *plane]), weighted)


@pytest.mark.parametrize("plane", PLANES, ids=str)
@pytest.mark.parametrize("bn_hs", [False, True], ids=["layer norm and gelu", "batch norm and hardswish"])
@pytest.mark.parametrize("drop_path", [0.0, 0.4])
def test_conv_encoder(own_operators, drop_path, bn_hs, plane):
    encoder = trained(ConvEncoder(11, drop_path=drop_path, kernel_size=3, bn_hs=bn_hs))
    assert_equals_paddle(own_operators, encoder, random([9, 11, *plane]), weighted)


@pytest.mark.parametrize("plane", PLANES, ids=str)
@pytest.mark.parametrize("bn_hs", [False, True], ids=["layer norm and gelu", "batch norm and hardswish"])
@pytest.mark.parametrize(("dim", "heads", "drop_path"), [(24, 4, 0.4), (38, 2, 0.0)])
def test_sdta_encoder(own_operators, dim, heads, drop_path, bn_hs, plane):
    encoder = trained(SDTAEncoder(dim, drop_path, num_heads=heads, scales=3, bn_hs=bn_hs))
    assert_equals_paddle(own_operators, encoder, random([5, dim, *plane]), weighted)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), [("EdgeNeXt_XX_Small", 75), ("EdgeNeXt_X_Small", 32)])
def test_gradients_of_a_whole_network(own_operators, name, size):
    model = create_model(name, class_num=10, layer_scale_init_value=0.5)
    labels = paddle.to_tensor(np.arange(3))
    assert_equals_paddle(
        own_operators, model, random([3, 3, size, size]), lambda out: F.cross_entropy(out, labels)
    )


def test_results_do_not_depend_on_the_number_of_threads(own_operators):
    library = own_operators.build.load()
    threads = library.omp_get_max_threads()
    encoder = trained(SDTAEncoder(24, scales=2, num_heads=3))
    try:
        runs = []
        for count in (1, 2, 3, 2):
            library.omp_set_num_threads(count)
            runs.append(results(encoder, random([17, 24, 5, 7]), weighted))
    finally:
        library.omp_set_num_threads(threads)
    for run in runs[1:]:
        for name, value in runs[0].items():
            np.testing.assert_array_equal(run[name], value, name)


def test_who_looks_at_a_layer_finds_it_called(own_operators):
    encoder, called = ConvEncoder(8), []
    hook = encoder.pwconv1.register_forward_post_hook(lambda *_: called.append(True))
    x = paddle.to_tensor(random([2, 8, 6, 6]))
    expected = encoder(x).numpy()
    assert called
    hook.remove()
    assert "ppcls_bottleneck" in encoder(x).grad_fn.name()
    np.testing.assert_allclose(encoder(x).numpy(), expected, atol=1e-5)
