import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls_light.errors import ConfigError
from ppcls_light.export.fold.steps import fold
from ppcls_light.models import create_model


def norms(model):
    return [layer for layer in model.sublayers() if isinstance(layer, nn.BatchNorm2D)]


def relative_error(folded, model, size, channels=3):
    images = paddle.to_tensor(
        np.random.default_rng(1).normal(size=(2, channels, size, size)).astype("float32")
    )
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


def test_a_batch_norm_before_a_convolution_is_folded_where_no_zeros_are_padded(randomise):
    def net(padding, **mode):
        return randomise(
            nn.Sequential(
                nn.BatchNorm2D(4),
                nn.Conv2D(4, 6, (3, 1), padding=padding, groups=2, bias_attr=False, **mode),
                nn.ReLU(),
            )
        )

    for model, left in (
        (net(0), 0),
        (net((1, 0)), 1),
        (net("SAME"), 1),
        (net(1, padding_mode="replicate"), 0),
    ):
        folded = fold(model)
        assert len(norms(folded)) == left
        assert relative_error(folded, model, 8, channels=4) < 1e-5


def test_a_batch_norm_whose_convolution_is_elsewhere_stays(randomise):
    class Apart(nn.Layer):
        """Defines a norm right before a convolution that does not take the norm's output."""

        def __init__(self):
            super().__init__()
            self.first, self.act, self.norm, self.last = (
                nn.Conv2D(3, 3, 1),
                nn.ReLU(),
                nn.BatchNorm2D(3),
                nn.Conv2D(3, 2, 1),
            )

        def forward(self, x):
            return self.last(self.act(self.first(x))) + self.norm(x).sum()

    net = randomise(Apart())
    folded = fold(net)
    assert len(norms(folded)) == 1
    assert relative_error(folded, net, 8) < 1e-5


def test_one_dimensional_batch_norm_goes_into_the_linear_layer(randomise):
    for bias in (None, False):
        net = randomise(nn.Sequential(nn.Linear(5, 7, bias_attr=bias), nn.BatchNorm1D(7), nn.Hardswish()))
        net.eval()
        x = paddle.randn([4, 5])
        folded = fold(net)
        assert isinstance(folded[1], nn.Identity)
        np.testing.assert_allclose(folded(x).numpy(), net(x).numpy(), atol=1e-6)


def test_dropout_of_pplcnet_becomes_a_factor_of_the_classifier():
    model = create_model("PPLCNet_x0_25", class_num=10)
    folded = fold(model, ["dropout"])
    np.testing.assert_allclose(folded.fc.weight.numpy(), 0.8 * model.fc.weight.numpy(), rtol=1e-6)
    assert not any(isinstance(layer, nn.Dropout) for layer in folded.sublayers())
    assert len(norms(folded)) == len(norms(model))
    assert relative_error(folded, model, 32) < 1e-6


def test_dropout_without_a_linear_layer_to_take_its_factor_stays():
    net = nn.Sequential(
        nn.Conv2D(3, 4, 1), nn.Dropout(0.2, mode="downscale_in_infer"), nn.ReLU(), nn.Dropout(0.5)
    )
    folded = fold(net)
    assert [type(layer).__name__ for layer in folded] == ["Conv2D", "Dropout", "ReLU", "Identity"]
    assert relative_error(folded, net, 8) < 1e-6


@pytest.mark.parametrize("name", ["MicroNet_M0", "EdgeNeXt_XX_Small"])
def test_a_class_derived_from_a_network_is_folded_as_that(name):
    model = create_model(name, class_num=10)
    kinds = [type(layer) for layer in fold(model).sublayers()]
    model.__class__ = type("Derived", (type(model),), {})
    assert [type(layer) for layer in fold(model).sublayers()] == kinds


def test_unknown_step_is_named():
    with pytest.raises(ConfigError, match=r"no step 'batchnorm' of folding; there are: batch_norm, "):
        fold(nn.ReLU(), ["batchnorm"])


@pytest.mark.parametrize("name", ["PPLCNet_x0_25", "FasterNet_T0", "MicroNet_M0", "EdgeNeXt_XX_Small"])
def test_no_step_leaves_the_network_as_it_is(name):
    model = create_model(name, class_num=10)
    kinds = [type(layer) for layer in model.sublayers()]
    assert [type(layer) for layer in fold(model, []).sublayers()] == kinds
