"""Post-training quantization: scales against numpy, and what is left in float."""

import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls_light.compress import calibrate, is_quantized
from ppcls_light.compress.quantize import QuantizedConv2D, QuantizedLinear, input_scales
from ppcls_light.models import create_model


@pytest.fixture(autouse=True)
def seeded():
    paddle.seed(0)


class Small(nn.Layer):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2D(3, 4, 3, bias_attr=False)
        self.depthwise = nn.Conv2D(4, 4, 3, groups=4)
        self.dead = nn.Linear(4, 2)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        x = self.depthwise(self.first(x)).mean(axis=[2, 3])
        return self.fc(x) + self.dead(x * 0)


def test_a_scale_is_the_mean_of_the_images_largest_values():
    model = Small()
    rng = np.random.default_rng(0)
    images = rng.normal(size=(6, 3, 8, 8)).astype("float32")
    images[4, 0, 0, 0] = -90  # one odd image must not set the scale alone
    quantized = calibrate(model, [images[:4], images[4:]])
    scales = input_scales({key: value.numpy() for key, value in quantized.state_dict().items()})
    assert set(scales) == {"first", "fc", "dead"}
    per_image = np.abs(images).reshape(6, -1).max(axis=1)
    np.testing.assert_allclose(scales["first"], [per_image.mean()], rtol=1e-6)
    with paddle.no_grad():
        pooled = model.depthwise(model.first(paddle.to_tensor(images))).mean(axis=[2, 3]).numpy()
    np.testing.assert_allclose(scales["fc"], [np.abs(pooled).max(axis=1).mean()], rtol=1e-5)
    assert scales["dead"] > 0
    assert not is_quantized(model)
    assert not any(hasattr(layer, "skip_quant") for layer in model.sublayers())


def test_it_computes_on_eight_bits_and_depthwise_in_float():
    model = Small()
    images = np.random.default_rng(0).normal(size=(5, 3, 8, 8)).astype("float32")
    quantized = calibrate(model, [images])

    def rounded(values, scale):
        return np.round(np.clip(values, -scale, scale) / scale * 127) * scale / 127

    weight = model.first.weight.numpy()
    model.first.weight.set_value(rounded(weight, np.abs(weight).max(axis=(1, 2, 3), keepdims=True)))
    with paddle.no_grad():
        scale = np.abs(images).reshape(5, -1).max(axis=1).mean()
        expected = model.depthwise(model.first(paddle.to_tensor(rounded(images, scale)))).numpy()
        actual = quantized.depthwise(quantized.first(paddle.to_tensor(images))).numpy()
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)
    assert type(quantized.depthwise) is nn.Conv2D


def test_a_network_has_its_depthwise_convolutions_in_float():
    model = create_model("PPLCNet_x0_25", class_num=4)
    quantized = calibrate(model, [np.zeros((1, 3, 32, 32), "float32")])
    kinds = {name: type(layer) for name, layer in quantized.named_sublayers()}
    assert kinds["conv1.conv"] is QuantizedConv2D
    assert kinds["fc"] is QuantizedLinear
    depthwise = {kind for name, kind in kinds.items() if name.endswith("dw_conv.conv")}
    assert all(issubclass(kind, nn.Conv2D) for kind in depthwise)
    assert {kind for name, kind in kinds.items() if name.endswith("pw_conv.conv")} == {QuantizedConv2D}
