"""Against paddle.vision itself."""

import numpy as np
import pytest
from PIL import Image

from ppcls_light.data import build_transforms
from ppcls_light.data.transforms import paddle_vision
from ppcls_light.errors import ConfigError, DataError

transforms = pytest.importorskip("paddle.vision.transforms")


@pytest.fixture
def photo():
    return np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)


@pytest.mark.parametrize("make", [np.asarray, Image.fromarray])
@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("ToTensor", {}),
        ("ToTensor", {"data_format": "HWC"}),
        ("Resize", {"size": 40}),
        ("Resize", {"size": 60}),
        ("Resize", {"size": (50, 31)}),
        ("Resize", {"size": (50, 31), "interpolation": "bicubic"}),
        ("Resize", {"size": (31, 50), "interpolation": "nearest"}),
        ("Resize", {"size": (31, 50), "interpolation": "lanczos"}),
        ("CenterCrop", {"size": 41}),
        ("CenterCrop", {"size": (41, 30)}),
        ("CenterCrop", {"size": (60, 87)}),
    ],
)
def test_results_are_paddle_s(photo, name, params, make):
    expected = np.asarray(getattr(transforms, name)(**params)(make(photo)))
    out = getattr(paddle_vision, name)(**params)(make(photo))
    assert np.asarray(out) == pytest.approx(expected, rel=1e-6)  # Paddle 2 divides with another last bit
    if name != "ToTensor":
        assert np.array_equal(np.asarray(out), expected)
        assert isinstance(out, type(make(photo)))


@pytest.mark.parametrize(
    "params", [{"mean": 0.5, "std": 0.25}, {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}]
)
def test_normalize_is_paddle_s(photo, params):
    for layout, image in (
        ("CHW", photo.transpose(2, 0, 1) / np.float32(255)),
        ("HWC", photo.astype(np.float32)),
    ):
        expected = transforms.Normalize(data_format=layout, **params)(image)
        out = paddle_vision.Normalize(data_format=layout, **params)(image)
        assert out.dtype == np.float32
        assert out == pytest.approx(expected, rel=1e-6)
    reversed_ = paddle_vision.Normalize(**params, data_format="HWC", to_rgb=True)(photo)
    expected = transforms.Normalize(data_format="HWC", to_rgb=True, **params)(Image.fromarray(photo))
    assert reversed_ == pytest.approx(expected, rel=1e-6)


def test_a_pipeline_of_them_ends_channels_first(photo):
    ops = [
        ("Resize", {"size": 48}),
        ("CenterCrop", {"size": 32}),
        ("ToTensor", {}),
        ("Normalize", {"mean": [0.5] * 3, "std": [0.5] * 3}),
    ]
    out = build_transforms(ops)(photo)
    expected = photo
    for name, params in ops:
        expected = getattr(transforms, name)(**params)(expected)
    assert out.shape == (3, 32, 32)
    assert out == pytest.approx(np.asarray(expected), abs=1e-6)


def test_flip(photo):
    op = paddle_vision.RandomHorizontalFlip(prob=0.3)
    for make in (np.asarray, Image.fromarray):
        rng = np.random.default_rng(0)
        outs = [np.asarray(op(make(photo), rng)) for _ in range(500)]
        flipped = [np.array_equal(out, photo[:, ::-1]) for out in outs]
        assert all(flip or np.array_equal(out, photo) for flip, out in zip(flipped, outs))
        assert np.mean(flipped) == pytest.approx(0.3, abs=0.05)


def test_random_resized_crop(photo):
    whole = paddle_vision.RandomResizedCrop((30, 45), scale=(1, 1), ratio=(1.5, 1.5))
    for make in (np.asarray, Image.fromarray):
        expected = np.asarray(transforms.Resize((30, 45))(make(photo)))
        assert np.array_equal(np.asarray(whole(make(photo), np.random.default_rng(0))), expected)
    assert whole(photo, np.random.default_rng(0), (20, 10)).shape == (10, 20, 3)
    op = paddle_vision.RandomResizedCrop(24)
    outs = {op(photo, np.random.default_rng(seed)).tobytes() for seed in range(50)}
    assert len(outs) == 50
    with pytest.raises(ConfigError, match=r"ratio is a range \[low, high\]; got \[2, 1\]"):
        paddle_vision.RandomResizedCrop(24, ratio=(2, 1))


def test_errors(photo):
    with pytest.raises(DataError, match=r"90x60 pixels .* smaller than CenterCrop\.size 70x61"):
        paddle_vision.CenterCrop((61, 70))(photo)
    with pytest.raises(
        ConfigError, match=r"Normalize\.data_format does not fit an image of shape \(60, 90, 3\)"
    ):
        paddle_vision.Normalize()(photo)
    with pytest.raises(ConfigError, match="one value for each of the 3 channels"):
        paddle_vision.Normalize(mean=[0.5, 0.5])
