import csv
import re
import runpy
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from ppcls_light import create_model
from ppcls_light.data import find_images
from ppcls_light.data.decode import read_image
from ppcls_light.errors import UserError
from ppcls_light.export import export_model

# Prints what predict_cls.py of PaddleClas prints, in two lots.
THEIRS = """
import sys, time
from paddleclas.deploy.utils import predictor
assert predictor.CALLS == ["other"], predictor.CALLS
print("config, not a row")
print("a.jpg:\\tclass id(s): [1], score(s): [1.00], label_name(s): ['x']")
time.sleep(0.4)
print("b.jpg:\\tclass id(s): [1], score(s): [1.00], label_name(s): ['x']")
"""
PREDICTOR = """
CALLS = []
class config:
    enable_memory_optim = staticmethod(lambda: CALLS.append("refused"))
    other = staticmethod(lambda: CALLS.append("other"))
if True:
    config.enable_memory_optim()
    config.other()
"""


@pytest.fixture
def tool(root):
    return runpy.run_path(str(root / "tools/benchmarks/predict.py"))


def test_paddleclas_without_the_call_that_paddle_refuses(tool, tmp_path):
    checkout, scratch = tmp_path / "PaddleClas", tmp_path / "scratch"
    for folder in ("ppcls", "deploy/utils", "deploy/python"):
        (checkout / folder).mkdir(parents=True)
    for package in ("", "deploy", "deploy/utils"):
        (checkout / package / "__init__.py").touch()
    (checkout / "deploy/utils/predictor.py").write_text(PREDICTOR)
    (checkout / "deploy/python/predict_cls.py").write_text(THEIRS)
    scratch.mkdir()
    case = tool["PaddleClas"](tool["patched_copy"](str(checkout), scratch), "model", 10)
    first, second = tool["row_times"](*case.command("photos", 8, many=True))
    assert second - first > 0.35
    assert (checkout / "deploy/utils/predictor.py").read_text() == PREDICTOR
    with pytest.raises(UserError, match=r"no deploy/utils/predictor\.py"):
        tool["patched_copy"](str(tmp_path), tmp_path / "other")


def test_photos_of_another_size_keep_their_shape(tool, tmp_path):
    photo = tmp_path / "photo.png"
    photo.write_bytes(cv2.imencode(".png", np.full((30, 60, 3), (10, 200, 90), "uint8"))[1].tobytes())
    (copy,) = find_images(tool["resized"]([str(photo)], 100, tmp_path))
    assert read_image(copy).shape == (50, 100, 3)
    np.testing.assert_allclose(read_image(copy).mean((0, 1)), (90, 200, 10), atol=3)


def test_images_without_a_row_are_no_speed(tool, tmp_path):
    photos, script = tmp_path / "photos", tmp_path / "one_row.py"
    photos.mkdir()
    for number in range(2):
        (photos / f"{number}.png").touch()
    script.write_text("print('a.jpg:\\tclass id(s): [1], score(s): [1.00], label_name(s): []')")
    case = SimpleNamespace(command=lambda images, batch, many: ([str(script)], None))
    with pytest.raises(UserError, match=r"^a case: 1 rows of 2 images; take those that fail out of"):
        tool["measure"]({"a case": case}, str(photos), SimpleNamespace(rounds=1, batch=1))


@pytest.mark.slow
def test_the_tool_times_starts_rows_and_single_images(root, tmp_path, monkeypatch, capsys):
    photos, model, table = tmp_path / "photos", tmp_path / "inference", tmp_path / "t.csv"
    photos.mkdir()
    for number in range(40):
        pixels = np.full((40, 40, 3), number, "uint8")
        (photos / f"{number}.png").write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    ops = [("ResizeImage", {"size": 32}), ("NormalizeImage", {"order": ""})]
    export_model(create_model("PPLCNet_x0_25", class_num=3), model, (3, 32, 32), ops, list("abc"))
    arguments = [model, photos, "--batch", 2, "--rounds", 1, "--runs", 2, "--csv", table]
    monkeypatch.setattr(sys, "argv", ["tools/benchmarks/predict.py", *map(str, arguments)])
    runpy.run_path(str(root / "tools/benchmarks/predict.py"), run_name="__main__")
    with open(table, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["case"] == "paddle, 0 workers"
    assert all(float(row[key]) > 0 for row in rows for key in ("first row s", "images/s", "one image ms"))
    assert "| paddle, 0 workers |" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["predict_stages.py", str(model), str(photos), "--rounds", "1"])
    runpy.run_path(str(root / "tools/benchmarks/predict_stages.py"), run_name="__main__")
    stages = re.findall(r"^\| ([a-zA-Z, ]+) \| (\d\.\d+) \|", capsys.readouterr().out, re.MULTILINE)
    found = {name: float(milliseconds) for name, milliseconds in stages}
    assert found["whole way, paddle"] > max(found["network, paddle"], found["decode"]) > 0
