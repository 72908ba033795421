import numpy as np
import pytest
import yaml
from PIL import Image, ImageOps

from ppcls_light.config.bind import bind
from ppcls_light.config.tree import parse_yaml
from ppcls_light.data.transforms.geometry import Pad, Padv2, RandomRot90, RandomRotation
from ppcls_light.errors import ConfigError, DataError


@pytest.fixture
def photo():
    return np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("expand", [False, True])
def test_rotation_is_pillow_s(photo, name, expand):
    op = RandomRotation(degrees=(30, 30), prob=1, interpolation=name, expand=expand, fill=(1, 2, 3))
    resample = getattr(Image.Resampling, name.upper())
    expected = Image.fromarray(photo).rotate(30, resample, expand, fillcolor=(1, 2, 3))
    assert np.array_equal(op(photo, np.random.default_rng(0)), np.asarray(expected))


def test_rotation_s_range_centre_and_probability(photo):
    op, rng = RandomRotation(degrees=20, prob=0.75), np.random.default_rng(0)
    kept = np.mean([op(photo, rng) is photo for _ in range(1000)])
    assert kept == pytest.approx(0.25, abs=0.04)

    class Ends:
        def __init__(self, end):
            self.end = end

        def random(self):
            return 0

        def uniform(self, *span):
            return span[self.end]

    for end, degrees in ((0, -20), (1, 20)):
        expected = Image.fromarray(photo).rotate(degrees, fillcolor=(0, 0, 0))
        assert np.array_equal(op(photo, Ends(end)), np.asarray(expected))
    corner = RandomRotation(degrees=(90, 90), prob=1, center=(0, 0), fill=7)
    assert (corner(photo, rng)[1:] == 7).all()  # turned out of the picture
    with pytest.raises(ConfigError, match=r"degrees is a range \[low, high\]; got \[5, -5\]"):
        RandomRotation(degrees=(5, -5))
    with pytest.raises(ConfigError, match="leave center out"):
        RandomRotation(degrees=5, expand=True, center=(0, 0))


def test_quarter_turns(photo):
    image, counts, rng = Image.fromarray(photo), [0] * 4, np.random.default_rng(0)
    expected = [image.rotate(90 * quarters, expand=True) for quarters in range(4)]
    for _ in range(800):
        out = RandomRot90()(photo, rng)
        (hit,) = (k for k in range(4) if np.array_equal(out, np.asarray(expected[k])))
        counts[hit] += 1
    assert counts == [pytest.approx(200, abs=45)] * 4
    assert isinstance(RandomRot90()(image, rng), Image.Image)


def test_pad(photo):
    for make in (np.asarray, Image.fromarray):
        padded = Pad(4, fill=(9, 8, 7))(make(photo))
        expected = ImageOps.expand(Image.fromarray(photo), border=4, fill=(9, 8, 7))
        assert np.array_equal(np.asarray(padded), np.asarray(expected))
        assert isinstance(padded, type(make(photo)))
    assert Pad(2)(photo)[0].max() == 0
    assert np.array_equal(Pad(3, padding_mode="edge")(photo)[:3, 3:-3], np.repeat(photo[:1], 3, axis=0))
    assert np.array_equal(Pad(3, padding_mode="reflect")(photo)[:3, 3:-3], photo[3:0:-1])
    assert np.array_equal(Pad(3, padding_mode="symmetric")(photo)[:3, 3:-3], photo[2::-1])
    normalised = photo.astype(np.float32)
    assert Pad(2)(normalised).dtype == np.float32


@pytest.mark.parametrize(
    ("params", "shape", "corner"),
    [
        ({}, (64, 64), (0, 0)),
        ({"size_divisor": 50}, (50, 100), (0, 0)),
        ({"size": (70, 90)}, (90, 70), (0, 0)),
        ({"size": 80, "pad_mode": 1}, (80, 80), (16, 8)),
        ({"size": (71, 91), "pad_mode": 1}, (91, 71), (21, 3)),
        ({"size": 80, "pad_mode": 2}, (80, 80), (32, 16)),
        ({"size": 80, "pad_mode": -1, "offsets": (3, 5)}, (80, 80), (5, 3)),
        ({"size": (64, 48)}, (48, 64), (0, 0)),
    ],
)
def test_padv2(photo, params, shape, corner):
    out = Padv2(**params)(photo)
    expected = np.full((*shape, 3), 127.5, np.float32)
    expected[corner[0] : corner[0] + 48, corner[1] : corner[1] + 64] = photo
    assert out.dtype == np.float32
    assert np.array_equal(out, expected)
    assert np.array_equal(Padv2(**params)(Image.fromarray(photo)), expected)


@pytest.mark.parametrize("fill", ["0", "114.5", "[0, 0, 0]", "[1, 2.5, 3]"])
def test_padv2_s_colour_is_one_value_or_three(photo, fill):
    node = parse_yaml(f"{{size: [70, 50], fill_value: {fill}}}", "test")
    (row,) = np.unique(bind(Padv2, node)(photo)[48:].reshape(-1, 3), axis=0)
    assert row.tolist() == np.broadcast_to(yaml.safe_load(fill), 3).tolist()
    with pytest.raises(ConfigError, match=r"fill_value: expected .*list of 3 numbers, got"):
        bind(Padv2, parse_yaml("{fill_value: [0, 0]}", "test"))


def test_padv2_s_errors(photo):
    with pytest.raises(DataError, match=r"the image is 64x48 pixels .* Padv2's canvas of 60x60 at 0,0"):
        Padv2(size=60)(photo)
    with pytest.raises(DataError, match="at 20,0"):
        Padv2(size=80, pad_mode=-1, offsets=(20, 0))(photo)
    for wrong in ({"pad_mode": -1}, {"offsets": (1, 1)}):
        with pytest.raises(ConfigError, match="offsets and pad_mode: -1 belong together"):
            Padv2(**wrong)


@pytest.mark.parametrize("op", [Pad(padding=10_000), Padv2(size=20_000), Padv2(size_divisor=20_000)])
def test_a_border_that_would_take_gigabytes(photo, op):
    with pytest.raises(
        DataError, match=r"^padding 64x48 pixels \(width x height\) to 20\d+x20\d+ would take more"
    ):
        op(photo)
