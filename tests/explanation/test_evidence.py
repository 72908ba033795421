"""Heat maps of a network that learned to look into one corner, and what is left of them without its weights."""

import numpy as np
import paddle
import pytest
from paddle.nn import functional as F
from scipy.stats import spearmanr

from ppcls_light.explanation.heat_maps import heat_maps, probabilities
from ppcls_light.models import create_model

SIDE, CORNER = 160, 16  # pixels; of the evidence, so that no layer before the last sees it beyond the quarter
# Convolutions alone, and a linear classifier after the pooling. Attention and squeeze-and-excitation carry evidence to
# every place of a map, where a heat map then finds it.
OPTIONS = {
    "depths": (1, 1, 1, 1),
    "dims": (16, 24, 32, 48),
    "global_block": (0, 0, 0, 0),
    "kernel_sizes": (3, 3, 3, 3),
    "layer_scale_init_value": 0.1,
}


def draw(count, rng):
    """Return noise with vertical stripes, horizontal ones or a checkerboard at the top left, and which."""
    labels = rng.integers(0, 3, count)
    rows, columns = np.indices((CORNER, CORNER)) // 4 % 2
    images = rng.normal(scale=0.2, size=(count, 3, SIDE, SIDE)).astype("float32")
    images[:, :, :CORNER, :CORNER] += 2 * np.stack([rows, columns, rows ^ columns])[labels][:, None] - 1
    return images, labels


def new_network(seed):
    paddle.seed(seed)
    return create_model("EdgeNeXt_XX_Small_BN_HS", class_num=3, **OPTIONS)


@pytest.fixture(scope="module")
def trained():
    """A network after 40 batches, and 12 images with their classes."""
    rng, model = np.random.default_rng(0), new_network(0)
    optimizer = paddle.optimizer.AdamW(0.003, parameters=model.parameters(), weight_decay=0.05)
    for _ in range(40):
        images, labels = draw(12, rng)
        F.cross_entropy(model(paddle.to_tensor(images)), paddle.to_tensor(labels)).backward()
        optimizer.step()
        optimizer.clear_grad()
    model.eval()
    images, labels = draw(12, rng)
    assert (probabilities(model, images).argmax(axis=1) == labels).all()
    return model, images, labels


@pytest.mark.parametrize(
    ("method", "count"), [("layercam", 12), ("gradcam", 12), ("scorecam", 3), ("occlusion", 3)]
)
def test_nine_tenths_of_a_map_lie_in_the_quarter_with_the_evidence(trained, method, count):
    model, images, labels = trained
    maps = heat_maps(model, images[:count], labels[:count], method)
    share = maps[:, : SIDE // 2, : SIDE // 2].sum(axis=(1, 2)) / maps.sum(axis=(1, 2))
    assert share.mean() >= 0.9, share


@pytest.mark.parametrize("method", ["layercam", "gradcam", "smoothgrad"])
def test_other_weights_give_another_map(trained, method):
    """Sanity check of Adebayo et al., arXiv 1810.03292, section 3: a map that stays the same tells nothing of them."""
    model, images, labels = trained
    images, labels = images[:3], labels[:3]
    maps = heat_maps(model, images, labels, method)
    redrawn = heat_maps(new_network(1), images, labels, method)
    correlation = [
        spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(maps[:, ::8, ::8], redrawn[:, ::8, ::8])
    ]
    assert np.abs(correlation).mean() < 0.5
