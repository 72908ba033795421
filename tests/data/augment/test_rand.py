"""PaddleClas' four RandAugments: the amounts at their default magnitudes, and what they draw."""

import numpy as np
import pytest
from PIL import Image

from ppcls_light.data.augment.operations import Operations
from ppcls_light.data.augment.rand import RandAugment, RandAugmentV2, RandAugmentV3, RandAugmentV4
from ppcls_light.errors import ConfigError


@pytest.fixture
def photo():
    return np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


class Sign:
    def __init__(self, value):
        self.value = value

    def random(self):
        return self.value


def ends(operations, name, level, top):
    """Return the amounts of a level with either sign, smallest first."""
    scale = operations.scales[name]
    return sorted(scale.amount(level / top, Sign(value)) for value in (0.1, 0.9))


ENHANCEMENTS = ("Color", "Contrast", "Brightness", "Sharpness")
STEADY = {"AutoContrast", "Equalize", "Invert"}
SHEARS = ("ShearX", "ShearY")

# At PaddleClas' default magnitudes (5, 5, 3 of 10): its level_map.
V1 = {
    **{name: [-0.15, 0.15] for name in SHEARS},
    **{name: [-75 / 331, 75 / 331] for name in ("TranslateX", "TranslateY")},
    "Rotate": [15, 15],
    **{name: [0.55, 1.45] for name in ENHANCEMENTS},
    "Posterize": [2, 2],
    "Solarize": [128, 128],
}
V2 = {
    **{name: [-0.15, 0.15] for name in SHEARS},
    **{name: [-50, 50] for name in ("TranslateXPixels", "TranslateYPixels")},
    "Rotate": [-15, 15],
    **{name: [1.0, 1.0] for name in ENHANCEMENTS},
    "Posterize": [2, 2],
    "Solarize": [128, 128],
    "SolarizeAdd": [55, 55],
    "Cutout": [20, 20],
}
V3 = {
    **{name: [-0.09, 0.09] for name in SHEARS},
    **{name: [-45 / 331, 45 / 331] for name in ("TranslateX", "TranslateY")},
    "Rotate": [-9, 9],
    **{name: [0.73, 1.27] for name in ENHANCEMENTS},
    "Posterize": [7, 7],
    "Solarize": [178.5, 178.5],
}


@pytest.mark.parametrize(
    ("op", "expected"), [(RandAugment(), V1), (RandAugmentV2(), V2), (RandAugmentV3(), V3)]
)
def test_amounts_at_the_default_magnitude(op, expected):
    assert set(op.operations.names) == {*expected, *STEADY}
    for name, amounts in expected.items():
        assert ends(op.operations, name, op.magnitude, 10) == pytest.approx(amounts), name


def test_amounts_of_v4_are_the_paper_s():
    operations = RandAugmentV4().operations
    assert len(operations.names) == 15
    assert ends(operations, "ShearY", 9, 9) == pytest.approx([-0.3, 0.3])
    assert ends(operations, "Brightness", 1, 9) == pytest.approx([0.9, 1.1])
    assert [ends(operations, "Posterize", level, 9)[0] for level in range(1, 10)] == [
        8,
        7,
        7,
        6,
        6,
        5,
        5,
        4,
        4,
    ]
    assert [ends(operations, "Cutout", level, 9)[0] for level in range(1, 10)] == [
        2, 4, 7, 9, 11, 13, 16, 18, 20
    ]  # fmt: skip


@pytest.mark.parametrize("op", [RandAugment(num_layers=3), RandAugmentV2(), RandAugmentV3(magnitude=4)])
def test_layers_are_drawn_alike(photo, op, monkeypatch):
    applied = []
    monkeypatch.setattr(
        Operations, "apply", lambda self, image, name, level, rng: applied.append((name, level)) or image
    )
    rng = np.random.default_rng(0)
    for _ in range(4000):
        op(photo, rng)
    assert len(applied) == 4000 * op.num_layers
    assert {level for _, level in applied} == {op.magnitude}
    names = [name for name, _ in applied]
    for name in op.operations.names:
        share = names.count(name) / len(names)
        assert share == pytest.approx(1 / len(op.operations.names), abs=0.012), name


def test_v4_draws_levels_1_to_9_and_applies_half(photo, monkeypatch):
    applied = []
    monkeypatch.setattr(
        Operations, "apply", lambda self, image, name, level, rng: applied.append((name, level)) or image
    )
    op, rng = RandAugmentV4(), np.random.default_rng(0)
    for _ in range(5000):
        op(photo, rng)
    assert len(applied) / 5000 == pytest.approx(1, abs=0.03)
    levels = [level for _, level in applied]
    assert {level: levels.count(level) / len(levels) for level in set(levels)} == {
        level: pytest.approx(1 / 9, abs=0.015) for level in range(1, 10)
    }


def test_fill_and_filters(photo):
    image = Image.fromarray(photo)
    affine, bicubic, nearest = Image.Transform.AFFINE, Image.Resampling.BICUBIC, Image.Resampling.NEAREST
    shear, move = (1, 0.15, 0, 0, 1, 0), (1, 0, 75 / 331 * 64, 0, 1, 0)

    def reference(matrix, resample, fill):
        return np.asarray(image.transform(image.size, affine, matrix, resample, fillcolor=fill))

    def apply(op, name):
        return np.asarray(op.operations.apply(image, name, 5, Sign(0.9)))

    fill = (10, 20, 30)
    assert np.array_equal(apply(RandAugment(fillcolor=fill), "ShearX"), reference(shear, bicubic, fill))
    assert np.array_equal(apply(RandAugment(fillcolor=fill), "TranslateX"), reference(move, nearest, fill))
    assert np.array_equal(apply(RandAugmentV2(fillcolor=fill), "ShearX"), reference(shear, nearest, fill))
    assert np.array_equal(apply(RandAugmentV3(), "TranslateX"), reference(move, bicubic, (0, 0, 0)))
    bilinear = apply(RandAugmentV3(interpolation="bilinear"), "ShearX")
    assert np.array_equal(bilinear, reference(shear, Image.Resampling.BILINEAR, (0, 0, 0)))


def test_magnitudes_above_10_stay_in_range(photo):
    for op in (RandAugment(magnitude=25), RandAugmentV2(magnitude=25), RandAugmentV3(magnitude=25)):
        for seed in range(60):
            out = op(photo, np.random.default_rng(seed))
            assert out.shape == photo.shape


def test_progressive_training_is_refused():
    with pytest.raises(ConfigError, match="progress_magnitude belongs to PaddleClas' progressive training"):
        RandAugmentV2(progress_magnitude=[5, 10])
