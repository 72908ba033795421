import numpy as np
import paddle
import pytest

from ppcls_light.export.fold.steps import fold
from ppcls_light.models import create_model
from ppcls_light.models.layers import PConv


@pytest.fixture
def images():
    return paddle.to_tensor(np.random.default_rng(1).normal(size=(2, 3, 64, 64)).astype("float32"))


def relative_error(got, expected):
    return np.linalg.norm(got - expected) / np.linalg.norm(expected)


def test_partial_convolutions_become_split_and_concat(images, randomise):
    model = randomise(create_model("FasterNet_T0", class_num=10, pconv_fw_type="slicing"))
    model.eval()
    folded = fold(model, ["pconv"])

    def modes(network):
        return {layer.mode for layer in network.sublayers() if isinstance(layer, PConv)}

    assert (modes(model), modes(folded)) == ({"slicing"}, {"split_cat"})
    np.testing.assert_array_equal(folded(images).numpy(), model(images).numpy())


def test_layer_scale_goes_into_the_convolution_before_it(images, randomise):
    model = randomise(create_model("FasterNet_T0", class_num=10, layer_scale_init_value=0.5))
    rng = np.random.default_rng(2)
    for name, parameter in model.named_parameters():
        if name.endswith("layer_scale"):
            parameter.set_value(rng.uniform(0.2, 1.5, parameter.shape).astype("float32"))
    model.eval()
    folded = fold(model, ["layer_scale"])
    assert any("layer_scale" in name for name, _ in model.named_parameters())
    assert not any("layer_scale" in name for name, _ in folded.named_parameters())
    assert relative_error(folded(images).numpy(), model(images).numpy()) < 1e-5
    assert relative_error(fold(model)(images).numpy(), model(images).numpy()) < 1e-5
