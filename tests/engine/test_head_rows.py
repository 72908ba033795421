"""A classifier's rows by the names of their classes, in every family."""

import numpy as np
import paddle
import pytest

from ppcls_light.data.classes import ClassNames
from ppcls_light.engine.head_rows import keep_rows
from ppcls_light.errors import WeightsError
from ppcls_light.models import create_model
from ppcls_light.weights import dump_plain_pickle, write_weights


@pytest.mark.parametrize("name", ["PPLCNet_x0_25", "FasterNet_T0", "MicroNet_M0", "EdgeNeXt_XX_Small"])
def test_a_class_keeps_its_logit_wherever_its_label_goes(name, tmp_path):
    before, now = ("hat", "shoe", "twin", "twin"), ("tie", "twin", "shoe", "coat", "hat")
    path = str(tmp_path / "first.pdparams")
    first = create_model(name, class_num=len(before))
    for key in first.head_keys:  # no two rows are alike, as of a trained one
        value = first.state_dict()[key]
        value.set_value(value + paddle.linspace(0.1, 1.0, len(before)))
    write_weights(path, first.state_dict())
    dump_plain_pickle({"class_names": list(before)}, str(tmp_path / "first.pdstates"))
    model = create_model(name, class_num=len(now), pretrained=path)
    assert keep_rows(model, path, ClassNames(now, "test"))
    images = paddle.to_tensor(np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype("float32"))
    first.eval()
    model.eval()
    old, new = first(images).numpy(), model(images).numpy()
    for shared in ("hat", "shoe"):
        np.testing.assert_allclose(
            new[:, now.index(shared)], old[:, before.index(shared)], rtol=1e-5, atol=1e-5
        )
    # "twin" was two classes, so that nobody knows which of them it is.
    for other in ("tie", "twin", "coat"):
        assert not np.isclose(new[:, [now.index(other)]], old, atol=1e-4).any()


def test_states_of_another_training_are_one_line(tmp_path):
    path = str(tmp_path / "first.pdparams")
    write_weights(path, create_model("PPLCNet_x0_25", class_num=3).state_dict())
    model = create_model("PPLCNet_x0_25", class_num=2)
    for names in (["a", "b"], ["c", "d", "e", "b"]):
        dump_plain_pickle({"class_names": names}, str(tmp_path / "first.pdstates"))
        with pytest.raises(
            WeightsError, match=rf"names {len(names)} classes, but fc.weight in .* has 3: they"
        ):
            keep_rows(model, path, ClassNames(("b", "x"), "test"))
