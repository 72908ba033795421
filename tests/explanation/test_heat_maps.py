"""Heat maps of every family against equations, a planted region, randomised weights and one another."""

import numpy as np
import paddle
import pytest

from ppcls_light.errors import ConfigError
from ppcls_light.explanation.black_box import METHODS
from ppcls_light.explanation.heat_maps import heat_maps, probabilities
from ppcls_light.models import create_model, variant

NAMES = ("PPLCNet_x0_25", "FasterNet_T0", "MicroNet_M0", "EdgeNeXt_XX_Small", "EdgeNeXt_XX_Small_BN_HS")


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).normal(size=(2, 3, 64, 64)).astype("float32")


def awake(name):
    """Return a network in eval mode whose maps and gradients are far from 0, as random weights' are not."""
    paddle.seed(0)
    model = create_model(name, class_num=4)
    for layer in model.sublayers():
        if isinstance(layer, (paddle.nn.Conv2D, paddle.nn.Linear)):
            fan_in = np.prod(layer.weight.shape[1:] if layer.weight.ndim == 4 else layer.weight.shape[:1])
            layer.weight.set_value(paddle.randn(layer.weight.shape) * (1.4 / fan_in**0.5))
        if hasattr(layer, "_momentum"):  # of a batch norm, which takes over the next batch's statistics
            layer._momentum = 0.0
    model(paddle.randn([8, 3, 64, 64]))
    model.eval()
    return model


def last_map(model):
    return dict(model.named_sublayers())[variant(model.model_name).family.last_map(model)]


@pytest.mark.parametrize("name", NAMES)
def test_what_follows_the_last_map_does_not_see_positions_and_what_comes_before_does(name, images):
    """So a class activation map of it tells of each position what it adds to the pooled features."""
    model = awake(name)
    x = paddle.to_tensor(images)
    logits = model(x).numpy()
    turned = last_map(model).register_forward_post_hook(lambda layer, inputs, output: output.flip([2, 3]))
    np.testing.assert_allclose(model(x).numpy(), logits, rtol=1e-4, atol=1e-5)
    turned.remove()
    assert np.abs(model(x.flip([2, 3])).numpy() - logits).max() > 1e-3
    family, shapes = variant(name).family, []
    for shown in (family.last_map(model), family.finer_map(model)):
        layer = dict(model.named_sublayers())[shown]
        hook = layer.register_forward_post_hook(lambda layer, inputs, output: shapes.append(output.shape[2:]))
        model(x)
        hook.remove()
    assert shapes == [[2, 2], [4, 4]]


@pytest.mark.parametrize(
    ("name", "method"),
    [*((name, "layercam") for name in NAMES), *(("MicroNet_M0", method) for method in METHODS[1:-1])],
)
def test_maps_have_the_images_size_and_reach_from_0_to_1_and_the_network_stays_as_it_was(
    name, method, images
):
    model = awake(name)
    best = probabilities(model, images[:1]).argmax(axis=1)
    model.train()
    model.sublayers()[0].training = False
    modes = [layer.training for layer in model.sublayers(include_self=True)]
    before = {key: value.numpy() for key, value in model.state_dict().items()}
    maps = heat_maps(model, images[:1], best, method)
    assert [layer.training for layer in model.sublayers(include_self=True)] == modes
    assert all(np.array_equal(value.numpy(), before[key]) for key, value in model.state_dict().items())
    assert not any(parameter.grad is not None for parameter in model.parameters())
    assert maps.shape == (1, 64, 64)
    assert maps.dtype == np.float32
    assert maps.min() >= 0
    assert maps.max() == 1
    np.testing.assert_array_equal(heat_maps(model, images[:1], best, method), maps)


def test_a_map_with_a_linear_classifier_is_cam_itself(images):
    model, kept = awake("EdgeNeXt_XX_Small_BN_HS"), []
    hook = model.norm.register_forward_post_hook(lambda layer, inputs, output: kept.append(output.numpy()))
    model(paddle.to_tensor(images))
    hook.remove()
    weights = model.head.weight.numpy()[:, [3, 1]]
    cam = np.einsum("nkhw,kn->nhw", kept[0], weights)
    for index, heat in enumerate(heat_maps(model, images, [3, 1], "gradcam")):
        # Corners of the enlarged map are those of the small one.
        corners = np.maximum(cam[index], 0) / max(cam[index].max(), 0)
        np.testing.assert_allclose(heat[::63, ::63], corners, atol=1e-4)


def test_each_image_has_its_own_class_and_by_default_the_best_one(images):
    model = awake("MicroNet_M0")
    best = probabilities(model, images).argmax(axis=1)
    for method, layer in (("gradcam", None), ("scorecam", "features.1"), ("smoothgrad", None)):
        together = heat_maps(model, images, [1, 3], method, layer)
        for index, label in enumerate((1, 3)):
            alone = heat_maps(model, images[index : index + 1], [label], method, layer)
            np.testing.assert_allclose(together[index], alone[0], atol=1e-4)
    np.testing.assert_array_equal(heat_maps(model, images), heat_maps(model, images, best))
    assert np.abs(heat_maps(model, images, 1 - best % 2) - heat_maps(model, images)).max() > 0.1


def test_a_frozen_network_has_maps_and_where_gradients_are_switched_off_too(images):
    model = awake("PPLCNet_x0_25")
    expected = heat_maps(model, images, [0, 1])
    for parameter in model.parameters():
        parameter.stop_gradient = True
    with paddle.no_grad():
        np.testing.assert_allclose(heat_maps(model, images, [0, 1]), expected, atol=1e-6)


def test_layercam_shows_the_finer_map_of_an_earlier_layer(images):
    model = awake("PPLCNet_x0_25")
    fine = heat_maps(model, images, [0, 0], "layercam")
    np.testing.assert_array_equal(heat_maps(model, images, [0, 0], layer="blocks5"), fine)
    coarse = heat_maps(model, images, [0, 0], "layercam", layer="blocks6")
    assert np.abs(np.diff(fine, axis=2)).sum() > 2 * np.abs(np.diff(coarse, axis=2)).sum()


def test_unknown_methods_and_layers_are_named(images):
    model = awake("PPLCNet_x0_25")
    with pytest.raises(ConfigError, match=r"no method 'gradcams'.*gradcam"):
        heat_maps(model, images, method="gradcams")
    with pytest.raises(ConfigError, match=r"has no layer 'blocks7'.*blocks6"):
        heat_maps(model, images, layer="blocks7")
    with pytest.raises(ConfigError, match="occlusion is of no layer"):
        heat_maps(model, images, method="occlusion", layer="blocks6")


def test_layers_without_a_map_are_refused(images):
    model = awake("PPLCNet_x0_25")
    for method in ("gradcam", "layercam", "scorecam"):
        with pytest.raises(ConfigError, match=r"layer 'fc': this layer gives \[\d, 4\].*'blocks[56]'"):
            heat_maps(model, images, method=method, layer="fc")
    with pytest.raises(ConfigError, match="has no layer '没有'; the usual one is 'blocks5'"):
        heat_maps(model, images, layer="没有")
    model.asked_never = paddle.nn.Conv2D(3, 3, 1)
    with pytest.raises(ConfigError, match="layer 'asked_never': the network does not ask"):
        heat_maps(model, images, layer="asked_never")
