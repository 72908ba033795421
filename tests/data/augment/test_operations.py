"""Operations against Pillow, amounts against the papers' ranges."""

import math

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from ppcls_light.data.augment.operations import (
    BICUBIC,
    BILINEAR,
    NEAREST,
    Operations,
    Scale,
    paper_operations,
)

GREY = (128, 128, 128)


class Fixed:
    """Stands in for a Generator whose random() always is `value`; integers() picks the first."""

    def __init__(self, value):
        self.value = value

    def random(self):
        return self.value

    def integers(self, *_):
        return 0

    def uniform(self, low, high):
        return low + self.value * (high - low)


POSITIVE, NEGATIVE = Fixed(0.9), Fixed(0.1)


@pytest.fixture
def photo():
    rng = np.random.default_rng(0)
    ramp = np.linspace(30, 220, 48)[:, None, None]
    return np.clip(ramp + rng.normal(0, 20, (48, 64, 3)), 0, 255).astype(np.uint8)


def same(ours, reference):
    return np.array_equal(np.asarray(ours), np.asarray(reference))


def test_paper_operations_are_pillow_s(photo):
    image = Image.fromarray(photo)
    paper = paper_operations(GREY)
    rgba = image.convert("RGBA").rotate(30)
    rotated = Image.composite(rgba, Image.new("RGBA", rgba.size, (128,) * 4), rgba).convert("RGB")
    affine = Image.Transform.AFFINE

    def move(matrix, resample):
        return image.transform(image.size, affine, matrix, resample, fillcolor=GREY)

    cut = photo.copy()
    cut[:20, :20] = 128
    expected = {
        ("Rotate", 9): rotated,
        ("ShearX", 5): move((1, 0.3 * 5 / 9, 0, 0, 1, 0), Image.Resampling.BICUBIC),
        ("ShearY", 5): move((1, 0, 0, 0.3 * 5 / 9, 1, 0), Image.Resampling.BICUBIC),
        ("TranslateX", 9): move((1, 0, 150 / 331 * 64, 0, 1, 0), Image.Resampling.NEAREST),
        ("TranslateY", 9): move((1, 0, 0, 0, 1, 150 / 331 * 48), Image.Resampling.NEAREST),
        ("Color", 4): ImageEnhance.Color(image).enhance(1.4),
        ("Contrast", 8): ImageEnhance.Contrast(image).enhance(1.8),
        ("Brightness", 8): ImageEnhance.Brightness(image).enhance(1.8),
        ("Sharpness", 7): ImageEnhance.Sharpness(image).enhance(1.7),
        ("Solarize", 3): ImageOps.solarize(image, 256 * (1 - 3 / 9)),
        ("Posterize", 5): ImageOps.posterize(image, 6),
        ("Posterize", 6): ImageOps.posterize(image, 5),
        ("Posterize", 7): ImageOps.posterize(image, 5),
        ("Posterize", 8): ImageOps.posterize(image, 4),
        ("Equalize", 1): ImageOps.equalize(image),
        ("AutoContrast", 5): ImageOps.autocontrast(image),
        ("Invert", 4): ImageOps.invert(image),
        ("Cutout", 9): cut,  # the centre drawn is the top left corner
    }
    for (name, level), reference in expected.items():
        assert same(paper.apply(image, name, level, POSITIVE), reference), (name, level)
    assert {name for name, _ in expected} == set(paper.names)
    assert same(paper.apply(image, "Color", 4, NEGATIVE), ImageEnhance.Color(image).enhance(0.6))
    assert same(paper.apply(image, "Rotate", 9, NEGATIVE), rotated)  # to the left only


def test_the_other_operations(photo):
    image = Image.fromarray(photo)
    scales = {
        "SolarizeAdd": Scale(0, 110, whole=int),
        "Desaturate": Scale(0, 1),
        "GaussianBlur": Scale(0, 2),
        "GaussianBlurRand": Scale(0, 2),
        "TranslateXPixels": Scale(0, 10, signed=True),
        "TranslateYPixels": Scale(0, 10, signed=True),
        "Posterize": Scale(4, 0, whole=int),
    }
    ops = Operations(scales, 10, (1, 2, 3), (NEAREST,))
    pixels = photo.astype(int)
    added = np.where(pixels < 128, np.minimum(255, pixels + 77), pixels)
    assert same(ops.apply(image, "SolarizeAdd", 7, POSITIVE), added)
    grey = np.asarray(ops.apply(image, "Desaturate", 10, POSITIVE))
    assert same(grey, image.convert("L").convert("RGB"))
    assert same(ops.apply(image, "Desaturate", 0, POSITIVE), photo)
    assert same(ops.apply(image, "GaussianBlur", 5, POSITIVE), image.filter(ImageFilter.GaussianBlur(1)))
    drawn = 0.1 + 0.9 * (2 - 0.1)
    assert same(
        ops.apply(image, "GaussianBlurRand", 10, POSITIVE), image.filter(ImageFilter.GaussianBlur(drawn))
    )
    left = np.asarray(ops.apply(image, "TranslateXPixels", 10, POSITIVE))
    assert same(left[:, :-10], photo[:, 10:])
    assert (left[:, -10:] == (1, 2, 3)).all()
    down = np.asarray(ops.apply(image, "TranslateYPixels", 10, NEGATIVE))
    assert same(down[10:], photo[:-10])
    assert (down[:10] == (1, 2, 3)).all()
    assert not np.asarray(ops.apply(image, "Posterize", 10, POSITIVE)).any()  # 0 bits


def test_cutout_covers_every_place_alike_and_never_more_than_its_square():
    image = Image.new("RGB", (40, 30))
    ops, rng = Operations({"Cutout": Scale(0, 8, whole=int)}, 10, (255, 255, 255)), np.random.default_rng(0)
    hits = sum(np.asarray(ops.apply(image, "Cutout", 10, rng))[:, :, 0] > 0 for _ in range(4000)) / 4000
    assert hits[8:-8, 8:-8].mean() == pytest.approx(16 / 41 * 16 / 31, abs=0.01)
    assert hits[0, 0] == pytest.approx(9 / 41 * 9 / 31, abs=0.02)
    assert np.count_nonzero(np.asarray(ops.apply(image, "Cutout", 10, Fixed(0)))) == 8 * 8 * 3


def test_filters_are_drawn_where_there_are_several(photo):
    image, rng = Image.fromarray(photo), np.random.default_rng(0)
    ops = Operations({"Rotate": Scale(0, 30)}, 10, GREY, (BILINEAR, BICUBIC))
    expected = [image.rotate(30, resample, fillcolor=GREY) for resample in (BILINEAR, BICUBIC)]
    outs = [ops.apply(image, "Rotate", 10, rng) for _ in range(60)]
    hits = [[same(out, reference) for reference in expected] for out in outs]
    assert all(sum(hit) == 1 for hit in hits)
    assert 15 < sum(first for first, _ in hits) < 45


def test_scales():
    assert Scale(256, 0).amount(0.25, POSITIVE) == 192
    assert Scale(8, 4, whole=round).amount(1 / 9, POSITIVE) == 8
    assert Scale(8, 4, whole=round).amount(2 / 9, POSITIVE) == 7
    assert Scale(4, 0, whole=int).amount(0.7, POSITIVE) == 2
    assert Scale(1, 1.9, signed=True).amount(0.5, POSITIVE) == pytest.approx(1.45)
    assert Scale(1, 1.9, signed=True).amount(0.5, NEGATIVE) == pytest.approx(0.55)
    assert Scale(1, 1.9, signed=True, within=(0.1, math.inf)).amount(1.5, NEGATIVE) == 0.1
    assert Scale(0, 110, whole=int, within=(0, 128)).amount(1.5, POSITIVE) == 128
