"""Every op against Pillow, OpenCV or values computed by hand."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from ppcls_light.data import build_transforms
from ppcls_light.data.transforms.core import (
    DecodeImage,
    NormalizeImage,
    RandFlipImage,
    ResizeImage,
    ToCHWImage,
)
from ppcls_light.data.transforms.crops import CropImage, RandCropImage
from ppcls_light.errors import ConfigError, DataError


@pytest.fixture
def photo():
    """Noise over colours, uint8 (60, 90, 3)."""
    rng = np.random.default_rng(0)
    smooth = cv2.resize(
        rng.integers(0, 256, (6, 9, 3), dtype=np.uint8), (90, 60), interpolation=cv2.INTER_CUBIC
    )
    return np.clip(smooth + rng.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)


def png(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def test_decode(photo):
    data = png(photo)
    assert np.array_equal(DecodeImage()(data), photo)
    assert np.array_equal(DecodeImage(to_rgb=False)(data), photo[:, :, ::-1])
    assert np.array_equal(DecodeImage(channel_first=True)(data), photo.transpose(2, 0, 1))
    image = DecodeImage(to_np=False, backend="pil")(data)
    assert isinstance(image, Image.Image)
    assert image.mode == "RGB"
    assert np.array_equal(np.asarray(image), photo)
    with pytest.raises(ConfigError, match="to_np"):
        DecodeImage(to_np=False, to_rgb=False)


CV2 = {"nearest": 0, "bilinear": 1, "bicubic": 2, "area": 3, "lanczos": 4}  # cv2.INTER_* by value
PIL = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}  # Pillow's filters


@pytest.mark.parametrize("size", [(40, 30), (120, 100)])
def test_resize_is_the_backend_s(photo, size):
    for name, flag in CV2.items():
        assert np.array_equal(
            ResizeImage(size, interpolation=name)(photo), cv2.resize(photo, size, interpolation=flag)
        )
    for name, flag in PIL.items():
        expected = np.asarray(Image.fromarray(photo).resize(size, flag))
        assert np.array_equal(ResizeImage(size, interpolation=name.upper(), backend="PIL")(photo), expected)


def test_resize_defaults_to_bilinear(photo):
    assert np.array_equal(ResizeImage(32)(photo), cv2.resize(photo, (32, 32), interpolation=cv2.INTER_LINEAR))
    expected = np.asarray(Image.fromarray(photo).resize((32, 32), Image.Resampling.BILINEAR))
    assert np.array_equal(ResizeImage(32, backend="pil")(photo), expected)


@pytest.mark.parametrize("backend", ["cv2", "pil"])
@pytest.mark.parametrize(
    ("width", "height", "short", "expected"),
    [
        (500, 375, 256, (341, 256)),
        (375, 500, 256, (256, 341)),
        (90, 60, 60, (90, 60)),
        (500, 333, 248, (372, 248)),
    ],
)
def test_resize_short_rounds_the_long_side(width, height, short, expected, backend):
    image = np.zeros((height, width, 3), np.uint8)
    assert ResizeImage(resize_short=short, backend=backend)(image).shape == (expected[1], expected[0], 3)


def test_resize_keeps_pillow_images_when_asked(photo):
    kept = ResizeImage((20, 10), backend="pil", return_numpy=False)(Image.fromarray(photo))
    assert isinstance(kept, Image.Image)
    assert kept.size == (20, 10)
    array = ResizeImage((20, 10), backend="pil")(Image.fromarray(photo))
    assert np.array_equal(array, np.asarray(kept))


def test_random_interpolation_is_bilinear_or_bicubic(photo):
    expected = [
        cv2.resize(photo, (20, 20), interpolation=flag) for flag in (cv2.INTER_LINEAR, cv2.INTER_CUBIC)
    ]
    op, rng = ResizeImage(20, interpolation="random"), np.random.default_rng(0)
    hits = [[np.array_equal(out, e) for e in expected] for out in (op(photo, rng) for _ in range(40))]
    assert all(sum(hit) == 1 for hit in hits)
    assert 5 < sum(first for first, _ in hits) < 35


@pytest.mark.parametrize("size", [24, (31, 24), (90, 60)])
def test_crop_is_the_centre(photo, size):
    width, height = size if isinstance(size, tuple) else (size, size)
    left, top = (90 - width) // 2, (60 - height) // 2
    expected = photo[top : top + height, left : left + width]
    assert np.array_equal(CropImage(size)(photo), expected)
    assert np.array_equal(np.asarray(CropImage(size)(Image.fromarray(photo))), expected)


@pytest.mark.parametrize("make", [np.asarray, Image.fromarray])
def test_crop_of_a_smaller_image(photo, make):
    with pytest.raises(
        DataError, match=r"90x60 pixels .* smaller than CropImage\.size 64x64; put a ResizeImage"
    ):
        CropImage(64)(make(photo))


@pytest.mark.parametrize("use_log_aspect", [False, True])
@pytest.mark.parametrize(("width", "height"), [(90, 60), (60, 90), (400, 20), (1, 300), (1, 1)])
def test_random_crop_boxes(width, height, use_log_aspect):
    op = RandCropImage(32, use_log_aspect=use_log_aspect)
    rng = np.random.default_rng(0)
    boxes = np.array([op.box(width, height, rng) for _ in range(2000)])
    left, top, w, h = boxes.T
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] >= 1).all()
    assert (left + w <= width).all()
    assert (top + h <= height).all()
    if min(width, height) >= 60:
        # Sides are rounded down, which moves ratio and area by up to one pixel a side.
        assert ((w + 1) / h >= 3 / 4).all()
        assert (w / (h + 1) <= 4 / 3).all()
        area = (w + 1) * (h + 1) / (width * height)
        assert area.min() >= 0.08
        assert ((w * h) / (width * height)).max() <= 1
        assert {0, width - w.max()} >= {left.min()}


def test_random_crop_distribution():
    # On a square image of side 1000 the crop is w = sqrt(area * a), h = sqrt(area / a) with a ~ U(3/4, 4/3) and
    # area ~ U(0.08, min(a, 1/a)): means computed by numerical integration, independent of the implementation.
    a = np.linspace(3 / 4, 4 / 3, 2001)
    largest = np.minimum(a, 1 / a)
    mean_area = ((0.08 + largest) / 2).mean()
    rng = np.random.default_rng(0)
    boxes = np.array([RandCropImage(8).box(1000, 1000, rng) for _ in range(20000)])
    w, h = boxes[:, 2] / 1000, boxes[:, 3] / 1000
    assert (w * h).mean() == pytest.approx(mean_area, abs=0.006)
    assert (w / h).mean() == pytest.approx(a.mean(), abs=0.006)
    # The corner is uniform over the places where the box fits.
    assert (boxes[:, 0] / (1001 - boxes[:, 2])).mean() == pytest.approx(0.5, abs=0.01)
    assert (boxes[:, 1] / (1001 - boxes[:, 3])).mean() == pytest.approx(0.5, abs=0.01)


def test_random_crop_log_aspect_is_symmetric():
    rng = np.random.default_rng(0)
    op = RandCropImage(8, ratio=(0.5, 2.0), use_log_aspect=True)
    boxes = np.array([op.box(1000, 1000, rng) for _ in range(20000)])
    assert np.log(boxes[:, 2] / boxes[:, 3]).mean() == pytest.approx(0, abs=0.015)


@pytest.mark.parametrize("backend", ["cv2", "pil"])
def test_random_crop_is_crop_then_resize(photo, backend):
    op = RandCropImage((24, 16), interpolation="bicubic", backend=backend)
    out = op(photo, np.random.default_rng(5))
    left, top, w, h = op.box(90, 60, np.random.default_rng(5))
    part = np.ascontiguousarray(photo[top : top + h, left : left + w])
    if backend == "cv2":
        expected = cv2.resize(part, (24, 16), interpolation=cv2.INTER_CUBIC)
    else:
        expected = np.asarray(Image.fromarray(part).resize((24, 16), Image.Resampling.BICUBIC))
    assert np.array_equal(out, expected)
    same = op(Image.fromarray(photo), np.random.default_rng(5))
    assert isinstance(same, Image.Image)
    assert np.array_equal(np.asarray(same), expected)


@pytest.mark.parametrize("code", [1, 0, -1])
def test_flip(photo, code):
    expected = cv2.flip(photo, code)
    op, rng = RandFlipImage(code), np.random.default_rng(0)
    flips = 0
    for _ in range(200):
        state = rng.bit_generator.state
        out = op(photo, rng)
        rng.bit_generator.state = state
        pil = np.asarray(op(Image.fromarray(photo), rng))
        assert np.array_equal(out, pil)
        flipped = np.array_equal(out, expected)
        assert flipped or np.array_equal(out, photo)
        flips += flipped
    assert 70 < flips < 130


def test_flips_behind_a_transposition_take_wide_images():
    wide = np.random.default_rng(0).normal(size=(3, 4, 600)).astype(np.float32)  # OpenCV ends at 512 channels
    for code, axes in ((1, 1), (0, 0), (-1, (0, 1))):
        assert np.array_equal(RandFlipImage(code, p=1)(wide, np.random.default_rng(0)), np.flip(wide, axes))


def test_normalise_is_the_formula(photo):
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = (photo / 255 - mean) / std
    for op in (NormalizeImage(order=""), NormalizeImage(scale=1 / 255, order="hwc")):
        out = op(photo)
        assert out.dtype == np.float32
        np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(op(Image.fromarray(photo)), expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(op(photo.astype(np.float32)), expected, rtol=1e-5, atol=1e-6)
    chw = NormalizeImage()(photo.transpose(2, 0, 1))
    np.testing.assert_allclose(chw, expected.transpose(2, 0, 1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("with_cv2", [True, False])
def test_a_batch_is_normalised_to_the_same_bits_as_each_image(monkeypatch, with_cv2):
    if not with_cv2:
        monkeypatch.setattr("ppcls_light.data.transforms.core.loaded_opencv", lambda: None)
    op = NormalizeImage(order="")
    scale, mean, std = np.float32(1 / 255), op.mean, op.std
    for shape in ((3, 37, 21, 3), (2, 1, 1, 3), (2, 1, 5, 3), (2, 5, 1, 3), (0, 4, 4, 3)):
        batch = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        expected = ((batch.astype(np.float32) * scale - mean) / std).transpose(0, 3, 1, 2)
        out = op.batch(batch)
        assert out.dtype == np.float32
        assert out.flags.c_contiguous
        assert np.array_equal(out, expected)
        for image, normalised in zip(batch, out):
            assert np.array_equal(op(image).transpose(2, 0, 1), normalised)
        assert np.array_equal(op.batch(batch[:, :, ::-1]), expected[..., ::-1])


NORMALISE = ("NormalizeImage", {"order": ""})


@pytest.mark.parametrize(
    ("ops", "dtype"),
    [
        ([NORMALISE], np.uint8),
        ([NORMALISE, ("ToCHWImage", None)], np.uint8),
        ([("ToCHWImage", None), ("NormalizeImage", {"order": "chw"})], np.float32),
        ([("NormalizeImage", {"order": "", "output_fp16": True})], np.float32),
        ([("NormalizeImage", {"order": "", "channel_num": 4})], np.float32),
        ([NORMALISE, NORMALISE], np.float32),
        ([("ResizeImage", {"size": 8})], np.float32),
        ([], np.float32),
    ],
)
def test_what_a_worker_hands_on_and_what_becomes_of_it(photo, ops, dtype):
    transforms = build_transforms(ops)
    prepared = transforms.prepare(photo)
    assert prepared.dtype == dtype
    assert prepared.shape == (photo.shape if dtype == np.uint8 else transforms(photo).shape)
    expected = photo
    for op in transforms.ops:
        expected = op(expected)
    if not any(name == "ToCHWImage" for name, _ in ops):
        expected = expected.transpose(2, 0, 1)
    (finished,) = transforms.finish(prepared[None])
    assert finished.dtype == np.float32
    assert np.array_equal(finished, expected.astype(np.float32))
    assert np.array_equal(transforms(photo), finished)


def test_normalise_options(photo):
    out = NormalizeImage(scale=1.0, mean=[1, 2, 3], std=[2, 4, 5], order="", output_fp16=True, channel_num=4)(
        photo
    )
    assert out.dtype == np.float16
    assert out.shape == (60, 90, 4)
    np.testing.assert_allclose(
        out[..., :3], (photo - np.array([1.0, 2, 3])) / [2, 4, 5], rtol=1e-3, atol=1e-3
    )
    assert not out[..., 3].any()


def test_normalise_with_the_wrong_order(photo):
    with pytest.raises(ConfigError, match="order: '' is for"):
        NormalizeImage()(photo)


def test_to_chw(photo):
    assert np.array_equal(ToCHWImage()(photo)[2, 5], photo[5, :, 2])


EVAL = [
    ("ResizeImage", {"resize_short": 48}),
    ("CropImage", {"size": 32}),
    ("NormalizeImage", {"scale": "1.0/255.0", "order": ""}),
]


def test_compose_is_chw_float32_with_and_without_to_chw(photo):
    decode = ("DecodeImage", {"to_rgb": True, "channel_first": False})
    without = build_transforms([decode, *EVAL])(png(photo))
    with_op = build_transforms([decode, *EVAL, ("ToCHWImage", None)])(png(photo))
    resized = cv2.resize(photo, (72, 48), interpolation=cv2.INTER_LINEAR)[8:40, 20:52]
    expected = ((resized / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).transpose(2, 0, 1)
    for out in (without, with_op):
        assert out.dtype == np.float32
        assert out.flags.c_contiguous
        np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6)
    chw = [("DecodeImage", {"channel_first": True}), ("NormalizeImage", {})]
    assert build_transforms(chw)(png(photo)).shape == (3, 60, 90)


def test_fasternet_training_ops_of_paddleclas(photo):
    ops = [
        ("DecodeImage", {"backend": "pil", "to_np": False, "channel_first": False}),
        ("RandCropImage", {"size": 24, "interpolation": "bicubic", "backend": "pil"}),
        ("RandFlipImage", {"flip_code": 1}),
        ("TimmAutoAugment", {"config_str": "rand-m7-mstd0.5-inc1"}),
        ("NormalizeImage", {"scale": "1.0/255.0", "order": ""}),
    ]
    transforms = build_transforms(ops)
    outs = [transforms(png(photo), np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert outs[0].shape == (3, 24, 24)
    assert np.array_equal(outs[0], outs[1])
    assert not np.array_equal(outs[0], outs[2])


@pytest.mark.parametrize(
    ("name", "params", "reason"),
    [
        ("ResizImage", {}, "did you mean 'ResizeImage'"),
        ("ResizeImage", {}, "one of size and resize_short"),
        ("ResizeImage", {"size": 4, "resize_short": 4}, "one of size and resize_short"),
        ("ResizeImage", {"size": 4, "interpolation": "bicubik"}, "did you mean 'bicubic'"),
        ("ResizeImage", {"size": 4, "interpolation": "box"}, "unknown to backend cv2"),
        ("ResizeImage", {"size": 4, "backend": "gpu"}, "use cv2 or pil"),
        ("CropImage", {"sise": 4}, "did you mean 'size'"),
        ("CropImage", {"size": 0}, "size: expected"),
        ("RandCropImage", {}, "size is missing"),
        ("RandCropImage", {"size": 4, "scale": [1, 0.5]}, r"scale is a range \[low, high\]"),
        ("RandFlipImage", {"flip_code": 2}, "flip_code is 1"),
        ("NormalizeImage", {"scale": "__import__('os').getcwd()"}, "scale: expected a number"),
        ("NormalizeImage", {"std": [1.0, 1.0]}, "each of the 3 channels"),
        ("NormalizeImage", {"order": "wh"}, "order is"),
        ("NormalizeImage", {"channel_num": 5}, "channel_num is 3 or 4"),
    ],
)
def test_wrong_parameters(name, params, reason):
    with pytest.raises(ConfigError, match=reason):
        build_transforms([(name, params)])


@pytest.mark.parametrize(
    "op",
    [
        ("RandCropImage", {"size": 8}),
        ("RandFlipImage", {}),
        ("ResizeImage", {"size": 8, "interpolation": "random"}),
    ],
)
def test_random_ops_are_refused_where_no_generator_is_given(photo, op):
    with pytest.raises(ConfigError, match=f"{op[0]} is random"):
        build_transforms([op])(photo)


@pytest.mark.parametrize("backend", ["cv2", "pil"])
def test_a_line_of_pixels_is_not_blown_up_to_gigabytes(backend):
    line = np.zeros((1, 20000, 3), np.uint8)
    resize = build_transforms([("ResizeImage", {"resize_short": 256, "backend": backend})])
    with pytest.raises(DataError, match=r"20000x1 pixels .* to 5120000x256"):
        resize(line)
