"""Planted faults are where the benchmark says, and its table counts them by hand."""

import re

import pytest
from PIL import Image

from ppcls_light.errors import UserError
from tools.benchmarks import check_data
from tools.benchmarks.check_data import FAULTS, Data, made, table


def test_each_fault_is_planted_in_images_of_its_own(tmp_path):
    data = made(tmp_path, 300, 32, seed=0)
    before = dict(data.lines["train"] + data.lines["val"])
    data.plant(with_labels=True)
    assert {fault: len(places) for fault, places in data.planted.items()} == {
        fault: count for fault, (count, _) in FAULTS.items()
    }
    touched = [
        path
        for places in data.planted.values()
        for place in places
        for path in ([place] if isinstance(place, str) else place)
    ]
    assert len(touched) == len(set(touched))
    after = dict(
        line.rsplit(" ", 1)
        for split in ("train", "val")
        for line in (tmp_path / f"{split}_list.txt").read_text().splitlines()
    )
    assert {path for path, label in before.items() if int(after[path]) != label} == data.planted[
        "wrong label"
    ]
    assert len(after) == 300 + 20 + 10 + 10
    for one, other in map(sorted, data.planted["conflict"]):
        assert after[one] != after[other]
    for path in data.planted["damaged"]:
        with Image.open(tmp_path / path) as image, pytest.raises(OSError, match="truncated"):
            image.load()
    for path in data.planted["black"]:
        with Image.open(tmp_path / path) as image:
            assert image.convert("L").getextrema()[1] < 40


def test_the_table_by_hand(tmp_path):
    data = Data(tmp_path, {"train": [("a", 0)], "val": []}, seed=0)
    data.planted["leak"] = {frozenset(("a", "b")), frozenset(("c", "d"))}
    data.planted["damaged"] = {"e"}
    findings = [
        {"kind": "near_leak", "file": "b", "other_file": "a"},
        {"kind": "leak", "file": "x", "other_file": "y"},
        {"kind": "duplicate", "file": "c", "other_file": "d"},
        {"kind": "damaged", "file": "e", "other_file": ""},
        {"kind": "damaged", "file": "f", "other_file": ""},
    ]
    assert table(data, findings) == [("leak", 2, 1, 1), ("damaged", 1, 1, 1)]


def test_too_few_images_are_refused(tmp_path):
    with pytest.raises(UserError, match="220 training images of 2 classes are needed"):
        made(tmp_path, 20, 16, seed=0).plant(with_labels=False)


def test_the_command_finds_what_it_planted(monkeypatch, capfd):
    monkeypatch.setattr("sys.argv", ["check_data.py", "--images", "400", "--pixels", "96", "--workers", "0"])
    check_data.main()
    said = capfd.readouterr().out
    rows = re.findall(r"\| ([a-z ]+) \| (\d+) \| (\d+) \| (\d+) \|", said)
    assert {fault: int(planted) for fault, planted, _, _ in rows} == {
        fault: count for fault, (count, _) in FAULTS.items() if fault != "wrong label"
    }
    for fault, planted, found, wrong in rows:
        changed = fault in ("duplicate", "leak", "conflict")  # a crop may be too much for the hash
        assert int(found) >= int(planted) - 2 * changed
        assert wrong == "0"
    assert "440 images in " in said
