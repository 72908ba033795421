import io

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from ppcls_light.data import build_transforms
from ppcls_light.data.guards.jpeg import jpeg_size
from ppcls_light.data.transforms.compose import DecodeAndCrop
from ppcls_light.data.transforms.core import DecodeImage
from ppcls_light.data.transforms.crops import RandCropImage
from ppcls_light.errors import DataError

SIZE = 60


@pytest.fixture(scope="module")
def photo():
    """A smooth picture of 640 x 500 pixels whose corners differ."""
    corners = np.array([[[200, 30, 40], [20, 180, 60]], [[30, 40, 210], [120, 120, 120]]], np.uint8)
    return Image.fromarray(cv2.resize(corners, (640, 500)))


def jpeg(image, orientation=None, byte_order=None, **options):
    buffer = io.BytesIO()
    if orientation:
        exif = Image.Exif()
        exif.endian = byte_order or "<"
        exif[0x010E], exif[0x0112] = "a description before it", orientation
        options["exif"] = exif
    image.save(buffer, "JPEG", quality=95, **options)
    return buffer.getvalue()


def test_the_size_in_the_header_is_the_one_of_the_upright_picture(photo):
    for byte_order in "<>":
        for orientation in range(1, 9):
            data = jpeg(photo, orientation, byte_order)
            upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
            assert jpeg_size(data) == upright.size, (byte_order, orientation)
    for image, options in ((photo, {}), (photo, {"progressive": True}), (photo.convert("L"), {})):
        assert jpeg_size(jpeg(image, **options)) == (640, 500)


def test_no_size_without_a_whole_jpeg_header(photo):
    data = jpeg(photo, 6)
    start_of_frame = data.index(b"\xff\xc0")
    for length in range(start_of_frame + 8):
        assert jpeg_size(data[:length]) is None
    assert jpeg_size(data[: start_of_frame + 9]) == (500, 640)
    assert jpeg_size(b"\x89PNG\r\n\x1a\n" + bytes(100)) is None
    # Exif that points outside of itself
    exif = data.index(b"Exif\0\0") + 6
    assert jpeg_size(data[: exif + 4] + b"\xff\xff\xff\xff" + data[exif + 8 :]) == (640, 500)


@pytest.mark.parametrize(
    ("side", "shrink"), [(500, 1), (251, 1), (250, 2), (126, 2), (125, 4), (63, 4), (62, 8), (8, 8)]
)
@pytest.mark.parametrize("backend", ["cv2", "pil"])
def test_no_smaller_than_the_crop_needs(photo, side, shrink, backend):
    """All of the photo's height is cut out, 500 pixels, as a square of `side`."""
    step = DecodeAndCrop(DecodeImage(backend=backend), RandCropImage(side, scale=[1, 1], ratio=[1, 1]))
    image, box = step.decode(jpeg(photo), np.random.default_rng(0))
    assert image.shape == (-(-500 // shrink), 640 // shrink, 3)
    assert box[2] >= side
    assert box[3] >= side
    assert box[0] + box[2] <= image.shape[1]
    assert box[1] + box[3] <= image.shape[0]


@pytest.mark.parametrize("backend", ["cv2", "pil"])
@pytest.mark.parametrize("options", [{"to_np": True}, {"to_np": False}])
def test_the_same_part_upright(photo, backend, options):
    """All orientations: the part of the reduced picture is the part of the whole one."""
    options = {**options, "backend": backend}
    crop = ("RandCropImage", {"size": SIZE, "backend": backend})
    whole = build_transforms([("DecodeImage", {**options, "reduced": False}), crop])
    reduced = build_transforms([("DecodeImage", options), crop])
    differ = 0
    for orientation in range(1, 9):
        data = jpeg(photo, orientation)
        for seed in range(12):
            expected = whole(data, np.random.default_rng(seed))
            result = reduced(data, np.random.default_rng(seed))
            assert np.abs(result - expected).max() <= 8, (orientation, seed)
            differ += not np.array_equal(result, expected)
    assert differ > 40  # most were reduced


def test_other_files_and_small_photos_are_decoded_whole(photo):
    buffer = io.BytesIO()
    photo.save(buffer, "PNG")
    for data in (buffer.getvalue(), jpeg(photo.resize((119, 119)))):
        results = [
            build_transforms([("DecodeImage", {"reduced": flag}), ("RandCropImage", {"size": SIZE})])(
                data, np.random.default_rng(3)
            )
            for flag in (True, False)
        ]
        assert np.array_equal(*results)


def test_a_cut_photo_is_an_error_as_ever(photo):
    transforms = build_transforms([("DecodeImage", {}), ("RandCropImage", {"size": SIZE})])
    for share in (0.02, 0.5, 0.9):
        data = jpeg(photo)
        with pytest.raises(DataError):
            transforms(data[: int(len(data) * share)], np.random.default_rng(0))


def test_evaluation_is_not_touched(photo):
    data = jpeg(photo)
    for op in (("ResizeImage", {"resize_short": 64}), ("CropImage", {"size": 64})):
        results = [build_transforms([("DecodeImage", {"reduced": flag}), op])(data) for flag in (True, False)]
        assert np.array_equal(*results)


def test_a_size_of_the_batch_counts(photo):
    transforms = build_transforms([("DecodeImage", {}), ("RandCropImage", {"size": 400})])
    step = transforms.steps[0]
    image, _ = step.decode(jpeg(photo), np.random.default_rng(0), (40, 30))
    assert image.shape[0] < 500
    assert transforms(jpeg(photo), np.random.default_rng(0), (40, 30)).shape == (3, 30, 40)


@pytest.mark.parametrize(
    "ops",
    [
        [("NormalizeImage", {"order": ""})],
        [("NormalizeImage", {"order": ""}), ("ToCHWImage", {})],
        [("ToCHWImage", {}), ("NormalizeImage", {})],
        [("ToTensor", {}), ("Normalize", {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]})],
        [],
    ],
)
@pytest.mark.parametrize("decode", [{}, {"to_np": False}, {"to_rgb": False}])
def test_the_picture_that_a_network_sees_is_in_rgb_and_not_normalised(ops, decode):
    pixels = np.random.default_rng(0).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    size = ("CropImage", {"size": [10, 8]})
    seen = build_transforms([("DecodeImage", decode), size, *ops]).seen(pixels)
    np.testing.assert_array_equal(seen, pixels[2:10, 3:13])


def test_the_seen_picture_has_the_border_that_padv2_gives_it():
    pixels = np.full((8, 8, 3), 200, np.uint8)
    seen = build_transforms(
        [("DecodeImage", {}), ("Padv2", {"size": 16}), ("NormalizeImage", {"order": ""})]
    ).seen(pixels)
    assert seen.shape == (16, 16, 3)
    assert (seen[:8, :8] == 200).all()
    assert (seen[8:] == 127).all()
