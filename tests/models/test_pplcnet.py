"""PP-LCNet without single ones of its four choices."""

import pytest

from ppcls_light import create_model
from ppcls_light.models.profile import profile


def sizes(**options):
    """Return {key: shape} of PPLCNet_x0_25 with `options`."""
    state = create_model("PPLCNet_x0_25", class_num=10, **options).state_dict()
    return {key: tuple(value.shape) for key, value in state.items()}


def test_the_network_without_squeeze_and_excitation_lacks_its_keys_alone():
    whole = sizes()
    gone = {key for key in whole if ".se." in key}
    assert {key.split(".se.")[0] for key in gone} == {"blocks6.0", "blocks6.1"}
    assert sizes(use_se=False) == {key: shape for key, shape in whole.items() if key not in gone}


def test_kernels_of_three_are_in_every_block():
    whole, small = sizes(), sizes(largest_kernel=3)
    changed = {key for key, shape in whole.items() if shape != small[key]}
    five = [f"blocks5.{block}" for block in range(1, 6)] + ["blocks6.0", "blocks6.1"]  # the paper's table 1
    assert changed == {f"{block}.dw_conv.conv.weight" for block in five}
    assert {small[key][2:] for key in changed} == {(3, 3)}


@pytest.mark.parametrize("options", [{"use_se": False}, {"largest_kernel": 3}, {"use_last_conv": False}])
def test_each_choice_costs_multiply_adds(options):
    whole, less = (profile(create_model("PPLCNet_x0_25", **own)) for own in ({}, options))
    assert less.multiply_adds < whole.multiply_adds
    assert less.params < whole.params
