"""The operators against Paddle's own and against sums written out in numpy."""

import itertools

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.nn import functional as F

from ppcls_light.models.layers import Conv2D, PConv
from ppcls_light.models.micronet import DYShiftMax, GroupConv
from ppcls_light.ops import training

pytestmark = pytest.mark.usefixtures("own_operators")


def results(function, *tensors, seed=0):
    """Return the output of `function` and the gradients of `tensors` under a random gradient of the output."""
    for tensor in tensors:
        tensor.stop_gradient = False
        tensor.clear_gradient()
    out = function(*tensors)
    gradient = paddle.to_tensor(np.random.RandomState(seed).standard_normal(out.shape)).astype(out.dtype)
    paddle.autograd.backward([out], [gradient])
    return [out.numpy(), *(tensor.grad.numpy() for tensor in tensors)]


def random(shape, seed):
    return paddle.to_tensor(np.random.RandomState(seed).standard_normal(shape).astype("float32"))


def assert_close(actual, expected, tolerance=1e-5):
    """To `tolerance` of the largest value: sums of thousands of products have no better absolute error."""
    for ours, theirs in zip(actual, expected):
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).max() <= tolerance * max(1.0, np.abs(theirs).max())


KERNELS = [(3, 3), (5, 5), (7, 7), (9, 9), (3, 1), (1, 3), (5, 1), (1, 5), (4, 2)]
STRIDES = [(1, 1), (2, 2), (1, 2), (2, 1), (3, 2)]
PLANES = [(1, 1), (2, 3), (4, 4), (7, 7), (13, 20), (40, 70)]


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@pytest.mark.parametrize("stride", STRIDES, ids=str)
def test_depthwise_equals_paddle(own_operators, kernel, stride):
    """Each with other planes, paddings, batches over and under what a task takes, multipliers and bias."""
    case = itertools.count(sum(kernel))
    for plane in PLANES:
        seed = next(case)
        batch, channels, multiplier = (1, 3, 9)[seed % 3], (3, 5)[seed % 2], (1, 1, 2, 3)[seed % 4]
        padding = [(size // 2, 0, size - 1)[seed % 3] for size in kernel]
        if any(size + 2 * pad < k for size, pad, k in zip(plane, padding, kernel)):
            continue
        x = random([batch, channels, *plane], seed)
        weight = random([channels * multiplier, 1, *kernel], seed + 1)
        tensors = [x, weight] + ([random([channels * multiplier], seed + 2)] if seed % 2 else [])

        def ours(x, weight, bias=None, padding=padding):
            return own_operators.depthwise_conv(x, weight, bias, stride, padding)

        def theirs(x, weight, bias=None, padding=padding, groups=channels):
            return F.conv2d(x, weight, bias, stride, padding, groups=groups)

        assert_close(results(ours, *tensors), results(theirs, *tensors))


def test_depthwise_gradients_are_the_written_out_sums(own_operators):
    kernel, stride, padding = (3, 5), (2, 1), (1, 2)
    x, weight = random([2, 3, 9, 8], 0), random([6, 1, *kernel], 1)
    out, grad_x, grad_weight, grad_bias = results(
        lambda *tensors: own_operators.depthwise_conv(*tensors, stride, padding), x, weight, random([6], 2)
    )
    gradient = np.random.RandomState(0).standard_normal(out.shape).astype("float32")
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (1, 1), (2, 2))).astype("float64")
    expected_x, expected_weight = np.zeros_like(padded), np.zeros([6, 1, *kernel])
    for n, o, y, column in np.ndindex(out.shape):
        window = np.s_[n, o // 2, 2 * y : 2 * y + 3, column : column + 5]
        expected_weight[o, 0] += gradient[n, o, y, column] * padded[window]
        expected_x[window] += gradient[n, o, y, column] * weight.numpy()[o, 0]
    expected = expected_x[:, :, 1:-1, 2:-2], expected_weight, gradient.sum((0, 2, 3))
    assert_close((grad_x, grad_weight, grad_bias), expected)


@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (4, 4), (2, 2), (5, 1), (1, 4)], ids=str)
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (4, 4), (1, 3)], ids=str)
def test_conv_equals_a_float64_sum(own_operators, kernel, stride):
    """Each with maps of one position and more, paddings, a batch over and under a vector, and a bias or none."""
    case = itertools.count(sum(kernel) + stride[1])
    for plane, (inputs, outputs) in itertools.product(
        [(1, 1), (2, 3), (7, 7), (13, 20)], [(3, 16), (40, 29), (1, 1)]
    ):
        seed = next(case)
        padding = [(size // 2, 0, size - 1)[seed % 3] for size in kernel]
        if any(size + 2 * pad < k for size, pad, k in zip(plane, padding, kernel)):
            continue
        tensors = [random([(1, 3, 9)[seed // 2 % 3], inputs, *plane], seed)]
        tensors += [random([outputs, inputs, *kernel], seed + 1)]
        tensors += [random([outputs], seed + 2)] if seed % 2 else []

        def ours(x, weight, bias=None, padding=padding):
            return own_operators.conv(x, weight, bias, stride, padding)

        def theirs(x, weight, bias=None, padding=padding):
            return F.conv2d(x, weight, bias, stride, padding)

        exact = [tensor.astype("float64") for tensor in tensors]
        assert_close(results(ours, *tensors), results(theirs, *exact))


@pytest.mark.parametrize(
    ("plane", "kernel", "stride"),
    [((1, 1), 1, 1), ((2, 2), 3, 1), ((7, 7), 1, 1), ((4, 4), 1, 1), ((13, 20), 3, 1), ((13, 20), 3, 2)],
)
def test_conv_adds_a_shortcut(own_operators, plane, kernel, stride):
    x, weight, bias = random([3, 5, *plane], 0), random([21, 5, kernel, kernel], 1), random([21], 2)
    options = stride, kernel // 2
    shortcut = random(F.conv2d(x, weight, None, *options).shape, 3)

    def theirs(x, weight, bias, shortcut):
        return F.conv2d(x, weight, bias, *options) + shortcut

    def ours(x, weight, bias, shortcut):
        return own_operators.conv(x, weight, bias, (stride,) * 2, (kernel // 2,) * 2, shortcut)

    tensors = x, weight, bias, shortcut
    exact = [tensor.astype("float64") for tensor in tensors]
    assert_close(results(ours, *tensors), results(theirs, *exact))
    without_bias = own_operators.conv(x, weight, None, (stride,) * 2, (kernel // 2,) * 2, shortcut)
    assert_close([without_bias.numpy()], [(F.conv2d(x, weight, None, *options) + shortcut).numpy()])
    with pytest.raises(Exception, match="shortcut"):
        own_operators.conv(x, weight, None, (stride,) * 2, (kernel // 2,) * 2, shortcut[:2])


def test_conv_takes_the_weight_of_a_linear_layer(own_operators):
    tensors = random([5, 7, 3, 6], 0), random([7, 19], 1), random([19], 2)

    def linear(x, weight, bias):
        return F.linear(x.transpose([0, 2, 3, 1]), weight, bias).transpose([0, 3, 1, 2])

    assert_close(results(own_operators.conv, *tensors), results(linear, *tensors))


@pytest.mark.parametrize("size", [1, 3, 9])
def test_pconv_is_one_operator_in_training(own_operators, size):
    layer, x = PConv(12, n_div=3), random([3, 12, size, size], 0)
    own = results(lambda x, _: layer(x), x, layer.partial_conv3.weight)
    own_operators.disable()
    assert_close(own, results(lambda x, _: layer(x), x, layer.partial_conv3.weight))


@pytest.mark.parametrize("shape", [(2, 6, 5, 5), (2, 1, 5, 5), (2, 16, 5, 5), (2, 8, 5)], ids=str)
@pytest.mark.parametrize(
    "layer",
    [
        lambda: Conv2D(8, 8, 3, padding=1),
        lambda: Conv2D(8, 8, 3, padding=1, groups=8),
        lambda: PConv(8),
        lambda: lambda x: training.norm_act(nn.BatchNorm2D(8), nn.ReLU(), x),
    ],
    ids=["dense", "depthwise", "partial", "norm"],
)
def test_an_input_of_other_channels_or_axes_is_refused(layer, shape):
    with pytest.raises(ValueError):
        layer()(paddle.ones(shape))


@pytest.mark.parametrize("groups", [1, 4])
def test_channels_last_and_an_empty_batch_are_paddles(groups):
    x = random([2, 4, 5, 4], 0)
    last = Conv2D(4, 4, 3, padding=1, groups=groups, data_format="NHWC")
    np.testing.assert_array_equal(last(x).numpy(), nn.Conv2D.forward(last, x).numpy())
    layer = Conv2D(4, 4, 3, padding=1, groups=groups)
    try:
        expected = nn.Conv2D.forward(layer, x[:0]).shape
    except ValueError:  # Paddle 3.0
        with pytest.raises(ValueError):
            layer(x[:0])
    else:
        assert layer(x[:0]).shape == expected


def test_attention_keeps_a_nan_to_its_image(own_operators):
    x = random([6, 3 * 8, 2, 2], 0).numpy()
    temperature = paddle.ones([2, 1, 1])
    expected = own_operators.attention(paddle.to_tensor(x), temperature).numpy()
    x[0] = np.nan
    found = own_operators.attention(paddle.to_tensor(x), temperature).numpy()
    assert np.isnan(found[0]).all()
    np.testing.assert_array_equal(found[1:], expected[1:])


def test_conv_refuses_channels_that_it_can_not_carry(own_operators):
    with pytest.raises(OSError, match="keeps the size"):
        own_operators.conv(random([1, 4, 9, 9], 0), random([2, 3, 3, 3], 1))
    with pytest.raises(ValueError):  # Paddle's own message
        Conv2D(3, 2, 3)(random([1, 4, 9, 9], 0))


CONV = ([2, 6, 5, 5], [4, 6, 3, 3], [4], [2, 4, 5, 5], (1, 1), (1, 1), True)
DEPTHWISE = ([2, 6, 5, 5], [6, 1, 3, 3], [6], (1, 1), (1, 1))
NORM_ACT = ([2, 6, 5, 5], [6], [6], [6], [6], 1e-5, 0.9, 1)
LAYER_NORM = ([2, 6, 5, 5], [6], [6], 1e-6)
LAYER_SCALE = ([2, 6, 5, 5], [6], [2], [2, 6, 5, 5])
BOTTLENECK = ([2, 6, 5, 5], [6, 8], [8], [8, 6], [6], [6], [2], [2, 6, 5, 5], 4)
ATTENTION = ([2, 12, 5, 5], [2, 1, 1])
SHIFT_MAX = ([2, 6, 5, 5], "shift", [12], [6, 2], [2], [2, 12], [12], 2.0)


@pytest.mark.parametrize(
    ("operator", "arguments", "position", "wrong", "message"),
    [
        ("depthwise_conv", DEPTHWISE, 0, [2, 6, 5], "axes of x: 3, where 4 would fit"),
        ("depthwise_conv", DEPTHWISE, 1, [6, 2, 3, 3], "channels that the weight sums: 2, where 1"),
        ("depthwise_conv", DEPTHWISE, 1, [7, 1, 3, 3], "channels of the weight: 7, where 6"),
        ("depthwise_conv", DEPTHWISE, 1, [6, 1, 9, 3], "the kernel is larger"),
        ("depthwise_conv", DEPTHWISE, 2, [5], "bias: 5, where 6"),
        ("conv", CONV, 0, [2, 6, 5], "axes of x: 3, where 4"),
        ("conv", CONV, 1, [4, 6, 3], "axes of the weight: 3, where 4"),
        ("conv", CONV, 1, [4, 7, 3, 3], "channels pass"),
        ("conv", CONV, 2, [3], "bias: 3, where 4"),
        ("conv", CONV, 3, [2, 4, 5, 4], "shortcut: 160, where 200"),
        ("norm_act", NORM_ACT, 1, [5], "gamma: 5, where 6"),
        ("norm_act", NORM_ACT, 2, [5], "beta: 5, where 6"),
        ("norm_act", NORM_ACT, 3, [5], "running mean: 5, where 6"),
        ("norm_act", NORM_ACT, 4, [5], "running variance: 5, where 6"),
        ("norm_act", NORM_ACT, 7, 5, "no activation 5"),
        ("layer_norm", LAYER_NORM, 1, [5], "gamma: 5, where 6"),
        ("layer_norm", LAYER_NORM, 2, [5], "beta: 5, where 6"),
        ("layer_scale", LAYER_SCALE, 1, [5], "gamma: 5, where 6"),
        ("layer_scale", LAYER_SCALE, 2, [1], "keep: 1, where 2"),
        ("layer_scale", LAYER_SCALE, 3, [2, 6, 5, 4], "shortcut: 240, where 300"),
        ("bottleneck", BOTTLENECK, 1, [5, 8], "first weight: 40, where 48"),
        ("bottleneck", BOTTLENECK, 2, [7], "first bias: 7, where 8"),
        ("bottleneck", BOTTLENECK, 3, [7, 6], "second weight: 42, where 48"),
        ("bottleneck", BOTTLENECK, 4, [5], "second bias: 5, where 6"),
        ("bottleneck", BOTTLENECK, 5, [5], "gamma: 5, where 6"),
        ("bottleneck", BOTTLENECK, 6, [1], "keep: 1, where 2"),
        ("bottleneck", BOTTLENECK, 7, [1, 6, 5, 5], "shortcut: 150, where 300"),
        ("attention", ATTENTION, 0, [2, 10, 5, 5], "channels of Q, K and V: 10, where 6"),
        ("shift_max", SHIFT_MAX, 1, "far shift", "names a channel that is not there"),
        ("shift_max", SHIFT_MAX, 1, "short shift", "channels of the shift: 5, where 6"),
        ("shift_max", SHIFT_MAX, 2, [13], "lowest coefficients: 13, where 24"),
        ("shift_max", SHIFT_MAX, 3, [5, 2], "first weight: 10, where 12"),
        ("shift_max", SHIFT_MAX, 5, [2, 11], "second weight: 22, where 24"),
        ("shift_max", SHIFT_MAX, 6, [11], "second bias: 11, where 12"),
    ],
)
def test_an_operator_refuses_arguments_that_its_kernel_would_read_past(
    operator, arguments, position, wrong, message
):
    shifts = {"shift": range(6), "short shift": range(5), "far shift": [0, 1, 2, 3, 4, 6]}

    def run(arguments):
        tensors = [
            paddle.ones(each) if isinstance(each, list)
            else paddle.to_tensor(list(shifts[each])) if isinstance(each, str)
            else each
            for each in arguments
        ]  # fmt: skip
        return training._run(f"ppcls_{operator}", *tensors)

    run(arguments)
    changed = list(arguments)
    changed[position] = wrong
    with pytest.raises(OSError, match=message):
        run(changed)


def test_a_gradient_of_another_size_than_the_output_is_refused(own_operators):
    x, weight = random([2, 3, 5, 5], 0), random([3, 1, 3, 3], 1)
    weight.stop_gradient = False
    out = own_operators.depthwise_conv(x, weight, None, (1, 1), (1, 1))
    with pytest.raises(OSError, match="gradient: 75, where 150"):
        paddle.autograd.backward([out], [paddle.ones([1, 3, 5, 5])])


def test_conv_of_an_input_without_gradient_gives_that_of_the_weight(own_operators):
    x, weight = random([2, 3, 9, 9], 0), random([8, 3, 3, 3], 1)
    expected = results(own_operators.conv, x, weight)[2]
    weight.clear_gradient()
    out = own_operators.conv(x.detach(), weight)
    out.backward(paddle.to_tensor(np.random.RandomState(0).standard_normal(out.shape).astype("float32")))
    np.testing.assert_array_equal(weight.grad.numpy(), expected)


ACTIVATIONS = [nn.Identity, nn.ReLU, nn.ReLU6, nn.Hardswish, nn.GELU]


@pytest.mark.parametrize("act", ACTIVATIONS, ids=lambda act: act.__name__)
@pytest.mark.parametrize("shape", [(33, 150, 1, 1), (3, 3, 2, 2), (1, 3, 4, 4), (9, 5, 7, 7)], ids=str)
def test_norm_and_activation_equal_paddle(own_operators, act, shape):
    """Values, gradients and running statistics, of a batch whose mean is far from zero."""
    act, norms = act(), [nn.BatchNorm2D(shape[1], momentum=0.8) for _ in range(2)]
    for norm in norms:
        norm.weight.set_value(random(shape[1:2], 1))
        norm.bias.set_value(random(shape[1:2], 2))
    x = random(shape, 0) * 3 + 20
    x = paddle.to_tensor(x.numpy())
    ours, theirs = (
        results(function, x, norm.weight, norm.bias)
        for norm, function in zip(
            norms, (lambda x, *_: own_operators.norm_act(norms[0], act, x), lambda x, *_: act(norms[1](x)))
        )
    )
    assert_close(ours, theirs, 2e-5)
    for name in ("_mean", "_variance"):
        assert_close([getattr(norms[0], name).numpy()], [getattr(norms[1], name).numpy()], 2e-6)


def test_gelu_is_exact_over_its_whole_range(own_operators):
    """Beside Paddle's, in its tails too: a batch norm that changes nothing but the sign of every second one."""
    values = np.linspace(-12, 12, 4096, dtype="float32").reshape(1, 1, 64, 64)
    norm, x = nn.BatchNorm2D(1, epsilon=1e-12), paddle.to_tensor(values)
    norm.weight.set_value(paddle.to_tensor([float(values.std())]))
    ours = results(lambda x: own_operators.norm_act(norm, nn.GELU(), x), x)[0]
    np.testing.assert_allclose(ours, F.gelu(x).numpy(), atol=2e-6)


@pytest.mark.parametrize("shape", [(3, 12, 1, 1), (2, 12, 3, 5), (17, 36, 9, 9)], ids=str)
@pytest.mark.parametrize("init", [((1.0, 0.5),), ((1.0, 0.0), (0.5, 0.5))], ids=len)
def test_shift_max_equals_its_plain_form(own_operators, shape, init):
    layer = DYShiftMax(shape[1], 3, reduction=2, init=init)
    for seed, parameter in enumerate(layer.parameters()):
        parameter.set_value(random(parameter.shape, seed + 1))  # so that some gates are 0 and some 1
    x = random(shape, 0)
    ours = results(lambda x, *_: layer(x), x, *layer.parameters())
    assert "ppcls_shift_max" in ran(lambda: layer(x))
    own_operators.disable()
    assert_close(ours, results(lambda x, *_: layer(x), x, *layer.parameters()))


def test_a_group_convolution_of_small_maps_equals_its_plain_form(own_operators):
    layer, x = GroupConv(8, 12, 4), random([5, 8, 3, 3], 0)
    ours = results(lambda x, *_: layer(x), x, layer.conv[0].weight)
    own_operators.disable()
    assert_close(ours, results(lambda x, *_: layer(x), x, layer.conv[0].weight))


def test_results_do_not_depend_on_the_number_of_threads(own_operators):
    library = own_operators.build.load()
    threads = library.omp_get_max_threads()
    tensors = random([9, 12, 17, 17], 0), random([12, 1, 5, 5], 1), random([20, 12, 1, 1], 2)
    norm = nn.BatchNorm2D(20)

    def network(x, depthwise, pointwise):
        x = own_operators.depthwise_conv(x, depthwise, None, (2, 2), (2, 2))
        return own_operators.norm_act(norm, nn.Hardswish(), own_operators.conv(x, pointwise))

    try:
        runs = []
        for count in (1, 2, 3, 2):
            library.omp_set_num_threads(count)
            runs.append(results(network, *tensors))
    finally:
        library.omp_set_num_threads(threads)
    for run in runs[1:]:
        for first, again in zip(runs[0], run):
            np.testing.assert_array_equal(first, again)


def ran(function):
    """Return the names of the operators of the gradient graph behind the result of `function()`."""
    return function().grad_fn.name()


@pytest.mark.parametrize(
    ("options", "operator"),
    [
        ({"groups": 6, "padding": 1}, "ppcls_depthwise_conv"),
        ({"groups": 6, "padding": (1, 0), "stride": 2, "out": 12}, "ppcls_depthwise_conv"),
        ({"kernel": 1, "bias_attr": False}, "ppcls_conv"),
        ({"kernel": 4, "stride": 2, "padding": 1}, "ppcls_conv"),
        ({"dilation": 2}, None),
        ({"groups": 6, "padding": 1, "dilation": 2}, None),
        ({"groups": 6, "padding": "same"}, None),
        ({"groups": 6, "padding": 1, "padding_mode": "reflect"}, None),
        ({"groups": 3, "padding": 1}, None),
    ],
)
def test_a_layer_uses_what_serves_it_and_is_a_convolution_in_any_case(own_operators, options, operator):
    options = dict(options)
    layer = Conv2D(6, options.pop("out", 6), options.pop("kernel", 3), **options)
    x = random([2, 6, 9, 9], 0)
    x.stop_gradient = False
    out = layer(x)
    name = out.grad_fn.name()
    assert (operator in name) if operator else ("ppcls" not in name)
    own_operators.disable()
    assert "ppcls" not in layer(x).grad_fn.name()
    np.testing.assert_allclose(out.numpy(), layer(x).numpy(), atol=1e-5)


def test_what_the_operators_do_not_know_stays_with_paddle(own_operators):
    x = random([2, 3, 5, 5], 0)
    assert own_operators.serves(x)
    assert not own_operators.serves(x.astype("float64"))
    norm = nn.BatchNorm2D(3)
    norm.eval()
    expected = F.gelu(norm(x), approximate=True).numpy()
    np.testing.assert_array_equal(
        own_operators.norm_act(norm, nn.GELU(approximate=True), x).numpy(), expected
    )
