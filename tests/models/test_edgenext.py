import math

import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls_light.errors import ConfigError
from ppcls_light.export import export_model
from ppcls_light.export.fold.steps import fold
from ppcls_light.models import create_model, list_models
from ppcls_light.models.edgenext import (
    ConvEncoder,
    CrossCovarianceAttention,
    LayerNorm2D,
    PositionalEncodingFourier,
    SDTAEncoder,
    fourier_features,
)
from ppcls_light.models.profile import profile

FORMS = ["EdgeNeXt_XX_Small", "EdgeNeXt_XX_Small_BN_HS"]
SIZE = 64

# Parameters (M) and MAdds (M) at 256 pixels, by the comments of the authors' models/model.py.
PUBLISHED = {
    "EdgeNeXt_XX_Small": (1.33, 260.58),
    "EdgeNeXt_X_Small": (2.34, 538.00),
    "EdgeNeXt_Small": (5.59, 1260.59),
    "EdgeNeXt_Base": (18.51, 3840.93),
    "EdgeNeXt_XX_Small_BN_HS": (1.33, 259.53),
    "EdgeNeXt_X_Small_BN_HS": (2.34, 535.84),
    "EdgeNeXt_Small_BN_HS": (5.58, 1257.28),
}


def test_every_variant_is_published():
    assert set(list_models("edgenext*")) == set(PUBLISHED)


@pytest.mark.usefixtures("zero_weights")
@pytest.mark.parametrize("name", PUBLISHED)
def test_params_and_multiply_adds(name):
    """To the last published digit.

    The authors' counter, fvcore, adds 5 to each output of torch's layer_norm and 2 to each of a batch norm,
    which `profile` leaves out. The layer norms around the downsampling they wrote by hand: fvcore saw none.
    """
    model = create_model(name)
    of_norms = []

    def count(layer, inputs, output):
        of_norms.append(output.size * (2 if isinstance(layer, nn.BatchNorm2D) else 5))

    for layer in model.sublayers():
        if isinstance(layer, (nn.BatchNorm2D, nn.LayerNorm)) and not isinstance(layer, LayerNorm2D):
            layer.register_forward_post_hook(count)
    params, multiply_adds = PUBLISHED[name]
    counted = profile(model)
    assert counted.params / 1e6 == pytest.approx(params, abs=0.005)
    assert (counted.multiply_adds + float(sum(of_norms))) / 1e6 == pytest.approx(multiply_adds, abs=0.005)
    assert counted.multiply_adds / 1e6 == pytest.approx(multiply_adds, rel=0.011)


def test_attention_is_between_channels():
    """softmax(t Q K^T) V head by head, with Q and K of unit length over the positions."""
    paddle.seed(0)
    layer = CrossCovarianceAttention(6, 2)
    layer.temperature.set_value(np.array([[[0.5]], [[3.0]]], "float32"))
    for parameter in layer.qkv.bias, layer.proj.bias:
        parameter.set_value(paddle.randn(parameter.shape))
    x = np.random.RandomState(0).standard_normal((2, 5, 6)).astype("float32")
    expected = np.zeros((2, 5, 6))
    for n in range(2):
        qkv = x[n] @ layer.qkv.weight.numpy() + layer.qkv.bias.numpy()  # (5, 18): Q, K, V, each head by head
        for head, temperature in enumerate((0.5, 3.0)):
            q, k, v = (qkv[:, 6 * part + 3 * head :][:, :3] for part in range(3))
            q, k = q / np.sqrt((q**2).sum(0)), k / np.sqrt((k**2).sum(0))
            weights = np.exp(temperature * (q.T @ k))
            weights /= weights.sum(axis=1, keepdims=True)
            expected[n, :, 3 * head : 3 * head + 3] = v @ weights.T
    expected = expected @ layer.proj.weight.numpy() + layer.proj.bias.numpy()
    np.testing.assert_allclose(layer(paddle.to_tensor(x)).numpy(), expected, atol=1e-5)


def test_positional_encoding_by_its_equation():
    """Positions 1 to n over n times 2 pi, 32 sines and cosines of falling frequency, rows before columns."""
    paddle.seed(0)
    height, width = 3, 5
    layer = PositionalEncodingFourier(7)
    layer.token_projection.bias.set_value(paddle.randn([7]))
    features = np.zeros((64, height, width))
    for row in range(height):
        for column in range(width):
            for i in range(16):
                down = 2 * math.pi * (row + 1) / height / 10000 ** (2 * i / 32)
                right = 2 * math.pi * (column + 1) / width / 10000 ** (2 * i / 32)
                features[2 * i : 2 * i + 2, row, column] = math.sin(down), math.cos(down)
                features[32 + 2 * i : 34 + 2 * i, row, column] = math.sin(right), math.cos(right)
    weight, bias = layer.token_projection.weight.numpy()[:, :, 0, 0], layer.token_projection.bias.numpy()
    expected = np.einsum("chw,oc->ohw", features, weight) + bias[:, None, None]
    np.testing.assert_allclose(layer(height, width).numpy(), expected[None], atol=1e-5)


def test_positional_encoding_is_computed_once_a_size():
    fourier_features.cache_clear()
    layer = PositionalEncodingFourier(4)
    for _ in range(3):
        layer(12, 20)
        layer(20, 12)
    assert fourier_features.cache_info().misses == 2
    assert list(layer.state_dict()) == ["token_projection.weight", "token_projection.bias"]


def test_the_layers_alone_have_the_authors_defaults():
    """By the signatures in models/conv_encoder.py and models/sdta_encoder.py."""
    conv, sdta = ConvEncoder(dim=48), SDTAEncoder(dim=48, scales=2)
    x = paddle.randn([2, 48, 9, 7])
    for layer in (conv, sdta):
        assert layer(x).shape == x.shape
        assert layer.pwconv1.weight.shape == [48, 4 * 48]
        assert float(layer.gamma[0]) == pytest.approx(1e-6)
        assert layer.drop_path.rate == 0
        assert isinstance(layer.act, nn.GELU)
    assert conv.dwconv.weight.shape == [48, 1, 7, 7]
    assert sdta.xca.temperature.shape == [8, 1, 1]
    assert sdta.pos_embd is not None
    assert SDTAEncoder(48, 0.1, 1e-5, 2, False, 4, scales=3).pos_embd is None


def test_channel_groups_are_convolved_one_after_another():
    """The second adds the result of the first; the last, two channels narrower here, passes through."""
    paddle.seed(0)
    layer = SDTAEncoder(10, scales=3, num_heads=2)
    x = paddle.randn([2, 10, 6, 5])
    first = layer.convs[0](x[:, :4])
    second = layer.convs[1](x[:, 4:8] + first)
    expected = np.concatenate([first.numpy(), second.numpy(), x[:, 8:].numpy()], axis=1)
    np.testing.assert_allclose(layer._split_convolve(x).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("name", FORMS)
def test_one_step_changes_every_parameter_and_gradients_are_finite(name):
    """With a layer scale of 1: at the published 1e-6 what is behind two of them moves by float noise only."""
    paddle.seed(0)
    model = create_model(name, class_num=4, layer_scale_init_value=1.0)
    before = {key: parameter.numpy().copy() for key, parameter in model.named_parameters()}
    # Adam's step does not follow the gradient's size, and batch norm leaves little to the biases before it.
    optimizer = paddle.optimizer.Adam(0.01, parameters=model.parameters())
    logits = model(paddle.randn([4, 3, SIZE, SIZE]))
    nn.functional.cross_entropy(logits, paddle.to_tensor([0, 1, 2, 3])).backward()
    optimizer.step()
    for key, parameter in model.named_parameters():
        if not parameter.stop_gradient:
            assert np.isfinite(parameter.grad.numpy()).all(), key
        assert np.isfinite(parameter.numpy()).all(), key
        assert (parameter.numpy() != before[key]).any(), key


def test_drop_path_follows_the_seed_and_grows_linearly():
    model = create_model("EdgeNeXt_XX_Small", class_num=4, drop_path_rate=0.5, layer_scale_init_value=1.0)
    rates = [block.drop_path.rate for stage in model.stages for block in stage]
    np.testing.assert_allclose(rates, np.linspace(0, 0.5, 12))
    x = paddle.randn([4, 3, SIZE, SIZE])
    draws = []
    for seed in (3, 3, 4):
        paddle.seed(seed)
        draws.append(model(x).numpy())
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2]).any()
    rates_of = {
        name: create_model(name).stages[3][2].drop_path.rate for name in list_models("edgenext_small*")
    }
    assert rates_of == {"EdgeNeXt_Small": 0.1, "EdgeNeXt_Small_BN_HS": 0.1}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize(("height", "width"), [(224, 224), (288, 288), (160, 320)])
def test_other_input_sizes(name, height, width):
    model = create_model(name, features_only=True)
    model.eval()
    with paddle.no_grad():
        features = model(paddle.randn([1, 3, height, width]))
    for feature, channels, stride in zip(features, (24, 48, 88, 168), (4, 8, 16, 32)):
        assert list(feature.shape) == [1, channels, height // stride, width // stride]
        assert np.isfinite(feature.numpy()).all()


@pytest.fixture(params=FORMS)
def lively(request):
    """A small-headed network whose branches and batch norms are far from their initial values."""
    paddle.seed(0)
    model = create_model(request.param, class_num=4, layer_scale_init_value=0.5)
    rng = np.random.RandomState(0)
    for layer in model.sublayers():
        if isinstance(layer, nn.BatchNorm2D):
            shape = layer._mean.shape
            layer._mean.set_value(rng.normal(0, 0.2, shape).astype("float32"))
            layer._variance.set_value(rng.uniform(0.3, 2, shape).astype("float32"))
        elif isinstance(layer, (nn.Conv2D, nn.Linear)):
            fan_in = np.prod(
                layer.weight.shape[1:] if len(layer.weight.shape) == 4 else layer.weight.shape[0]
            )
            layer.weight.set_value(rng.normal(0, fan_in**-0.5, layer.weight.shape).astype("float32"))
    model.eval()
    return model


def test_folding_leaves_no_batch_norm(lively):
    folded = fold(lively)
    assert not any(isinstance(layer, nn.BatchNorm2D) for layer in folded.sublayers())
    x = paddle.randn([2, 3, SIZE, SIZE])
    np.testing.assert_allclose(folded(x).numpy(), lively(x).numpy(), rtol=1e-4, atol=1e-5)


def test_static_graph_equals_dygraph_for_any_batch(lively):
    batches = [paddle.randn([batch, 3, SIZE, SIZE]) for batch in (1, 3)]
    expected = [lively(x).numpy() for x in batches]
    spec = paddle.static.InputSpec([None, 3, SIZE, SIZE], "float32")
    static = paddle.jit.to_static(lively, input_spec=[spec], full_graph=True)
    for x, logits in zip(batches, expected):
        np.testing.assert_allclose(static(x).numpy(), logits, rtol=1e-4, atol=1e-5)


def test_export_answers_as_the_network(lively, tmp_path):
    ops = [
        ("ResizeImage", {"resize_short": SIZE}),
        ("CropImage", {"size": SIZE}),
        ("NormalizeImage", {"order": ""}),
    ]
    report = export_model(lively, tmp_path, (3, SIZE, SIZE), ops)
    assert report.max_abs_diff <= 1e-5
    graph = (tmp_path / f"inference.{report.format}").read_bytes()
    assert b"assign_value" in graph  # the encoding's features are constants,
    for shape_operator in (b'"1.shape', b"\x1a\x05shape"):  # in JSON, and as Paddle 2's protobuf has it
        assert shape_operator not in graph  # and no size is asked for when it runs


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": [4, 5, 4, 4]}, r"cannot split 48 channels into 5 heads; use a divisor of 48"),
        ({"d2_scales": [2, 1, 3, 4]}, r"cannot split 48 channels into 1 groups; use 2, 3 or 4"),
        ({"d2_scales": [2, 40, 3, 4]}, r"cannot split 48 channels into 40 groups"),
        ({"kernel_sizes": [3, 5, 6, 9]}, r"cannot use a kernel size of 6; use an odd one"),
        ({"dims": [24, 48]}, r"dims: expected a list of 4 whole numbers"),
        ({"layer_scale_init_value": 0.0}, r"layer_scale_init_value: expected a number > 0"),
        ({"use_bn": True}, r"unknown key use_bn"),
    ],
)
def test_a_wrong_argument_is_one_clear_line(options, message):
    with pytest.raises(ConfigError, match=message) as raised:
        create_model("edgenext_xx_small", **options)
    assert "\n" not in str(raised.value)
