"""Occlusion of functions whose answer is known, and pictures of maps."""

import sys

import numpy as np
import pytest
from PIL import Image

from ppcls_light.errors import ConfigError, UserError
from ppcls_light.explanation.black_box import heat_maps_of
from ppcls_light.explanation.lime import linear_effects
from ppcls_light.explanation.occlusion import CELLS, occlusion
from ppcls_light.explanation.overlay import coloured, enlarged, overlay, positive_share


def of_a_window(top, left, size=8):
    """Return a function whose class 1 is probable where the mean of a window is high."""

    def probabilities(images):
        assert len(images) <= 32
        logit = 40 * images[:, :, top : top + size, left : left + size].mean(axis=(1, 2, 3))
        p = 1 / (1 + np.exp(-logit))
        return np.stack([1 - p, p], axis=1).astype("float32")

    return probabilities


@pytest.mark.parametrize(("top", "left"), [(0, 0), (24, 24), (56, 56), (0, 56), (16, 40)])
def test_occlusion_finds_the_window_that_alone_counts_even_where_the_probability_is_1(top, left):
    image = np.full((1, 3, 64, 64), -1, "float32")
    image[:, :, top : top + 8, left : left + 8] = 1
    assert of_a_window(top, left)(image)[0, 1] == 1
    heat = heat_maps_of(of_a_window(top, left), image, np.array([1]))[0]
    assert heat.shape == (64, 64)
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert top <= row < top + 8
    assert left <= column < left + 8
    near = np.zeros((64, 64), bool)
    near[max(top - 11, 0) : top + 19, max(left - 11, 0) : left + 19] = True  # two cells around the window
    assert heat[near].sum() >= 0.9 * heat.sum()
    # What speaks for one of two classes speaks against the other.
    assert heat_maps_of(of_a_window(top, left), image, np.array([0]))[0].max() == 0


def test_occlusion_is_the_mean_loss_of_the_four_patches_over_a_cell():
    """The log odds are linear here, so that the loss of a patch is the sum over its pixels."""
    rng = np.random.default_rng(0)
    weights, image = rng.normal(size=(24, 36)), rng.normal(size=(1, 3, 24, 36)).astype("float32")

    def probabilities(images):
        p = 1 / (1 + np.exp(-0.01 * (images.sum(axis=1) * weights).sum(axis=(1, 2))))
        return np.stack([p, 1 - p], axis=1)

    contribution = 0.01 * weights * (image[0] - image[0].mean(axis=(1, 2), keepdims=True)).sum(axis=0)
    cells = np.pad(contribution.reshape(CELLS, 2, CELLS, 3).sum(axis=(1, 3)), 1)
    patches = cells[1:, 1:] + cells[1:, :-1] + cells[:-1, 1:] + cells[:-1, :-1]
    expected = (patches[1:, 1:] + patches[1:, :-1] + patches[:-1, 1:] + patches[:-1, :-1]) / 4
    np.testing.assert_allclose(occlusion(probabilities, image, np.array([0]))[0], expected, atol=1e-5)


def test_an_image_smaller_than_the_cells_has_a_map():
    assert heat_maps_of(of_a_window(0, 0, 2), np.ones((1, 3, 5, 7), "float32"), np.array([1])).shape == (
        1,
        5,
        7,
    )


def test_methods_that_look_inside_are_refused():
    with pytest.raises(ConfigError, match=r"gradcam looks inside the network.*; use occlusion"):
        heat_maps_of(of_a_window(0, 0), np.ones((1, 3, 8, 8), "float32"), np.array([1]), "gradcam")
    with pytest.raises(ConfigError, match="there is no method 'limes'; did you mean 'lime'"):
        heat_maps_of(of_a_window(0, 0), np.ones((1, 3, 8, 8), "float32"), np.array([1]), "limes")


def test_a_map_is_brought_to_its_positive_share_and_a_larger_size():
    np.testing.assert_allclose(positive_share(np.array([[-3.0, 1.0], [2.0, 4.0]])), [[0, 0.25], [0.5, 1]])
    assert not positive_share(np.full((2, 2), -1.0)).any()
    np.testing.assert_allclose(enlarged(np.array([[0.0, 1.0]]), 2, 4), [[0, 0.25, 0.75, 1]] * 2)


def test_an_overlay_keeps_the_pictures_light_and_shade_and_takes_its_colour_from_the_map():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
    heat = np.zeros((3, 4), "float32")
    heat[0, 0] = 1
    mixed = overlay(picture, heat)
    assert (mixed.shape, mixed.dtype) == ((30, 40, 3), np.uint8)
    grey = np.asarray(Image.fromarray(picture).convert("L"), float)
    rest = mixed[15:, 20:].astype(float) - 0.55 * np.array([68, 1, 84])
    np.testing.assert_allclose(rest, np.repeat(0.45 * grey[15:, 20:, None], 3, axis=2), atol=1.1)
    assert mixed[0, 0, 0] > mixed[-1, -1, 0] + 40
    assert coloured(np.array([0.0, 1.0])).tolist() == [[68, 1, 84], [253, 231, 37]]


def test_the_linear_model_is_that_of_the_package_lime():
    """LimeBase.explain_instance_with_data of lime 0.2.0.1 on the same samples and distances; see `explain.lime`."""
    shown = (np.arange(64)[:, None] >> np.arange(6) & 1)[::-1]
    values = np.sin(shown @ [0.9, -0.4, 0.2, 0.7, 0.05, 1.3]) ** 2
    expected = [-0.075674, 0.040198, -0.022007, -0.059773, -0.009665, -0.019767]
    np.testing.assert_allclose(linear_effects(shown, values), expected, atol=1e-6)


@pytest.mark.parametrize(("top", "left"), [(0, 0), (40, 24)])
def test_lime_finds_the_superpixels_that_alone_count(top, left):
    """Stripes in a window are what counts: a superpixel of one colour looks the same when it is hidden."""
    pytest.importorskip("skimage", reason="LIME's superpixels are those of scikit-image")
    image = np.random.default_rng(0).normal(scale=0.1, size=(1, 3, 64, 64)).astype("float32")
    image[:, :, top : top + 16, left : left + 16] += np.arange(16) % 2

    def probabilities(images):
        window = images[:, :, top : top + 16, left : left + 16]
        p = np.abs(np.diff(window, axis=3)).mean(axis=(1, 2, 3)).clip(0, 1)
        return np.stack([1 - p, p], axis=1)

    heat = heat_maps_of(probabilities, image, np.array([1]), "lime")[0]
    assert heat.shape == (64, 64)
    assert heat.max() == 1
    near = np.zeros((64, 64), bool)
    near[max(top - 8, 0) : top + 24, max(left - 8, 0) : left + 24] = True
    assert heat[near].sum() >= 0.9 * heat.sum()


def test_without_scikit_image_lime_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.segmentation", None)
    with pytest.raises(UserError, match=r'^LIME needs scikit-image; pip install "ppcls_light\[explain\]"$'):
        heat_maps_of(of_a_window(0, 0), np.ones((1, 3, 8, 8), "float32"), np.array([1]), "lime")
