"""Comparison of heat maps by tools/benchmarks/explain.py."""

import numpy as np
import paddle
import pytest

from ppcls_light.models import create_model
from tools.benchmarks import explain


def test_maps_are_compared_by_the_means_of_their_cells_and_constant_ones_left_out():
    rng = np.random.default_rng(0)
    maps = rng.random((3, 12, 12)).astype("float32")
    fine = np.kron(maps, np.ones((3, 5), "float32")) + rng.normal(scale=1e-6, size=(3, 36, 60))
    np.testing.assert_allclose(explain.cells(fine), maps.reshape(3, -1), atol=1e-5)
    np.testing.assert_allclose(explain.agreement(fine, np.sqrt(maps)), 1)
    np.testing.assert_allclose(explain.agreement(fine, -maps), -1)
    maps[1] = 0.5
    assert len(explain.agreement(fine, maps)) == 2
    assert explain.summary("gradcam", "itself", np.array([0.0, 0.5, 1.0])) == (
        *("gradcam", "itself", 3),
        *("0.50", "0.25", "0.75"),
    )


def test_only_the_chosen_weights_are_drawn_anew():
    model = create_model("PPLCNet_x0_25", class_num=3)
    other = explain.redrawn(model, model.head_keys, seed=1)
    assert not other.training
    changed = {
        key for key, value in model.state_dict().items() if not np.array_equal(value, other.state_dict()[key])
    }
    assert changed == {"fc.weight"}  # the bias begins at 0


def test_grad_cam_is_exact_where_the_classifier_is_linear():
    paddle.seed(0)
    model = create_model("EdgeNeXt_XX_Small_BN_HS", class_num=3)
    images = np.random.default_rng(0).normal(size=(2, 3, 96, 96)).astype("float32")
    model(paddle.to_tensor(np.repeat(images, 4, axis=0)))
    model.eval()
    assert explain.exactness(model, images, np.array([0, 2])) == pytest.approx(np.ones(2))
