import cv2
import numpy as np
import pytest
from PIL import Image

from ppcls_light.data.transforms.crops import CropImageAtRatio, CropWithPadding, RandomCropImage, random_box
from ppcls_light.errors import ConfigError, DataError
from ppcls_light.registry import TRANSFORMS

# A pixel says where it is: (y, x, 7).
MAP = np.stack([*np.mgrid[:60, :90], np.full((60, 90), 7)], axis=2).astype(np.uint8)


def test_random_crops_are_exactly_of_the_size_and_reach_every_place():
    assert TRANSFORMS.get("RandCropImageV2") is RandomCropImage
    op, rng, corners = RandomCropImage(size=(86, 57)), np.random.default_rng(0), set()
    for index in range(400):
        out = np.asarray(op(MAP if index % 2 else Image.fromarray(MAP), rng))
        assert out.shape == (57, 86, 3)
        y, x = out[0, 0, :2]
        assert np.array_equal(out, MAP[y : y + 57, x : x + 86])
        corners.add((int(y), int(x)))
    assert corners == {(y, x) for y in range(4) for x in range(5)}
    assert RandomCropImage(20)(MAP, rng, (31, 29)).shape == (29, 31, 3)
    assert np.array_equal(RandomCropImage((90, 60))(MAP, rng), MAP)
    with pytest.raises(DataError, match=r"90x60 pixels .* smaller than RandomCropImage\.size 91x60"):
        RandomCropImage((91, 60))(MAP, rng)


def test_crop_at_ratio():
    op = CropImageAtRatio(size=224, pad=32)
    side = int(224 / 256 * 60)  # 52: what 224 of 256 are on a short side of 60
    part = MAP[(60 - side) // 2 : (60 - side) // 2 + side, (90 - side) // 2 : (90 - side) // 2 + side]
    assert np.array_equal(op(MAP), cv2.resize(part, (224, 224), interpolation=cv2.INTER_LINEAR))
    assert op(Image.fromarray(MAP)).size == (224, 224)


def test_boxes_have_the_stated_distribution():
    rng, scale, ratio = np.random.default_rng(0), (0.1, 0.5), (3 / 4, 4 / 3)
    left, top, width, height = np.array([random_box(800, 800, scale, ratio, rng) for _ in range(10000)]).T
    area, log_ratio = width * height / 800**2, np.log(width / height)
    assert [area.min(), area.mean(), area.max()] == pytest.approx([0.1, 0.3, 0.5], abs=0.005)
    assert [log_ratio.min(), log_ratio.mean(), log_ratio.max()] == pytest.approx(
        [np.log(3 / 4), 0, np.log(4 / 3)], abs=0.01
    )
    assert (left / (800 - width)).mean() == pytest.approx(0.5, abs=0.02)
    assert (top / (800 - height)).mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("size", "box"),
    [((400, 100), (133, 0, 133, 100)), ((100, 400), (0, 133, 100, 133)), ((90, 90), (0, 0, 90, 90))],
)
def test_where_nothing_fits_the_box_is_the_largest_at_the_centre(size, box):
    # Areas above 1 never fit.
    assert random_box(*size, (1.5, 2), (3 / 4, 4 / 3), np.random.default_rng(0)) == box


def test_crop_with_padding_keeps_the_part_in_its_place():
    op, shares = CropWithPadding(padding_num=255, scale=(0.2, 0.6)), []
    for seed in range(300):
        out = op(MAP, np.random.default_rng(seed))
        kept = (out == MAP).all(axis=2)
        rows, columns = np.flatnonzero(kept.any(axis=1)), np.flatnonzero(kept.any(axis=0))
        assert out.shape == MAP.shape
        assert kept[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert (out[~kept] == 255).all()
        shares.append(kept.mean())
        pil = op(Image.fromarray(MAP), np.random.default_rng(seed))
        assert np.array_equal(np.asarray(pil), out)
    assert (min(shares), np.mean(shares), max(shares)) == pytest.approx((0.2, 0.4, 0.6), abs=0.03)
    assert CropWithPadding()(MAP, np.random.default_rng(0)).min() == 0
    changed = [CropWithPadding(prob=0.5)(MAP, np.random.default_rng(seed)) is not MAP for seed in range(400)]
    assert np.mean(changed) == pytest.approx(0.5, abs=0.08)
    with pytest.raises(ConfigError, match=r"scale is a range \[low, high\]; got \[1, 0.5\]"):
        CropWithPadding(scale=(1, 0.5))
