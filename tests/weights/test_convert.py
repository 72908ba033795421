import re

import numpy as np
import pytest

from ppcls_light.errors import ConfigError, WeightsError
from ppcls_light.models import create_model, list_models
from ppcls_light.weights import convert_state_dict

BLOCKS = [f"blocks{stage}.{i}" for stage, depth in enumerate((1, 2, 2, 6, 2), 2) for i in range(depth)]


def authors_state(arch, class_num=3):
    """Our fresh weights under the authors' names and layouts."""
    state = create_model(arch, class_num=class_num).state_dict()
    return as_authors({key: value.numpy() for key, value in state.items()})


def as_authors(ours):
    """Our weights under the authors' names and layouts, by the reverse of the documented rules."""
    state = {}
    for key, value in ours.items():
        key = key.replace("._mean", ".running_mean").replace("._variance", ".running_var")
        if key.endswith(".running_var"):
            state[key.replace("running_var", "num_batches_tracked")] = np.array(9)
        state[key] = value.T if value.ndim == 2 else value
    return state


def test_linear_weights_are_transposed_and_statistics_renamed():
    state = authors_state("FasterNet_T0")
    converted = convert_state_dict(state, "fasternet_t0")
    assert converted["head.weight"].shape == (1280, 3)
    np.testing.assert_array_equal(converted["head.weight"], state["head.weight"].T)
    np.testing.assert_array_equal(
        converted["patch_embed.norm._variance"], state["patch_embed.norm.running_var"]
    )
    assert not any("num_batches_tracked" in key for key in converted)


@pytest.mark.parametrize("arch", ["EdgeNeXt_XX_Small", "EdgeNeXt_XX_Small_BN_HS"])
def test_edgenext_keeps_the_authors_names(arch):
    model = create_model(arch, class_num=3)
    model.stages[1][1].xca.temperature.set_value(np.full((4, 1, 1), 2.0, "float32"))
    expected = {key: value.numpy() for key, value in model.state_dict().items()}
    converted = convert_state_dict(as_authors(expected), arch.lower())
    assert set(converted) == set(expected)
    for key, value in converted.items():
        np.testing.assert_array_equal(value, expected[key])
    backbone = {
        key: value for key, value in as_authors(expected).items() if not key.startswith(("norm", "head"))
    }
    assert set(convert_state_dict(backbone, arch)) == {
        key for key in expected if key[:4] not in ("norm", "head")
    }


def test_the_other_form_of_edgenext_is_told_by_its_keys():
    message = r"not those of EdgeNeXt_XX_Small_BN_HS: .* missing \(downsample_layers\.0\.1\._mean, "
    with pytest.raises(WeightsError, match=message):
        convert_state_dict(authors_state("EdgeNeXt_XX_Small"), "edgenext_xx_small_bn_hs")


def test_micronet_keeps_the_authors_names_with_or_without_classifier():
    state = authors_state("MicroNet_M0")
    converted = convert_state_dict(state, "micronet_m0")
    assert set(converted) == set(create_model("MicroNet_M0").state_dict())
    assert converted["classifier.2.linear.0.weight"].shape == (640, 3)
    for key in ("features.2.layers.1.fc.0.weight", "classifier.0.linear.0.weight"):
        np.testing.assert_array_equal(converted[key], state[key].T)
    backbone = {key: value for key, value in state.items() if key.startswith("features.")}
    assert set(convert_state_dict(backbone, "MicroNet_M0")) == {
        key for key in converted if key.startswith("features.")
    }


def test_a_key_left_over_or_missing_is_named():
    state = authors_state("FasterNet_T0")
    state["ema.decay"] = np.zeros(1)
    del state["patch_embed.proj.weight"]
    message = r"113 keys fit, 1 missing \(patch_embed\.proj\.weight\), 1 unexpected \(ema\.decay\)"
    with pytest.raises(WeightsError, match=message):
        convert_state_dict(state, "FasterNet_T0")


def test_the_wrong_variant_is_named_by_shape():
    with pytest.raises(
        WeightsError, match=r"patch_embed\.proj\.weight \[40, 3, 4, 4\] instead of \[64, 3, 4, 4\]"
    ):
        convert_state_dict(authors_state("FasterNet_T0"), "FasterNet_T1")


def test_no_weights_at_all():
    with pytest.raises(WeightsError, match="0 keys fit"):
        convert_state_dict({}, "lcnet_baseline")


def test_an_unknown_network():
    with pytest.raises(ConfigError, match=r"did you mean 'FasterNet_T0'\?"):
        convert_state_dict({}, "fasternet_t00")


@pytest.mark.usefixtures("zero_weights")
@pytest.mark.parametrize("arch", list_models())
def test_every_network_takes_its_own_weights_and_names_what_is_missing(arch):
    with pytest.raises(WeightsError, match=f"are not those of {arch}: 0 keys fit"):
        convert_state_dict({}, arch)


def test_pplcnet_takes_the_names_of_paddleclas_only():
    """Under PPLCNet_x1_0, weights trained with ordinary dropout would have every logit scaled wrongly."""
    state = {
        key: value.numpy() for key, value in create_model("PPLCNet_x0_25", class_num=3).state_dict().items()
    }
    converted = convert_state_dict(state, "PPLCNet_x0_25")
    assert set(converted) == set(state)
    np.testing.assert_array_equal(converted["fc.weight"], state["fc.weight"])
    baseline = {
        re.sub(r"^blocks(\d)\.(\d)", lambda match: f"blocks.{BLOCKS.index(match[0])}.0", key): value
        for key, value in authors_state("lcnet_baseline").items()
    }
    assert convert_state_dict(baseline, "lcnet_baseline")
    with pytest.raises(WeightsError, match="read as PaddleClas', are not those of PPLCNet_x1_0"):
        convert_state_dict(baseline, "PPLCNet_x1_0")


def test_two_keys_for_one_weight():
    state = authors_state("lcnet_baseline")
    state["f.bias"] = state["fc.bias"]
    with pytest.raises(WeightsError, match=r"two keys of these weights mean fc\.bias, f\.bias among them"):
        convert_state_dict(state, "lcnet_baseline")


def test_a_timm_variant_that_differs_is_refused():
    """timm's edgenext_small_rw has downsampling blocks and convolutions without bias."""
    state = authors_state("EdgeNeXt_Small")
    state = {key.replace("downsample_layers.0.", "stem."): value for key, value in state.items()}
    del state["stem.0.bias"]
    with pytest.raises(WeightsError, match=r"read as timm's, .* 1 missing \(downsample_layers\.0\.0\.bias\)"):
        convert_state_dict(state, "edgenext_small")
