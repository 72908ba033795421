import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from ppcls_light.data.auto_augment import (
    _IMAGENET_POLICY,
    _PAPER_SCALES,
    _RAND_SCALES,
    _RAND_WEIGHTS,
    AutoAugment,
    TimmAutoAugment,
)
from ppcls_light.errors import ConfigError

GREY = (128, 128, 128)


class Fixed:
    """Stands in for a Generator whose random() always is `value`; integers() picks the first."""

    def __init__(self, value):
        self.value = value

    def random(self):
        return self.value

    def integers(self, _):
        return 0


POSITIVE, NEGATIVE = Fixed(0.9), Fixed(0.1)


@pytest.fixture
def photo():
    rng = np.random.default_rng(0)
    return np.clip(np.linspace(30, 220, 48)[:, None, None] + rng.normal(0, 20, (48, 64, 3)), 0, 255).astype(
        np.uint8
    )


def same(ours, reference):
    return np.array_equal(np.asarray(ours), np.asarray(reference))


def test_paper_operations_are_pillow_s(photo):
    image, op = Image.fromarray(photo), AutoAugment()
    rgba = image.convert("RGBA").rotate(30)
    rotated = Image.composite(rgba, Image.new("RGBA", rgba.size, (128,) * 4), rgba).convert("RGB")
    shear = (Image.Transform.AFFINE, (1, 0.3 * 5 / 9, 0, 0, 1, 0), Image.Resampling.BICUBIC)
    expected = {
        ("Rotate", 9): rotated,
        ("ShearX", 5): image.transform(image.size, *shear, fillcolor=GREY),
        ("Color", 4): ImageEnhance.Color(image).enhance(1.4),
        ("Contrast", 8): ImageEnhance.Contrast(image).enhance(1.8),
        ("Sharpness", 7): ImageEnhance.Sharpness(image).enhance(1.7),
        ("Solarize", 3): ImageOps.solarize(image, 256 * (1 - 3 / 9)),
        ("Posterize", 5): ImageOps.posterize(image, 6),
        ("Posterize", 6): ImageOps.posterize(image, 5),
        ("Posterize", 7): ImageOps.posterize(image, 5),
        ("Posterize", 8): ImageOps.posterize(image, 4),
        ("Equalize", 1): ImageOps.equalize(image),
        ("AutoContrast", 5): ImageOps.autocontrast(image),
        ("Invert", 4): ImageOps.invert(image),
    }
    for (name, level), reference in expected.items():
        assert same(op.apply(image, name, level, POSITIVE), reference), (name, level)
    assert {name for name, _ in expected} == {name for pair in _IMAGENET_POLICY for name, _, _ in pair}
    assert same(op.apply(image, "Color", 4, NEGATIVE), ImageEnhance.Color(image).enhance(0.6))
    assert same(op.apply(image, "Rotate", 9, NEGATIVE), rotated)
    assert set(_PAPER_SCALES) <= {name for pair in _IMAGENET_POLICY for name, _, _ in pair}


def test_auto_augment_keeps_size_type_and_is_repeatable(photo):
    op, seen = AutoAugment(), set()
    for seed in range(150):
        out = op(photo, np.random.default_rng(seed))
        assert out.dtype == np.uint8
        assert out.shape == photo.shape
        assert np.array_equal(out, op(photo, np.random.default_rng(seed)))
        pil = op(Image.fromarray(photo), np.random.default_rng(seed))
        assert isinstance(pil, Image.Image)
        assert same(pil, out)
        seen.add(out.tobytes())
    assert len(seen) > 25


def test_the_policy_is_used_with_its_probabilities(photo, monkeypatch):
    applied = []
    monkeypatch.setattr(
        AutoAugment, "apply", lambda self, image, name, level, rng: applied.append((name, level)) or image
    )
    rng, draws = np.random.default_rng(0), 20000
    for _ in range(draws):
        AutoAugment()(photo, rng)
    expected = {}
    for pair in _IMAGENET_POLICY:
        for name, probability, level in pair:
            expected[name, level] = expected.get((name, level), 0) + probability / 25
    for key, rate in expected.items():
        assert applied.count(key) / draws == pytest.approx(rate, abs=0.01), key


def timm_reference(image, name, inc):
    """Level 7 of 10 with positive sign, from timm's published formulas."""
    affine, bicubic = Image.Transform.AFFINE, Image.Resampling.BICUBIC
    fill = (124, 116, 104)
    factor = 1 + 0.7 * 0.9 if inc else 0.1 + 0.7 * 1.8

    def move(*matrix):
        return image.transform(image.size, affine, matrix, bicubic, fillcolor=fill)

    pixels = np.asarray(image).astype(int)
    return {
        "AutoContrast": lambda: ImageOps.autocontrast(image),
        "Equalize": lambda: ImageOps.equalize(image),
        "Invert": lambda: ImageOps.invert(image),
        "Rotate": lambda: image.rotate(21, bicubic, fillcolor=fill),
        "Posterize": lambda: ImageOps.posterize(image, 2),  # int(2.8), or 4 - int(2.8)
        "Solarize": lambda: ImageOps.solarize(image, 256 - 179 if inc else 179),
        "SolarizeAdd": lambda: np.where(pixels < 128, np.minimum(255, pixels + 77), pixels),
        "Color": lambda: ImageEnhance.Color(image).enhance(factor),
        "Contrast": lambda: ImageEnhance.Contrast(image).enhance(factor),
        "Brightness": lambda: ImageEnhance.Brightness(image).enhance(factor),
        "Sharpness": lambda: ImageEnhance.Sharpness(image).enhance(factor),
        "ShearX": lambda: move(1, 0.21, 0, 0, 1, 0),
        "ShearY": lambda: move(1, 0, 0, 0.21, 1, 0),
        "TranslateX": lambda: move(1, 0, 0.315 * 64, 0, 1, 0),
        "TranslateY": lambda: move(1, 0, 0, 0, 1, 0.315 * 48),
    }[name]()


@pytest.mark.parametrize("inc", [0, 1])
@pytest.mark.parametrize("name", list(_RAND_WEIGHTS))
def test_timm_operations(photo, name, inc):
    image = Image.fromarray(photo)
    op = TimmAutoAugment(config_str=f"rand-m7-inc{inc}")
    out = np.asarray(op.apply(image, name, 7, POSITIVE)).astype(int)
    reference = np.asarray(timm_reference(image, name, inc)).astype(int)
    # 0.1 + 0.7 * 1.8 and the like differ in the last bit; an enhanced pixel may then round the other way.
    assert np.abs(out - reference).max() <= 1
    assert (out != reference).mean() < 0.01
    signed = name in _RAND_SCALES[bool(inc)] and _RAND_SCALES[bool(inc)][name].signed
    assert same(op.apply(image, name, 7, NEGATIVE), op.apply(image, name, 7, POSITIVE)) != signed


def test_timm_levels_are_clipped_and_ends_are_right(photo):
    image, op = Image.fromarray(photo), TimmAutoAugment(config_str="rand-m10-inc1")
    assert same(op.apply(image, "Posterize", 10, POSITIVE), np.zeros_like(photo))
    assert same(op.apply(image, "Solarize", 10, POSITIVE), 255 - photo)
    assert same(op.apply(image, "Solarize", 0, POSITIVE), photo)
    assert same(op.apply(image, "Color", 0, POSITIVE), photo)


def test_timm_draws(photo, monkeypatch):
    applied = []
    monkeypatch.setattr(
        TimmAutoAugment, "apply", lambda self, image, name, level, rng: applied.append((name, level)) or image
    )
    rng, draws = np.random.default_rng(0), 5000
    op = TimmAutoAugment(config_str="rand-m7-mstd0.5-inc1")
    for _ in range(draws):
        op(photo, rng)
    levels = np.array([level for _, level in applied])
    assert len(applied) / draws == pytest.approx(1, abs=0.03)  # two draws, each applied with probability 1/2
    assert levels.mean() == pytest.approx(7, abs=0.03)
    assert levels.std() == pytest.approx(0.5, abs=0.03)
    for name in _RAND_WEIGHTS:
        assert sum(1 for used, _ in applied if used == name) / len(applied) == pytest.approx(
            1 / 15, abs=0.015
        )
    applied.clear()
    for _ in range(draws):
        TimmAutoAugment(config_str="rand-m9-n3-w0", prob=0.5)(photo, rng)
    assert len(applied) / draws == pytest.approx(0.75, abs=0.05)
    assert {level for _, level in applied} == {9.0}
    assert not {"Invert", "Posterize"} & {name for name, _ in applied}
    rotated = sum(1 for name, _ in applied if name == "Rotate") / len(applied)
    assert 0.2 < rotated < 0.3


def test_timm_keeps_size_type_and_is_repeatable(photo):
    op = TimmAutoAugment(config_str="rand-m9-mstd0.5-inc1", interpolation="random")
    for seed in range(60):
        out = op(photo, np.random.default_rng(seed))
        assert out.dtype == np.uint8
        assert out.shape == photo.shape
        assert np.array_equal(out, op(photo, np.random.default_rng(seed)))


def test_timm_none_is_the_identity(photo):
    assert TimmAutoAugment(config_str=None)(photo, np.random.default_rng(0)) is photo


@pytest.mark.parametrize(
    "text",
    ["", "augmix-m3", "original", "rand-m", "rand-x3", "rand-m11", "rand-n2.5", "rand-w1", "rand-n14-w0"],
)
def test_wrong_config_str(text):
    with pytest.raises(ConfigError, match="config_str '"):
        TimmAutoAugment(config_str=text)
