import numpy as np
import paddle
import pytest

from ppcls_light.errors import WeightsError
from ppcls_light.models import create_model
from ppcls_light.weights import load_weights, write_weights


def arrays(model):
    return {key: value.numpy() for key, value in model.state_dict().items()}


def build(seed, class_num=4, name="PPLCNet_x0_25", **options):
    paddle.seed(seed)
    return create_model(name, class_num=class_num, **options)


def test_loads_every_key_from_a_file(tmp_path):
    trained, fresh = build(1), build(2)
    write_weights(tmp_path / "best_model.pdparams", trained.state_dict())
    report = load_weights(fresh, tmp_path / "best_model")
    assert report.fits
    assert len(report.loaded) == 146
    for key, value in arrays(trained).items():
        np.testing.assert_array_equal(fresh.state_dict()[key].numpy(), value)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_floats_of_any_width_become_float32(dtype):
    trained, fresh = build(1), build(2)
    load_weights(fresh, {key: value.astype(dtype) for key, value in arrays(trained).items()})
    for key, value in arrays(trained).items():
        np.testing.assert_allclose(fresh.state_dict()[key].numpy(), value, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(value):
    model = build(1)
    state, before = arrays(build(2)), arrays(model)
    key = next(iter(state))
    state[key] = np.full_like(state[key], value)
    with pytest.raises(WeightsError, match=rf"x\.pdparams: 1 of \d+ weights hold NaN or infinity \({key}\)"):
        load_weights(model, state, source="x.pdparams")
    np.testing.assert_array_equal(arrays(model)[key], before[key])


def test_another_class_count_says_both_and_the_fix():
    model = build(0, class_num=4)
    before = arrays(model)
    with pytest.raises(WeightsError) as raised:
        load_weights(model, arrays(build(1, class_num=7)))
    message = str(raised.value)
    assert "the weights have 7 classes, Arch.class_num is 4" in message
    assert "-o Global.reset_head=true" in message
    assert "\n" not in message
    for key, value in arrays(model).items():
        np.testing.assert_array_equal(value, before[key])


def test_reset_head_keeps_the_new_head_and_loads_the_rest(caplog):
    model, trained = build(0, class_num=4), build(1, class_num=7)
    head = model.fc.weight.numpy()
    report = load_weights(model, arrays(trained), reset_head=True)
    assert report.replaced == ("fc.weight", "fc.bias")
    assert len(report.loaded) == 144
    assert "the head of PPLCNet_x0_25 starts anew (fc.weight, fc.bias)" in caplog.text
    np.testing.assert_array_equal(model.fc.weight.numpy(), head)
    np.testing.assert_array_equal(model.conv1.conv.weight.numpy(), trained.conv1.conv.weight.numpy())


def test_reset_head_loads_a_head_that_fits(caplog):
    model, trained = build(0), build(1)
    assert load_weights(model, arrays(trained), reset_head=True).replaced == ()
    np.testing.assert_array_equal(model.fc.weight.numpy(), trained.fc.weight.numpy())
    assert caplog.text == ""


def test_reset_head_forgives_nothing_but_the_head():
    state = arrays(build(1, class_num=7))
    del state["conv1.conv.weight"]
    with pytest.raises(WeightsError, match=r"1 missing \(conv1\.conv\.weight\)"):
        load_weights(build(0), state, reset_head=True)
    with pytest.raises(WeightsError, match="of another shape"):
        load_weights(build(0), arrays(build(1, name="PPLCNet_x0_5")), reset_head=True)


def test_another_network_lists_counts_names_and_shapes():
    state = arrays(build(1, name="PPLCNet_x0_5"))
    del state["last_conv.weight"]
    state["extra.weight"] = np.zeros(3)
    with pytest.raises(WeightsError) as raised:
        load_weights(build(0), state)
    message = str(raised.value)
    assert message.startswith("the weights cannot be loaded into PPLCNet_x0_25: ")
    assert "1 missing (last_conv.weight), 1 unexpected (extra.weight)" in message
    assert "conv1.conv.weight" not in message  # 8 channels in both
    assert "blocks2.0.pw_conv.conv.weight [16, 8, 1, 1] instead of [8, 8, 1, 1], " in message
    assert "set Arch.name" in message
    assert "\n" not in message
