"""Planted faults are found, each as what it is, and nothing else is."""

import shutil

import numpy as np
import pytest
from PIL import Image, ImageFilter

from ppcls_light.check.facts import gather
from ppcls_light.check.findings import find
from ppcls_light.check.kinds import KINDS, Limits
from ppcls_light.check.splits import splits_of_folder


def found_in(folder, **limits):
    """Return the findings as (kind, path, path of the other image)."""
    splits = splits_of_folder(str(folder))
    facts, reasons = gather(map(splits.source, range(len(splits))), len(splits), workers=0)
    return [
        (
            finding.kind,
            splits.name(finding.image),
            None if finding.other is None else splits.name(finding.other),
        )
        for finding in find(splits, facts, reasons, Limits(**limits))
    ]


def change(folder, name, edit, **options):
    """Change a picture by `edit(image)`; `options` are of the new JPEG file."""
    with Image.open(folder / name) as image:
        edit(image.convert("RGB")).save(folder / name, **{"quality": 90, **options})


def black(image):
    noise = np.random.default_rng(0).integers(0, 30, (image.height, image.width, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def test_nothing_is_found_in_sound_data(listed):
    assert found_in(listed) == []


@pytest.mark.parametrize(
    ("kind", "edit"),
    [
        ("blank", lambda image: Image.new("RGB", image.size, (250, 250, 250))),
        ("dark", black),
        ("dark", lambda image: Image.new("RGB", image.size)),
        ("blurred", lambda image: image.filter(ImageFilter.GaussianBlur(6))),
        ("tiny", lambda image: image.resize((20, 90))),
        ("stretched", lambda image: image.resize((400, 90))),
        ("odd_mode", lambda image: image.convert("CMYK")),
        ("odd_mode", lambda image: image.convert("L")),
    ],
)
def test_a_poor_picture_is_found_as_what_it_is(listed, kind, edit):
    change(listed, "train/dog/1.jpg", edit)
    expected = [(kind, "train/dog/1.jpg", None)]
    if kind == "tiny":
        expected.append(("stretched", "train/dog/1.jpg", None))
    assert found_in(listed) == expected


def test_unreadable_and_misnamed_files(listed):
    (listed / "train/cat/0.jpg").unlink()
    (listed / "val/cat/1.jpg").write_bytes((listed / "val/cat/1.jpg").read_bytes()[:500])
    with Image.open(listed / "val/dog/2.jpg") as image:
        image.save(listed / "val/dog/2.jpg", "PNG")
    assert found_in(listed) == [
        ("missing", "train/cat/0.jpg", None),
        ("damaged", "val/cat/1.jpg", None),
        ("odd_suffix", "val/dog/2.jpg", None),
    ]


@pytest.mark.parametrize(
    ("source", "target", "kinds"),
    [
        ("train/cat/0.jpg", "train/cat/1.jpg", ["duplicate"]),
        ("train/cat/0.jpg", "train/dog/1.jpg", ["conflict"]),
        ("val/cat/0.jpg", "train/cat/1.jpg", ["leak"]),
        ("val/cat/0.jpg", "train/dog/1.jpg", ["leak", "conflict"]),
    ],
)
@pytest.mark.parametrize("near", [False, True])
def test_the_same_picture_twice(listed, source, target, kinds, near):
    shutil.copy(listed / source, listed / target)
    if near:  # the smaller one is found
        change(listed, target, lambda image: image.resize((80, 80), Image.Resampling.LANCZOS), quality=70)
    expected = [(f"{'near_' * near}{kind}", target, source) for kind in kinds]
    if not near and not source.startswith("val"):  # the first of two equal files in a split stays
        source, target = sorted([source, target])
        expected = [(kind, target, source) for kind in kinds]
    assert found_in(listed) == expected


def test_the_training_follows_the_evaluation_though_a_third_file_is_equal(listed):
    for name in ("val/cat/0.jpg", "train/cat/3.jpg"):
        shutil.copy(listed / "train/cat/0.jpg", listed / name)
    assert found_in(listed) == [
        ("leak", "train/cat/0.jpg", "val/cat/0.jpg"),
        ("leak", "train/cat/3.jpg", "val/cat/0.jpg"),
    ]


def test_a_mirrored_picture_is_near(listed):
    shutil.copy(listed / "val/dog/0.jpg", listed / "train/dog/0.jpg")
    change(listed, "train/dog/0.jpg", lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    assert found_in(listed) == [("near_leak", "train/dog/0.jpg", "val/dog/0.jpg")]


@pytest.mark.parametrize(
    ("kind", "edit"),
    [("blank", lambda image: Image.new("RGB", image.size, (255, 255, 255))), ("dark", black)],
)
def test_pictures_that_show_nothing_are_no_duplicates(listed, kind, edit):
    for name in ("train/cat/0.jpg", "train/dog/1.jpg", "val/dog/1.jpg"):
        change(listed, name, edit)
    assert [found for found, *_ in found_in(listed)] == [kind] * 3


def test_thresholds_are_what_the_limits_say(listed):
    change(listed, "train/dog/1.jpg", lambda image: image.filter(ImageFilter.GaussianBlur(6)))
    assert found_in(listed, sharpness=0) == []
    assert len(found_in(listed, side=97)) == 18 + 1
    assert {kind for kind, *_ in found_in(listed, dark=256, sharpness=0)} == {"dark"}


def test_every_kind_has_its_sentence():
    for kind in KINDS.values():
        assert kind.one != kind.several
        assert not kind.advice.endswith(".")
