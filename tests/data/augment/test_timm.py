"""Policies against numbers recorded from timm 1.0.31 (timm/data/auto_augment.py)."""

import numpy as np
import pytest
from PIL import Image

from ppcls_light.data.augment.operations import Operations
from ppcls_light.data.augment.policies import IMAGENET_POLICY, THREE_AUGMENT_POLICY, V0_POLICY
from ppcls_light.data.augment.timm import _INCREASING, _PLAIN, _POLICIES, _RAND_NAMES, TimmAutoAugment
from ppcls_light.errors import ConfigError


@pytest.fixture
def photo():
    rng = np.random.default_rng(0)
    ramp = np.linspace(30, 220, 48)[:, None, None]
    return np.clip(ramp + rng.normal(0, 20, (48, 64, 3)), 0, 255).astype(np.uint8)


LEVELS = (0, 3, 7, 10, 14)
SIGNED = True
# operation: (amounts at LEVELS, whether a random sign goes with them), as timm's LEVEL_TO_ARG gives them.
PLAIN_AMOUNTS = {
    "Rotate": ((0, 9, 21, 30, 42), SIGNED),
    "Posterize": ((0, 1, 2, 4, 5), False),
    "Solarize": ((0, 76, 179, 256, 256), False),
    "SolarizeAdd": ((0, 33, 77, 110, 128), False),
    "Color": ((0.1, 0.64, 1.36, 1.9, 2.62), False),
    "Contrast": ((0.1, 0.64, 1.36, 1.9, 2.62), False),
    "Brightness": ((0.1, 0.64, 1.36, 1.9, 2.62), False),
    "Sharpness": ((0.1, 0.64, 1.36, 1.9, 2.62), False),
    "ShearX": ((0, 0.09, 0.21, 0.3, 0.42), SIGNED),
    "ShearY": ((0, 0.09, 0.21, 0.3, 0.42), SIGNED),
    "TranslateX": ((0, 0.135, 0.315, 0.45, 0.63), SIGNED),
    "TranslateY": ((0, 0.135, 0.315, 0.45, 0.63), SIGNED),
    "Desaturate": ((0.5, 0.65, 0.85, 1, 1), False),
    "GaussianBlur": ((0.1, 0.67, 1.43, 2, 2), False),
    "GaussianBlurRand": ((0.1, 0.6, 1.4, 2, 2), False),  # the end of the radius' range, from 0.1
}
INCREASING_AMOUNTS = {
    "Posterize": (4, 3, 2, 0, 0),  # timm's -1 at 14 is refused by Pillow
    "Solarize": (256, 180, 77, 0, 0),
}
INCREASING_FACTORS = ((1, 0.73, 0.37, 0.1, 0.1), (1, 1.27, 1.63, 1.9, 2.26))


class Sign:
    def __init__(self, value):
        self.value = value

    def random(self):
        return self.value


PLUS, MINUS = Sign(0.9), Sign(0.1)


def amounts(scale, sign):
    return [scale.amount(level / 10, sign) for level in LEVELS]


def test_magnitudes_are_timm_s():
    for name, (expected, signed) in PLAIN_AMOUNTS.items():
        assert amounts(_PLAIN[name], PLUS) == pytest.approx(expected), name
        negated = [-value for value in expected] if signed else expected
        assert amounts(_PLAIN[name], MINUS) == pytest.approx(negated), name
    assert set(_PLAIN) == {*PLAIN_AMOUNTS, "AutoContrast", "Equalize", "Invert"}
    for name, expected in INCREASING_AMOUNTS.items():
        assert amounts(_INCREASING[name], PLUS) == list(expected)
    for name in ("Color", "Contrast", "Brightness", "Sharpness"):
        for sign, expected in zip((MINUS, PLUS), INCREASING_FACTORS):
            assert amounts(_INCREASING[name], sign) == pytest.approx(expected), name
    for name in set(_PLAIN) - {*INCREASING_AMOUNTS, "Color", "Contrast", "Brightness", "Sharpness"}:
        assert _INCREASING[name] == _PLAIN[name]
    assert amounts(_POLICIES["original"][1]["Posterize"], PLUS)[:4] == [4, 5, 6, 8]


# operation: times it occurs, sum of its probabilities, of its levels, and of level * row * place in the row.
RECORDED_POLICIES = (
    (
        IMAGENET_POLICY,
        {
            "AutoContrast": (2, 1.2, 10, 240),
            "Color": (6, 3.8, 18, 356),
            "Contrast": (2, 2.0, 16, 624),
            "Equalize": (17, 11.2, 102, 2209),
            "Invert": (3, 1.8, 16, 436),
            "Posterize": (5, 2.8, 32, 244),
            "Rotate": (6, 3.6, 45, 465),
            "Sharpness": (1, 0.4, 7, 126),
            "ShearX": (1, 0.6, 5, 95),
            "Solarize": (7, 3.6, 36, 731),
        },
    ),
    (
        V0_POLICY,
        {
            "AutoContrast": (2, 1.0, 9, 266),
            "Color": (9, 5.0, 37, 660),
            "Equalize": (12, 8.0, 55, 888),
            "Invert": (1, 0.4, 9, 90),
            "Posterize": (2, 1.2, 8, 124),
            "Rotate": (7, 4.6, 39, 884),
            "ShearX": (2, 0.2, 9, 72),
            "ShearY": (4, 2.6, 14, 228),
            "Solarize": (8, 4.6, 41, 1002),
            "SolarizeAdd": (2, 1.4, 10, 350),
            "TranslateY": (1, 0.8, 9, 288),
        },
    ),
    (
        THREE_AUGMENT_POLICY,
        {
            "Desaturate": (1, 1.0, 10, 20),
            "GaussianBlurRand": (1, 1.0, 10, 30),
            "Solarize": (1, 1.0, 5, 5),
        },
    ),
)


@pytest.mark.parametrize(("policy", "recorded"), RECORDED_POLICIES, ids=["imagenet", "v0", "3a"])
def test_policies_are_timm_s(policy, recorded):
    found = {}
    for row, sub_policy in enumerate(policy, 1):
        for place, (name, probability, level) in enumerate(sub_policy, 1):
            before = found.get(name, (0, 0, 0, 0))
            found[name] = tuple(a + b for a, b in zip(before, (1, probability, level, row * place * level)))
    assert {name: pytest.approx(values) for name, values in found.items()} == recorded


# Mean absolute change of `photo` over 20000 draws with timm, bicubic, ImageNet's mean as fill, and the
# deviation of one draw; translations as PaddleClas and timm's factory set them.
RECORDED_CHANGES = {
    "rand-m7-mstd0.5-inc1": (31.913, 30.0),
    "rand-m9-n3-p0.8-mstd101-inc1": (46.978, 28.6),
    "rand-m9-mstd0.5-tweights": (32.154, 23.8),
    "rand-m9-t3a": (32.635, 38.5),
    "rand-m9-t3aw": (34.188, 35.6),
    "rand-m14-mmax14-inc1": (45.220, 42.0),
    "rand-m4": (25.606, 27.7),
    "augmix-m5-w4-d2-mstd1": (13.896, 10.0),
    "augmix-m3": (11.264, 8.5),
    "original-mstd0.5": (27.994, 29.8),
    "originalr": (31.018, 29.7),
    "v0": (27.895, 29.1),
    "v0r": (23.986, 23.1),
    "3a": (24.261, 17.0),
}


@pytest.mark.parametrize("text", RECORDED_CHANGES)
def test_images_change_as_much_as_with_timm(photo, text):
    op, rng, image, draws = (
        TimmAutoAugment(config_str=text),
        np.random.default_rng(1),
        Image.fromarray(photo),
        400,
    )
    changes = [np.abs(np.asarray(op(image, rng)).astype(int) - photo).mean() for _ in range(draws)]
    mean, deviation = RECORDED_CHANGES[text]
    assert np.mean(changes) == pytest.approx(mean, abs=4 * deviation / draws**0.5)
    assert np.std(changes) == pytest.approx(deviation, rel=0.2)


def test_draws_of_rand(photo, monkeypatch):
    applied = []
    monkeypatch.setattr(
        Operations, "apply", lambda self, image, name, level, rng: applied.append((name, level)) or image
    )
    rng, draws = np.random.default_rng(0), 5000
    op = TimmAutoAugment(config_str="rand-m7-mstd0.5-inc1")
    for _ in range(draws):
        op(photo, rng)
    levels = np.array([level for _, level in applied])
    assert len(applied) / draws == pytest.approx(1, abs=0.03)  # two draws, each applied with probability 1/2
    assert levels.mean() == pytest.approx(7, abs=0.03)
    assert levels.std() == pytest.approx(0.5, abs=0.03)
    assert len(_RAND_NAMES) == 15
    for name in _RAND_NAMES:
        share = sum(1 for used, _ in applied if used == name) / len(applied)
        assert share == pytest.approx(1 / 15, abs=0.015)
    applied.clear()
    op = TimmAutoAugment(config_str="rand-m9-n3-w0", prob=0.5)
    for _ in range(draws):
        op(photo, rng)
    assert len(applied) / draws == pytest.approx(0.75, abs=0.05)
    assert {level for _, level in applied} == {9.0}
    assert not {"Invert", "Posterize"} & {name for name, _ in applied}
    rotated = sum(1 for name, _ in applied if name == "Rotate") / len(applied)
    assert 0.2 < rotated < 0.3
    applied.clear()
    op = TimmAutoAugment(config_str="rand-m8-p1-mstd101")
    for _ in range(1000):
        op(photo, rng)
    levels = np.array([level for _, level in applied])
    assert len(levels) == 2000
    assert (levels.min(), levels.max(), levels.mean()) == pytest.approx((0, 8, 4), abs=0.15)


@pytest.mark.parametrize("text", ["rand-m9-mstd0.5-inc1", "augmix-m5", "v0-mstd0.5", "rand-t3aw-n4"])
def test_timm_keeps_size_type_and_is_repeatable(photo, text, apply_repeatably):
    op = TimmAutoAugment(config_str=text, interpolation="random")
    for seed in range(40):
        apply_repeatably(op, photo, seed)


def test_fill_is_the_mean(photo):
    op = TimmAutoAugment(config_str="rand-m10", mean=(0.25, 0.5, 1.0))
    assert op.fill == (64, 128, 255)
    moved = op.policy.operations.apply(Image.fromarray(photo), "TranslateX", 10, PLUS)
    assert (np.asarray(moved)[:, -20:] == op.fill).all()


def test_none_is_the_identity(photo):
    assert TimmAutoAugment(config_str=None)(photo, np.random.default_rng(0)) is photo


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "starts with none of rand, augmix, v0, v0r, original, originalr, 3a; for example rand-m7"),
        ("auto", "starts with none of rand"),
        ("rand-m", "'m' is not one of m, n, p, mstd, mmax, inc with a number"),
        ("rand-x3", "'x3' is not one of"),
        ("rand-m11", "m is at most 10, more would change nothing; mmax11 raises the end"),
        ("rand-n2.5", "n takes a whole number, got 2.5"),
        ("rand-w1", "'w1' is not one of"),
        ("rand-w0-t3a", "w0 and t3a exclude each other"),
        ("rand-p2", "p is a probability, 0 to 1"),
        ("rand-n14-w0", "n is at most 13, as weighted operations are not repeated"),
        ("augmix-inc1", "'inc1' is not one of m, w, d, a, b, mstd with a number"),
        ("augmix-m11", "m is at most 10"),
        ("augmix-w0", "w and a are above 0"),
        ("original-m5", "'m5' is not one of mstd with a number"),
    ],
)
def test_wrong_config_str(text, message):
    with pytest.raises(ConfigError) as error:
        TimmAutoAugment(config_str=text)
    assert str(error.value).startswith(f"config_str '{text}'")
    assert message in str(error.value)


@pytest.mark.parametrize("name", ["lanczos", "hamming", "nearest"])
def test_filters_that_pillow_cannot_rotate_with(name):
    with pytest.raises(ConfigError, match="interpolation is one of bilinear, bicubic, random"):
        TimmAutoAugment(interpolation=name)
