"""Facts of image files against OpenCV's own transforms, and what leaves the perceptual hash as it is."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFilter

from ppcls_light.check.facts import (
    DAMAGED,
    MIRROR,
    MISSING,
    READABLE,
    decode_small,
    facts_of,
    gather,
    perceptual_hash,
)
from ppcls_light.data import decode_image


def saved(image, form="JPEG", **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def fact_of(data):
    facts, reasons = facts_of([data])
    assert not reasons
    return facts[0]


def bits(one, other):
    return bin(int(one) ^ int(other)).count("1")


def test_brightness_and_sharpness_are_those_of_opencv(make_picture):
    data = saved(make_picture(1, 96), "PNG")
    fact = fact_of(data)
    grey = np.asarray(make_picture(1, 96).convert("L"), np.float32)
    laplacian = cv2.Laplacian(grey, cv2.CV_32F)[1:-1, 1:-1]
    assert fact["sharpness"] == pytest.approx(laplacian.std(), rel=1e-5)
    assert fact["contrast"] == pytest.approx(grey.std(), rel=1e-5)
    assert fact["bright"] == pytest.approx(np.percentile(grey, 95), abs=0.5)
    assert (fact["width"], fact["height"], fact["bytes"]) == (96, 96, len(data))
    assert (fact["state"], fact["format"], fact["mode"]) == (READABLE, b"PNG", b"RGB")


def test_the_hash_has_the_signs_of_opencvs_cosine_transform(make_picture):
    image = make_picture(2, 96)
    grey = np.asarray(image.resize((32, 32), Image.Resampling.BOX).convert("L"), np.float32)
    expected = np.packbits(cv2.dct(grey)[:8, 1:9] > 0).view(np.uint64)[0]
    assert perceptual_hash(image) == expected


def test_quality_size_and_light_hardly_change_the_hash_and_a_mirrored_picture_inverts_some_bits(make_picture):
    image = make_picture(3, 256)
    first = fact_of(saved(image, quality=95))
    for data in (
        saved(image, quality=30),
        saved(image.resize((128, 128), Image.Resampling.LANCZOS)),
        saved(image.point(lambda value: 0.8 * value + 10)),
        saved(image, "WEBP"),
    ):
        assert bits(first["hash"], fact_of(data)["hash"]) <= 3
    mirrored = perceptual_hash(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    assert bits(perceptual_hash(image) ^ MIRROR, mirrored) == 0
    assert bits(first["hash"], fact_of(saved(make_picture(4, 256)))["hash"]) > 15


def test_a_blurred_picture_is_less_sharp(make_picture):
    sharp, blurred = make_picture(5, 96), make_picture(5, 96).filter(ImageFilter.GaussianBlur(3))
    assert fact_of(saved(blurred))["sharpness"] < 0.3 * fact_of(saved(sharp))["sharpness"]


def test_large_files_are_decoded_small_and_upright(make_picture):
    image = make_picture(6, 1200).crop((0, 0, 1200, 600))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    data = saved(image, exif=exif)
    assert decode_small(data, 256).shape == (300, 150, 3)
    fact = fact_of(data)
    assert (fact["width"], fact["height"]) == decode_image(data).shape[1::-1] == (600, 1200)


def test_files_that_cannot_be_read_have_a_reason(tmp_path, make_picture):
    good, cut, text = tmp_path / "good.jpg", tmp_path / "cut.jpg", tmp_path / "text.png"
    data = saved(make_picture(7, 96))
    good.write_bytes(data)
    cut.write_bytes(data[: len(data) // 2])
    text.write_text("no image")
    paths = [str(path) for path in (good, cut, tmp_path / "gone.jpg", text)]
    facts, reasons = gather(paths, 4, workers=0)
    assert facts["state"].tolist() == [READABLE, DAMAGED, MISSING, DAMAGED]
    assert sorted(reasons) == [1, 2, 3]
    assert "truncated" in reasons[1]
    assert "no known format" in reasons[3]
    assert not any(str(tmp_path) in reason for reason in reasons.values())


def test_processes_find_the_same_facts_in_the_same_order(tmp_path, make_picture):
    paths = []
    for number in range(140):
        paths.append(str(tmp_path / f"{number}.jpg"))
        if number % 50:
            make_picture(number, 32).save(paths[-1])
    seen = []
    alone, reasons = gather(paths, len(paths), workers=0, show=seen.append)
    shared, others = gather(paths, len(paths), workers=2)
    assert seen[-1] == len(paths)
    assert alone.tobytes() == shared.tobytes()
    assert reasons == others
    assert sorted(reasons) == [0, 50, 100]


def test_pixels_are_content_without_a_file():
    facts, reasons = gather([b"P6 2 2 255\n" + bytes(12)], 1, workers=0)
    assert not reasons
    assert (facts["width"][0], facts["format"][0], facts["mode"][0]) == (2, b"PPM", b"")
