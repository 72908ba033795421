"""Outputs of layers inside a network: which they are, and that taking them changes nothing."""

import numpy as np
import paddle
import pytest

from ppcls_light.errors import ConfigError
from ppcls_light.models import create_model
from ppcls_light.models.features import feature_shapes, layer_name, layers_of, logits_and_features

NAMES = ("PPLCNet_x0_25", "FasterNet_T0", "MicroNet_M0", "EdgeNeXt_XX_Small", "EdgeNeXt_XX_Small_BN_HS")


@pytest.fixture(scope="module")
def images():
    return paddle.to_tensor(np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype("float32"))


@pytest.mark.parametrize(
    ("name", "options"),
    [*((name, {}) for name in NAMES), ("ResNet50_vd", {"depths": [1, 2, 1, 1]})],
)
def test_stages_end_in_the_maps_of_the_backbone(name, options, images):
    classifier = create_model(name, class_num=3, **options)
    backbone = create_model(name, features_only=True, **options)
    state = classifier.state_dict()
    for key, value in backbone.state_dict().items():
        if key in state:
            value.set_value(state[key])
    classifier.eval(), backbone.eval()
    layers = layers_of(classifier, [], True)
    outputs = logits_and_features(classifier, images, {layer: layer for layer in layers})
    np.testing.assert_array_equal(outputs.pop("logits").numpy(), classifier(images).numpy())
    assert list(outputs) == layers
    # PP-LCNet's first stage keeps the stem's resolution and is no feature map.
    for found, expected in zip(list(outputs.values())[-4:], backbone(images)):
        assert found.shape == expected.shape
        # FasterNet's backbone has fresh batch norms behind the maps, which divide by the root of 1 + 1e-5.
        np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)
    assert not any(layer._forward_post_hooks for layer in classifier.sublayers())


def test_names_are_paddleclas_or_ours():
    network = create_model("ResNet50_vd", depths=[1, 2, 1, 1], class_num=3)
    assert layers_of(network, ["blocks[2]", "blocks.4", "stem"], True) == ["blocks.2", "blocks.4", "stem"]
    # PaddleClas, resnet.py: blocks[2], [6], [12] and [15] of ResNet50.
    assert layers_of(create_model("ResNet50_vd"), [], [0, 3]) == ["blocks.2", "blocks.15"]
    assert layers_of(create_model("PPLCNet_x0_25"), [], 4) == ["blocks6"]
    assert layers_of(create_model("PPLCNet_x0_25"), [], None) == []
    assert layer_name("stages[1].blocks[0]") == "stages.1.blocks.0"


@pytest.mark.parametrize(
    ("patterns", "stages", "message"),
    [
        (["block5"], None, r"return_patterns: PPLCNet_x0_25 has no layer 'block5'; did you mean 'blocks5'\?"),
        (["zzz"], None, "has no layer 'zzz'; its stages end in blocks2, blocks3, blocks4, blocks5, blocks6"),
        (["__class__"], None, "has no layer '__class__'"),
        ([], 5, "return_stages: PPLCNet_x0_25 has the stages 0 to 4 .*, and no 5"),
    ],
)
def test_what_is_not_there_is_answered_with_what_is(patterns, stages, message):
    with pytest.raises(ConfigError, match=message):
        layers_of(create_model("PPLCNet_x0_25"), patterns, stages)


def test_shapes_are_known_without_a_trace():
    network = create_model("PPLCNet_x0_25", class_num=3)
    network.train()
    network.blocks2.eval()
    before = {key: value.numpy() for key, value in network.state_dict().items()}
    found = feature_shapes(network, {"one": "blocks3", "two": "blocks6.1"}, (3, 64, 32))
    assert found == {"logits": [3], "one": [16, 16, 8], "two": [128, 2, 1]}
    modes = network.training, network.blocks3.training, network.blocks2.training
    assert modes == (True, True, False)
    for key, value in network.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[key])
