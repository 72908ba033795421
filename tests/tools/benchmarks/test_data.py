import csv
import io
import runpy
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="module")
def tool(root):
    return runpy.run_path(str(root / "tools/benchmarks/data.py"))


def test_photos_are_as_the_text_says(tool):
    photos = [tool["make_photo"](seed) for seed in range(4)]
    assert 85_000 < np.mean([len(photo) for photo in photos]) < 105_000
    assert len(set(photos)) == 4
    image = Image.open(io.BytesIO(photos[0]))
    assert (image.format, image.size) == ("JPEG", (500, 375))
    assert image.layer[0][1:3] == (2, 2)  # 4:2:0
    assert tool["make_photo"](2) == photos[2]


def test_the_sentences_by_hand(tool):
    speeds = {
        "read": [1000.0, 1000.0],
        "DecodeImage": [250.0, 250.0],
        "NormalizeImage": [1000.0, 1000.0],
        "transport, 2 workers": [2000.0, 2000.0],
        "all, 0 workers": [200.0, 100.0],
        "all, 2 workers": [300.0, 400.0],
        "baseline, 0 workers": [100.0, 100.0],
        "baseline, 2 workers": [100.0, 100.0],
    }
    # 1 + 4 + 1 ms; two workers decode 500 in a second, fewer than the transport takes.
    assert tool["bottleneck"](speeds, 2) == "bottleneck: DecodeImage, 67% of a sample's time in one thread"
    assert tool["ratios"](speeds, 2) == [
        "0 workers: 1.50 times the baseline (1.00 to 2.00 in 2 rounds)",
        "2 workers: 3.50 times the baseline (3.00 to 4.00 in 2 rounds)",
    ]
    speeds["transport, 2 workers"] = [400.0]
    assert "no further worker" in tool["bottleneck"](speeds, 2)
    assert tool["row"]("read", [400.0, 500.0, 800.0]) == ["read", "500", "400", "800", "2000"]


@pytest.mark.slow
def test_the_tool_measures_and_writes(root, tmp_path):
    table = tmp_path / "new/data.csv"
    arguments = ["--images", "4", "--batch-size", "2", "--rounds", "1", "--workers", "1", "--baseline"]
    done = subprocess.run(
        [sys.executable, str(root / "tools/benchmarks/data.py"), *arguments, "--csv", str(table)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    with open(table, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["stage"] for row in rows] == [
        *("read", "DecodeImage", "RandCropImage", "RandFlipImage", "stack", "NormalizeImage"),
        *("transport, 1 workers", "all, 0 workers", "all, 1 workers"),
        *("baseline, 0 workers", "baseline, 1 workers"),
    ]
    assert all(float(row["samples/s"]) > 0 and row["images"] == "4" for row in rows)
    assert "numpy" in rows[0]["environment"]
    assert "bottleneck: " in done.stdout
    assert "0 workers: " in done.stdout
