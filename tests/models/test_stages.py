"""Stem, stages, neck and head of every family, and what freezing some of them does to a training step."""

import numpy as np
import paddle
import pytest

from ppcls_light.errors import ConfigError
from ppcls_light.models import create_model
from ppcls_light.models.stages import Stages

NAMES = (
    "PPLCNet_x0_25",
    "FasterNet_T0",
    "MicroNet_M0",
    "EdgeNeXt_XX_Small",
    "EdgeNeXt_XX_Small_BN_HS",
    "ResNet50_vd",
)
# Stages up to each of the four feature maps: PP-LCNet's first one has the stem's resolution.
FEATURES = {"PPLCNet_x0_25": (2, 3, 4, 5)}


@pytest.fixture(scope="module")
def images():
    return paddle.to_tensor(np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype("float32"))


def with_gradients(model):
    return {key for key, value in model.named_parameters() if value.grad is not None}


@pytest.mark.parametrize("name", NAMES)
def test_a_stage_is_what_its_feature_map_depends_on_beyond_the_one_before(name, images):
    model = create_model(name, features_only=True)
    stages = Stages(model)
    learned = {key: stages.number(key) for key, value in model.named_parameters() if not value.stop_gradient}
    for feature, last in zip(model(images), FEATURES.get(name, (1, 2, 3, 4))):
        feature.sum().backward(retain_graph=True)
        assert with_gradients(model) - set(model.head_keys) == {k for k, n in learned.items() if n <= last}
    assert stages.count == last
    assert {n for n in learned.values() if n <= last} == set(range(last + 1))


@pytest.mark.parametrize("parts", ["stem", 2, "backbone"])
@pytest.mark.parametrize("name", NAMES)
def test_what_is_frozen_gets_no_gradient_and_keeps_its_statistics(name, parts, images):
    model = create_model(name, class_num=3)
    stages, recorded = Stages(model), {}
    frozen = stages.first(parts)
    before = {key: value.numpy() for key, value in model.state_dict().items()}
    frozen.freeze()
    model.train()
    frozen.hold()
    for key, layer in model.named_sublayers():
        if layer.parameters(include_sublayers=False):
            layer.register_forward_post_hook(
                lambda _, inputs, output, key=key: recorded.update({key: not output.stop_gradient})
            )
    model(images).sum().backward()
    last = {"stem": 0, "backbone": stages.neck}.get(parts, parts)
    learned = {key for key in before if stages.number(key) > last}
    statistics = {key for key in before if key.endswith(("._mean", "._variance"))}
    assert with_gradients(model) == learned - statistics
    moved = {
        key for key, value in model.state_dict().items() if not np.array_equal(value.numpy(), before[key])
    }
    assert moved == learned & statistics
    # Nothing is recorded for gradients inside of what is frozen.
    assert not any(recorded[key] for key in recorded if stages.number(f"{key}.") <= last)
    assert any(recorded.values())
    frozen.thaw()
    model.train()
    model(images).sum().backward()
    assert with_gradients(model) == set(before) - statistics


def test_the_classifier_alone_is_left_with_its_dropout():
    for name, head in (
        ("PPLCNet_x0_25", {"fc", "dropout"}),
        ("FasterNet_T0", {"head"}),
        ("MicroNet_M0", {"classifier.1", "classifier.2"}),
        ("EdgeNeXt_XX_Small", {"head", "head_dropout"}),
    ):
        model = create_model(name, class_num=3)
        model.train()
        Stages(model).first("backbone").hold()
        training = {key for key, layer in model.named_sublayers() if layer.training}
        assert head <= training
        drops = {
            key for key, layer in model.named_sublayers() if type(layer).__name__ in ("Dropout", "DropPath")
        }
        assert drops & training == head & drops


def test_more_stages_than_there_are_is_an_error():
    with pytest.raises(ConfigError, match=r"FasterNet_T0 has 4 stages, not 5; use 4 .* or backbone"):
        Stages(create_model("FasterNet_T0", class_num=2)).first(5)
