import numpy as np
import pytest
from PIL import Image

from ppcls_light.data.augment.augmix import AugMix, augment_and_mix
from ppcls_light.data.augment.operations import Operations


@pytest.fixture
def photo():
    return np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


class Fixed:
    """Stands in for a Generator with given weights of the chains and of their sum."""

    def __init__(self, weights, share):
        self.weights, self.share = weights, share

    def dirichlet(self, alphas):
        assert len(alphas) == len(self.weights)
        return np.array(self.weights)

    def beta(self, *_):
        return self.share


def test_the_mean_is_algorithm_1(photo):
    copies = iter([photo // 2, 255 - photo, photo // 3])

    def augment(image):
        return Image.fromarray(next(copies))

    mixed = augment_and_mix(Image.fromarray(photo), 1, 3, 1, Fixed([0.5, 0.3, 0.2], 0.7), augment)
    chains = 0.5 * (photo // 2) + 0.3 * (255 - photo.astype(float)) + 0.2 * (photo // 3)
    expected = 0.3 * photo + 0.7 * chains
    assert np.abs(np.asarray(mixed) - expected).max() <= 0.5 + 1e-3


def test_depth_of_chains(photo):
    image, rng, counts = Image.fromarray(photo), np.random.default_rng(0), []

    def count(chain):
        counts[-1] += 1
        return chain

    for _ in range(600):
        counts.append(0)
        augment_and_mix(image, 1, 1, -1, rng, count)
    assert {depth: counts.count(depth) for depth in set(counts)} == {
        depth: pytest.approx(200, abs=45) for depth in (1, 2, 3)
    }


def test_the_authors_nine_operations_at_uniform_levels(photo, monkeypatch):
    applied = []
    monkeypatch.setattr(
        Operations, "apply", lambda self, image, name, level, rng: applied.append((name, level)) or image
    )
    op, rng = AugMix(prob=1, aug_severity=3, mixture_width=2, mixture_depth=2), np.random.default_rng(0)
    for _ in range(1000):
        op(photo, rng)
    assert len(applied) == 4000
    names, levels = [name for name, _ in applied], np.array([level for _, level in applied])
    assert {name: names.count(name) / 4000 for name in set(names)} == {
        name: pytest.approx(1 / 9, abs=0.02)
        for name in (
            "AutoContrast", "Equalize", "Posterize", "Rotate", "Solarize",
            "ShearX", "ShearY", "TranslateX", "TranslateY",
        )
    }  # fmt: skip
    assert (levels.min(), levels.mean(), levels.max()) == pytest.approx((0.1, 1.55, 3), abs=0.05)
    scales = op.operations.scales
    assert [scales["Posterize"].amount(share, rng) for share in (0.1, 0.3, 1)] == [4, 3, 0]
    assert [scales["Solarize"].amount(share, rng) for share in (0.1, 1)] == [231, 0]


def test_probability(photo):
    op, rng = AugMix(prob=0.3, aug_severity=10, aug_prob_coeff=1), np.random.default_rng(0)
    changed = np.mean([not np.array_equal(op(photo, rng), photo) for _ in range(800)])
    assert changed == pytest.approx(0.3, abs=0.05)
