import numpy as np
import pytest

from ppcls_light.data.augment.operations import Operations
from ppcls_light.data.augment.policies import IMAGENET_POLICY
from ppcls_light.data.augment.rand import AutoAugment


@pytest.fixture
def photo():
    return np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def test_auto_augment_keeps_size_type_and_is_repeatable(photo, apply_repeatably):
    op, seen = AutoAugment(), set()
    for seed in range(150):
        seen.add(apply_repeatably(op, photo, seed).tobytes())
    assert len(seen) > 25


def test_the_policy_is_used_with_its_probabilities(photo, monkeypatch):
    applied = []
    monkeypatch.setattr(
        Operations, "apply", lambda self, image, name, level, rng: applied.append((name, level)) or image
    )
    rng, draws = np.random.default_rng(0), 20000
    op = AutoAugment()
    for _ in range(draws):
        op(photo, rng)
    expected = {}
    for pair in IMAGENET_POLICY:
        for name, probability, level in pair:
            expected[name, level] = expected.get((name, level), 0) + probability / 25
    for key, rate in expected.items():
        assert applied.count(key) / draws == pytest.approx(rate, abs=0.01), key
