import cv2
import numpy as np
import pytest
from PIL import Image, ImageEnhance

from ppcls_light.data.transforms.color import (
    BlurImage,
    ColorJitter,
    PCALighting,
    RandomGrayscale,
    RandomInterpolationAugment,
)
from ppcls_light.errors import ConfigError


@pytest.fixture
def photo():
    rng = np.random.default_rng(0)
    return cv2.resize(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8), (64, 48))


def draws(op, image, count=300):
    rng = np.random.default_rng(0)
    return [op(image, rng) for _ in range(count)]


@pytest.mark.parametrize("kind", ["brightness", "contrast", "saturation"])
def test_one_jitter_is_pillow_s_enhancement(photo, kind):
    enhance = getattr(ImageEnhance, {"saturation": "Color"}.get(kind, kind.capitalize()))(
        Image.fromarray(photo)
    )
    factor = np.random.default_rng(5)
    factor.random(), factor.permutation(1)
    out = ColorJitter(**{kind: 0.4})(photo, np.random.default_rng(5))
    assert np.array_equal(out, np.asarray(enhance.enhance(factor.uniform(0.6, 1.4))))


def test_jitter_s_range_is_the_stated_one():
    grey = np.full((4, 4, 3), 100, np.uint8)
    values = np.array([out[0, 0, 0] for out in draws(ColorJitter(brightness=0.4), grey, 3000)])
    assert (values.min(), values.mean(), values.max()) == pytest.approx((60, 100, 140), abs=1)
    values = np.array([out[0, 0, 0] for out in draws(ColorJitter(brightness=(0.5, 0.7)), grey)])
    assert (values.min(), values.max()) == pytest.approx((50, 70), abs=1)
    values = np.array([out[0, 0, 0] for out in draws(ColorJitter(brightness=1.5), grey, 3000)])
    assert values.min() < 5  # max(0, 1 - 1.5)
    assert values.max() > 245


def test_hue_turns_the_circle_and_nothing_else(photo):
    hsv = np.asarray(Image.fromarray(photo).convert("HSV")).astype(int)
    for out in draws(ColorJitter(hue=(0.25, 0.25)), photo, 3):
        turned = np.asarray(Image.fromarray(out).convert("HSV")).astype(int)
        vivid = (hsv[..., 1] > 60) & (hsv[..., 2] > 60)
        change = (turned[..., 0] - hsv[..., 0] - 63 + 128) % 256 - 128
        assert np.abs(change[vivid]).max() <= 4  # 8-bit rounding there and back
        assert np.abs(turned[..., 2] - hsv[..., 2]).max() <= 2
    turns = {out[0, 0].tobytes() for out in draws(ColorJitter(hue=0.5), photo, 50)}
    assert len(turns) > 30


def test_the_order_of_jitters_is_random(photo):
    op = ColorJitter(brightness=(1.5, 1.5), contrast=(0.5, 0.5))
    image = Image.fromarray(photo)
    first = ImageEnhance.Contrast(ImageEnhance.Brightness(image).enhance(1.5)).enhance(0.5)
    second = ImageEnhance.Brightness(ImageEnhance.Contrast(image).enhance(0.5)).enhance(1.5)
    outs = draws(op, photo, 100)
    hits = [[np.array_equal(out, np.asarray(e)) for e in (first, second)] for out in outs]
    assert all(sum(hit) == 1 for hit in hits)
    assert 30 < sum(hit[0] for hit in hits) < 70


def test_jitter_s_probability(photo):
    changed = [out is not photo for out in draws(ColorJitter(prob=0.8, brightness=0.4), photo, 1000)]
    assert np.mean(changed) == pytest.approx(0.8, abs=0.04)
    assert all(out is not photo for out in draws(ColorJitter(brightness=0.4), photo, 50))
    assert ColorJitter()(photo, np.random.default_rng(0)) is photo
    for key in ("brightness", "contrast", "saturation", "hue"):
        with pytest.raises(ConfigError, match=rf"^{key} is a range \[low, high\]; got \[0.4, 0.1\]"):
            ColorJitter(**{key: (0.4, 0.1)})


def test_grey(photo):
    out = RandomGrayscale(p=1)(photo, np.random.default_rng(0)).astype(int)
    luma = photo @ np.array([0.299, 0.587, 0.114])  # ITU-R 601-2
    assert np.abs(out - luma[..., None]).max() <= 1
    changed = [not np.array_equal(out, photo) for out in draws(RandomGrayscale(), photo, 2000)]
    assert np.mean(changed) == pytest.approx(0.1, abs=0.02)


def test_lighting_moves_along_imagenet_s_components():
    grey = np.full((2, 2, 3), 0.5, np.float32)
    shifts = np.array([out[0, 0] - 0.5 for out in draws(PCALighting(), grey, 4000)])
    values = np.array([0.2175, 0.0188, 0.0045])
    vectors = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.814], [-0.5836, -0.6948, 0.4203]])
    covariance = vectors @ np.diag((0.1 * values) ** 2) @ vectors.T
    assert np.cov(shifts.T) == pytest.approx(covariance, rel=0.08, abs=1e-7)
    bytes_ = np.full((2, 2, 3), 128, np.uint8)
    for seed in range(20):
        shift = PCALighting()(grey, np.random.default_rng(seed))[0, 0] - 0.5
        out = PCALighting()(bytes_, np.random.default_rng(seed))[0, 0]
        assert np.abs(out - (128 + 255 * shift)).max() <= 0.51
        assert out.dtype == np.uint8


def test_resampling_there_and_back(photo):
    flags = (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_AREA, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)
    op, pairs = RandomInterpolationAugment(prob=1), set()
    for seed in range(300):
        rng = np.random.default_rng(seed)
        rng.random()
        share = rng.uniform(0.2, 1)
        first, second = rng.integers(5, size=2)
        small = cv2.resize(photo, (int(share * 64), int(share * 48)), interpolation=flags[first])
        expected = cv2.resize(small, (64, 48), interpolation=flags[second])
        assert np.array_equal(op(photo, np.random.default_rng(seed)), expected)
        pairs.add((first, second))
    assert len(pairs) == 25
    kept = [out is photo for out in draws(RandomInterpolationAugment(prob=0.25), photo, 800)]
    assert np.mean(kept) == pytest.approx(0.75, abs=0.05)


def test_blur_keeps_the_mean_and_lowers_the_contrast(photo):
    blurred = [out for out in draws(BlurImage(), photo) if not np.array_equal(out, photo)]
    assert len(blurred) / 300 == pytest.approx(0.5, abs=0.08)
    for out in blurred:
        assert out.mean() == pytest.approx(photo.mean(), abs=3)
        assert (
            np.abs(np.diff(out.astype(int), axis=1)).mean()
            < np.abs(np.diff(photo.astype(int), axis=1)).mean()
        )


def test_motion_kernels_are_lines_of_sum_1():
    rng = np.random.default_rng(0)
    kernels = [BlurImage().motion_kernel(rng) for _ in range(200)]
    assert {kernel.shape for kernel in kernels} == {(5, 5), (7, 7), (9, 9), (11, 11)}
    for kernel in kernels:
        assert kernel.sum() == pytest.approx(1)
        y, x = np.indices(kernel.shape) - (len(kernel) - 1) / 2
        assert (kernel * y).sum() == pytest.approx(0, abs=0.1)
        spread = np.cov(np.stack([y.ravel(), x.ravel()]), aweights=kernel.ravel(), ddof=0)
        small, large = np.linalg.eigvalsh(spread)
        assert small < 0.35 < 1 < large
    straight = BlurImage(motion_max_angle=0).motion_kernel(rng)
    assert straight == pytest.approx(np.eye(len(straight)) / len(straight))
