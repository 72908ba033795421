"""Thumbnails and heat maps of an evaluation's images."""

import io

import numpy as np
import pytest
from PIL import Image

from ppcls_light.data.dataset import ImageDataset
from ppcls_light.data.decode import read_bytes
from ppcls_light.data.image_list import ImageList
from ppcls_light.data.transforms.compose import build_transforms
from ppcls_light.report.pictures import Pictures, file_thumbnail

NORMALISE = ("NormalizeImage", {"order": ""})


@pytest.fixture
def images(tmp_path):
    for index, colour in enumerate(((250, 10, 10), (10, 250, 10))):
        Image.new("RGB", (300, 200), colour).save(tmp_path / f"{index}.png")
    (tmp_path / "2.png").write_bytes(b"none")
    return ImageList(tmp_path, [b"0.png", b"1.png", b"2.png"])


def opened(jpeg):
    return np.asarray(Image.open(io.BytesIO(jpeg))).astype(int)


def test_a_thumbnail_is_the_image(images):
    pictures = Pictures(ImageDataset(images, build_transforms([("DecodeImage", {})])))
    red, green = (opened(pictures.thumbnail(index)) for index in (0, 1))
    assert red.shape[0] * 3 == pytest.approx(red.shape[1] * 2, abs=3)
    assert red.shape[1] < 300
    assert np.abs(red - (250, 10, 10)).max() < 12
    assert np.abs(green - (10, 250, 10)).max() < 12
    assert pictures.thumbnail(2) is None
    assert pictures.explained([0], [1]) == [None]
    assert np.array_equal(opened(file_thumbnail(images.path(0))), red)
    assert file_thumbnail(images.path(2)) is None


@pytest.mark.parametrize("ops", [[NORMALISE], [NORMALISE, ("ResizeImage", {"size": 64})]])  # bytes, floats
def test_a_map_lies_over_what_the_network_saw(images, ops):
    transforms = build_transforms([("DecodeImage", {}), ("ResizeImage", {"size": 64}), *ops])
    seen = []

    def left_half(batch, classes):
        seen.append((batch, classes.tolist()))
        maps = np.zeros((len(batch), 64, 64), np.float32)
        maps[:, :, :32] = 1
        return maps

    pictures = Pictures(ImageDataset(images, transforms), left_half)
    over = [opened(jpeg) for jpeg in pictures.explained([1, 0], [3, 2])]
    ((batch, classes),) = seen
    assert classes == [3, 2]
    assert np.array_equal(batch[0], transforms(read_bytes(images.path(1))))
    for picture in over:
        left, right = picture[20:40, 5:25].mean(axis=(0, 1)), picture[20:40, 40:60].mean(axis=(0, 1))
        assert left[0] > right[0] + 60  # yellow beside dark violet
        assert left[1] > right[1] + 60
    assert pictures.explained([0, 2], [0, 0]) == [None, None]
    assert pictures.explained([], []) == []
