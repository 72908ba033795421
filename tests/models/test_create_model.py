import re

import numpy as np
import paddle
import pytest

from ppcls_light.errors import ConfigError
from ppcls_light.models import create_model, list_models
from ppcls_light.models.profile import profile
from ppcls_light.weights import write_weights

# Learned parameters (M) and multiply-adds (M): PaddleClas' networks under a hook counter; the parameters
# are also those of the papers' tables (PP-LCNet 1.52 to 9.04, FasterNet 3.9 to 93.4, MicroNet 1.0 to 2.6).
COSTS = {
    "PPLCNet_x0_25": (1.524, 16.8),
    "PPLCNet_x0_35": (1.647, 27.4),
    "PPLCNet_x0_5": (1.885, 44.7),
    "PPLCNet_x0_75": (2.365, 94.8),
    "PPLCNet_x1_0": (2.963, 155.7),
    "PPLCNet_x1_5": (4.516, 334.2),
    "PPLCNet_x2_0": (6.543, 580.2),
    "PPLCNet_x2_5": (9.045, 893.7),
    "FasterNet_T0": (3.91, 335),
    "FasterNet_T1": (7.6, 851),
    "FasterNet_T2": (15.0, 1904),
    "FasterNet_S": (31.1, 4550),
    "FasterNet_M": (53.5, 8722),
    "FasterNet_L": (93.4, 15494),
    "MicroNet_M0": (1.02, 3.45),
    "MicroNet_M1": (1.78, 5.31),
    "MicroNet_M2": (2.39, 10.34),
    "MicroNet_M3": (2.62, 18.24),
}


@pytest.mark.usefixtures("zero_weights")
@pytest.mark.parametrize("name", COSTS)
def test_params_and_multiply_adds(name):
    params, multiply_adds = COSTS[name]
    counted = profile(create_model(name))
    assert counted.params / 1e6 == pytest.approx(params, rel=0.01)
    assert counted.multiply_adds / 1e6 == pytest.approx(multiply_adds, rel=0.01)


def test_every_registered_name_is_swept_or_general():
    edgenext = set(list_models("edgenext*"))  # tests/models/test_edgenext.py
    others = {"PPLCNetBaseNet", *list_models("lcnet_*")}
    assert set(list_models()) - edgenext == {*COSTS, *others}


@pytest.mark.parametrize(
    ("timm", "scale"), [("035", "0_35"), ("050", "0_5"), ("075", "0_75"), ("150", "1_5")]
)
def test_timms_lcnet_is_pplcnet_with_a_bias_in_the_head(timm, scale):
    theirs, ours = create_model(f"lcnet_{timm}").state_dict(), create_model(f"PPLCNet_x{scale}").state_dict()
    assert theirs.pop("last_conv.bias").shape == [1280]
    assert {key: value.shape for key, value in theirs.items()} == {
        key: value.shape for key, value in ours.items()
    }


@pytest.mark.parametrize("options", [{"class_num": 2**31}, {"class_expand": 2**31}, {"scale": 1e30}])
def test_sizes_beyond_all_bounds_are_one_line(options):
    (key, value), *_ = options.items()
    with pytest.raises(
        ConfigError,
        match=rf"^PPLCNet_x0_25 cannot be made with .*{key}={re.escape(str(value))}.*; use other values, or smaller",
    ):
        create_model("PPLCNet_x0_25", **options)


def test_names_are_case_insensitive_and_have_aliases():
    assert list_models("pplcnet_x1*") == ["PPLCNet_x1_0", "PPLCNet_x1_5"]
    assert create_model("fasternet_t0", class_num=2).model_name == "FasterNet_T0"
    assert create_model("PPLCNet", scale=0.25, class_num=2).model_name == "PPLCNetBaseNet"


@pytest.mark.parametrize("name", ["PPLCNet_x0_25", "FasterNet_T0"])
def test_training_reaches_every_parameter_with_finite_gradients(name):
    paddle.seed(0)
    model = create_model(name, class_num=3)
    logits = model(paddle.randn([4, 3, 64, 64]))
    assert list(logits.shape) == [4, 3]
    paddle.nn.functional.cross_entropy(logits, paddle.to_tensor([0, 1, 2, 0])).backward()
    for key, parameter in model.named_parameters():
        if not parameter.stop_gradient:
            assert parameter.grad is not None, key
            assert np.isfinite(parameter.grad.numpy()).all(), key
            assert parameter.grad.abs().sum() > 0, key


@pytest.mark.parametrize(
    ("name", "options", "strides"),
    [
        ("PPLCNet_x0_25", {}, [4, 8, 16, 32]),
        (
            "PPLCNet_x0_25",
            {"stride_list": [2, [2, 1], [2, 1], [2, 1], [2, 1]]},
            [(4, 2), (8, 2), (16, 2), (32, 2)],
        ),
        ("FasterNet_T0", {}, [4, 8, 16, 32]),
        ("EdgeNeXt_XX_Small_BN_HS", {}, [4, 8, 16, 32]),
    ],
)
def test_feature_maps_are_what_the_attributes_say(name, options, strides):
    model = create_model(name, features_only=True, **options)
    features = model(paddle.zeros([1, 3, 64, 96]))
    assert model.feature_strides == strides
    assert [feature.shape[1] for feature in features] == model.feature_channels
    for feature, stride in zip(features, strides):
        rows, columns = stride if isinstance(stride, tuple) else (stride, stride)
        assert list(feature.shape[2:]) == [64 // rows, 96 // columns]


@pytest.mark.parametrize("name", ["PPLCNet_x0_25", "FasterNet_T0", "EdgeNeXt_XX_Small"])
def test_features_of_a_classifiers_weights_equal_its_inner_maps(name, tmp_path):
    paddle.seed(0)
    classifier = create_model(name, class_num=4)
    write_weights(tmp_path / "w.pdparams", classifier.state_dict())
    backbone = create_model(name, features_only=True, pretrained=tmp_path / "w.pdparams")
    own, given = backbone.state_dict(), classifier.state_dict()
    shared = [key for key in own if key in given]
    assert shared == [key for key in given if not key.startswith(backbone.spare_prefixes)]
    assert len(shared) > 100
    for key in shared:
        np.testing.assert_array_equal(own[key].numpy(), given[key].numpy())


def test_lr_mult_list_and_weight_decay_marks():
    mults = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    model = create_model("PPLCNet_x0_25", lr_mult_list=mults)
    by_stage = {"conv1": 0.0, "blocks2": 0.1, "blocks3": 0.2, "blocks4": 0.3, "blocks5": 0.4, "blocks6": 0.5}
    for key, parameter in model.named_parameters():
        if not parameter.stop_gradient:
            assert parameter.optimize_attr["learning_rate"] == by_stage.get(key.split(".")[0], 1.0), key
            exempt = ".bn." in key
            assert (parameter.regularizer is not None) == exempt, key


def test_head_dropout_scales_at_inference_unlike_lcnet_baseline():
    ours, baseline = create_model("PPLCNet_x1_0", class_num=3), create_model("lcnet_baseline", class_num=3)
    baseline.set_state_dict(ours.state_dict())
    ours.eval(), baseline.eval()
    x = paddle.randn([1, 3, 32, 32])
    bias = ours.fc.bias
    np.testing.assert_allclose(
        (ours(x) - bias).numpy(), 0.8 * (baseline(x) - bias).numpy(), rtol=1e-4, atol=1e-7
    )  # fmt: skip


def test_drop_path_grows_linearly_to_the_variants_rate():
    model = create_model("FasterNet_S", class_num=2)
    rates = [block.drop_path.rate for i in (0, 2, 4, 6) for block in model.stages[i].blocks]
    np.testing.assert_allclose(rates, np.linspace(0, 0.1, 18))


def test_batch_norm_momentum_is_paddles():
    assert create_model("FasterNet_T0", class_num=2).patch_embed.norm._momentum == 0.9


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("PPLCNet_x0_26", {}, r"unknown model 'PPLCNet_x0_26'; did you mean 'PPLCNet_x0_25'\?"),
        (
            "PPLCNet_x0_25",
            {"dropout": 0.1},
            r"PPLCNet_x0_25: unknown key dropout; did you mean 'dropout_\w+'\?",
        ),
        ("PPLCNet_x0_25", {"class_num": 0}, "class_num: expected a whole number >= 1, got 0"),
        ("PPLCNet_x0_25", {"class_num": "10"}, "class_num: expected a whole number"),
        ("PPLCNet_x0_25", {"dropout_prob": 1.5}, "dropout_prob: expected a number >= 0 and <= 1"),
        ("PPLCNet_x0_25", {"lr_mult_list": [1.0] * 5}, "lr_mult_list: expected a list of 6 numbers"),
        ("PPLCNet_x0_25", {"stride_list": [2, 2]}, "stride_list: expected a list of 5 entries"),
        ("PPLCNet_x0_25", {"act": "hardswich"}, "act: expected one of .*did you mean 'hardswish'"),
        ("FasterNet_T0", {"scale": 2.0}, "FasterNet_T0: unknown key scale"),
        ("FasterNet_T0", {"depths": [1, 2]}, "depths: expected a list of 4 whole numbers"),
        ("FasterNet_T0", {"n_div": 50}, "PConv cannot convolve 1/50 of 40 channels"),
    ],
)
def test_a_wrong_argument_is_one_clear_line(name, options, message):
    with pytest.raises(ConfigError, match=message) as raised:
        create_model(name, **options)
    assert "\n" not in str(raised.value)


def test_pretrained_with_another_class_count_keeps_the_new_head_and_says_so(tmp_path, caplog):
    paddle.seed(0)
    trained = create_model("PPLCNet_x0_25", class_num=5)
    write_weights(tmp_path / "w.safetensors", trained.state_dict())
    tuned = create_model("PPLCNet_x0_25", class_num=3, pretrained=str(tmp_path / "w"))
    assert "fc.weight, fc.bias" in caplog.text
    assert list(tuned.fc.bias.shape) == [3]
    np.testing.assert_array_equal(tuned.last_conv.weight.numpy(), trained.last_conv.weight.numpy())
    caplog.clear()
    create_model("PPLCNet_x0_25", class_num=5, pretrained=str(tmp_path / "w"))
    assert caplog.text == ""
