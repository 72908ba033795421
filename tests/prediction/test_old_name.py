"""`ppcls_light.inference`, which was the package's name."""

import importlib

import pytest

import ppcls_light


def test_the_old_name_gives_the_same_class_and_says_the_new_one():
    old = importlib.import_module("ppcls_light.inference")
    vars(old).pop("Predictor", None)
    with pytest.warns(DeprecationWarning, match=r"ppcls_light\.Predictor now"):
        assert old.Predictor is ppcls_light.Predictor
    with pytest.raises(AttributeError):
        _ = old.no_such_name
