"""The example in C++: built against the library that Python's package of ONNX Runtime has."""

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from ppcls_light.bundle import read_bundle
from ppcls_light.bundle.onnx import to_onnx
from ppcls_light.ops import build
from ppcls_light.ops.build import BuildError
from ppcls_light.prediction import Predictor

pytest.importorskip("paddle2onnx", reason="needs paddle2onnx: the extra onnx")


@pytest.fixture(scope="module")
def classify(root, tmp_path_factory):
    """A function that runs the example: classify(folder, picture) is the finished process."""
    package = importlib.util.find_spec("onnxruntime")
    libraries = sorted(Path(package.origin).parent.glob("capi/libonnxruntime.so.*")) if package else []
    if not libraries:
        pytest.skip("the package onnxruntime has no library for C here")
    try:
        compiler = build.compiler()
    except BuildError as problem:
        pytest.skip(str(problem))
    program = tmp_path_factory.mktemp("cpp") / "classify"
    headers = os.environ.get("ONNXRUNTIME_INCLUDE", Path(__file__).parent)
    command = [compiler, "-std=c++17", "-O0", "-Wall", "-Wextra", "-Werror", f"-I{headers}"]
    library = program.with_name("libonnxruntime.so.1")  # the name by which programs ask for it
    library.symlink_to(libraries[-1])
    folders = (f"-Wl,-rpath,{path}" for path in (library.parent, libraries[-1].parent))
    rest = [library, *folders, "-o", program]
    subprocess.run([*command, root / "deploy/cpp/classify.cc", *rest], check=True)

    def run(*arguments):
        return subprocess.run([program, *arguments], capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    """The exported folder with its ONNX file."""
    copy = tmp_path_factory.mktemp("onnx") / "inference"
    shutil.copytree(model, copy)
    to_onnx(read_bundle(copy), copy / "inference.onnx")
    return copy


@pytest.mark.parametrize("size", [(40, 40), (64, 48), (51, 77), (300, 200)], ids=str)
def test_the_example_answers_as_the_predictor(classify, folder, tmp_path, size):
    predictor = Predictor(folder, engine="paddle", cpu_threads=1)
    rng = np.random.default_rng(size[0])
    for number in range(5):
        cells = rng.integers(0, 256, (4, 4, 3)).astype("uint8")
        path = tmp_path / f"{number}.ppm"
        cv2.imwrite(str(path), cv2.resize(cells, size, interpolation=cv2.INTER_CUBIC))
        done = classify(folder, path)
        assert done.returncode == 0, done.stderr
        rows = [line.split("\t") for line in done.stdout.splitlines()]
        (expected,) = predictor.predict([path])
        assert [int(row[0]) for row in rows] == expected["class_ids"]
        assert [row[2] for row in rows] == expected["label_names"]
        np.testing.assert_allclose([float(row[1]) for row in rows], expected["scores"], rtol=0, atol=1e-5)


def test_names_in_quotes_and_in_several_lines(classify, folder, tmp_path):
    names = ["it's, one", "two [2]", "three " + "and more " * 20]
    shutil.copytree(folder, tmp_path / "named")
    yml = tmp_path / "named/inference.yml"
    listed = "['it''s, one', 'two [2]', three " + "and\n      more " * 20
    yml.write_text(
        yml.read_text()
        .replace("[blobs, rings, dots and dashes]", listed.rstrip() + "]")
        .replace("topk: 2", "topk: 3")
    )
    (tmp_path / "grey.ppm").write_bytes(b"P6 40 40 255\n" + bytes([128]) * 4800)
    done = classify(tmp_path / "named", tmp_path / "grey.ppm")
    found = {int(line.split("\t")[0]): line.split("\t")[2] for line in done.stdout.splitlines()}
    assert [found[i] for i in range(3)] == [name.strip() for name in names], done.stderr


def test_what_would_change_answers_is_refused(classify, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "other")
    yml = tmp_path / "other/inference.yml"
    yml.write_text(
        yml.read_text().replace("resize_short: 40", "resize_short: 40\n      interpolation: bicubic")
    )
    picture = tmp_path / "cut.ppm"
    picture.write_bytes(b"P6 40 40 255\n" + bytes(100))
    for place, reason in ((tmp_path / "other", "does not know interpolation"), (folder, "is cut off")):
        done = classify(place, picture)
        assert done.returncode == 2
        assert reason in done.stderr
