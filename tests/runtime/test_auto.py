"""Engine "auto": what it measures, what it leaves out, and what engine.json remembers."""

import json
import logging
import os
import shutil
import subprocess
import sys

import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls_light.bundle import read_bundle
from ppcls_light.bundle.folder import write_inference_yml
from ppcls_light.config.postprocess import Topk
from ppcls_light.errors import DeviceError
from ppcls_light.export.static import save_static
from ppcls_light.prediction import Predictor
from ppcls_light.runtime import race
from ppcls_light.runtime.auto import candidates, choose, conditions, load_choice, resolve, save_choice
from ppcls_light.runtime.engines import ENGINES, missing_library
from ppcls_light.runtime.options import EngineOptions
from ppcls_light.runtime.race import Result, measure

SHAPE = (1, 3, 32, 32)
RACE = race._RACE
CHOICE = {"engine": "paddle", "onednn": True, "precision": "fp32"}


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Measure for a moment; that is as good for these tests."""
    monkeypatch.setattr(race, "_RACE", ((1, 1.0),))
    monkeypatch.setattr(race, "_ROUND_SECONDS", 0.01)
    monkeypatch.setattr(race, "SETTLE_SECONDS", 0)


@pytest.fixture
def folder(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "inference")


@pytest.fixture
def paddle_only(monkeypatch):
    """A machine without the extras."""
    for name in ("onnxruntime", "openvino"):
        monkeypatch.setitem(sys.modules, name, None)


def result(milliseconds, left_out="", **options):
    return Result(EngineOptions(**options), [milliseconds, milliseconds + 5], left_out=left_out)


def test_the_fastest_that_is_not_left_out_is_chosen():
    slow, fast, wrong = result(9.0), result(7.0, onednn=False), result(1.0, "broken", engine="openvino")
    assert choose([slow, fast, wrong]) is fast
    assert choose([wrong]) is None


class Paced:
    """A process that says how long a batch took, each time a little less."""

    def __init__(self, milliseconds):
        self.left = [milliseconds + 0.001 * (50 - turn) for turn in range(50)]

    def turn(self, seconds):
        return [self.left.pop(0)]


def test_the_near_ones_race_longer(monkeypatch):
    monkeypatch.setattr(race, "_RACE", RACE)
    paces = {"openvino": (10.0, 12), "onnxruntime": (11.0, 12), "paddle": (14.0, 6)}
    racing = {
        Result(EngineOptions(engine=engine, cpu_threads=1)): Paced(pace)
        for engine, (pace, _) in paces.items()
    }
    slow = Result(EngineOptions(onednn=False, cpu_threads=1))
    other = Result(EngineOptions(precision="bf16", cpu_threads=1))
    gone = Result(EngineOptions(cpu_threads=1), left_out="it is not here")
    race._take_turns({**racing, slow: Paced(30.0), other: Paced(12.0), gone: None})
    assert {result.options.engine: len(result.milliseconds) for result in racing} == {
        engine: rounds for engine, (_, rounds) in paces.items()
    }
    assert (len(slow.milliseconds), len(gone.milliseconds)) == (2, 0)
    assert len(other.milliseconds) == 6


def test_candidates_are_what_the_export_proved_and_the_processor_has(exported, on_processor, caplog):
    bundle, auto = read_bundle(exported), EngineOptions(engine="auto", precision="auto")

    def pairs(*flags):
        on_processor(*flags)
        return [(one.engine, one.precision) for one in candidates(bundle, auto) if one.onednn]

    fp32 = [("paddle", "fp32"), ("onnxruntime", "fp32"), ("openvino", "fp32")]
    assert pairs("avx512_vnni", "avx512_bf16") == fp32
    (line,) = caplog.messages
    assert "only fp32 here" in line
    assert " export -o Global.export_precision=int8" in line
    bundle.precisions = {
        "paddle": {"fp32": 98.0, "bf16": 98.0, "int8": 97.9},
        "openvino": {"fp32": 98.0, "int8": 97.0},
        "tensorflow": {"int8": 99.0},
    }
    assert pairs("avx512_vnni") == [*fp32, ("paddle", "int8"), ("openvino", "int8")]
    assert pairs("avx512_bf16") == [*fp32, ("paddle", "bf16")]
    assert pairs("avx2") == fp32
    auto = EngineOptions(engine="openvino", precision="auto")
    assert pairs("avx512_vnni") == [("openvino", "fp32"), ("openvino", "int8")]
    auto = EngineOptions(engine="auto", precision="int8")
    assert pairs("avx512_vnni") == [("paddle", "int8"), ("openvino", "int8")]
    bundle.precision, auto = "int8", EngineOptions(engine="auto", precision="auto")
    assert pairs("avx512_vnni", "avx512_bf16") == [("paddle", "int8")]
    assert pairs("avx512_bf16") == [("paddle", "fp32")]  # without oneDNN: see test_quantize.py
    bundle.precision, bundle.format = "fp32", "onnx"
    assert {engine for engine, _ in pairs("avx512_vnni", "avx512_bf16")} == {"onnxruntime", "openvino"}
    assert len(caplog.messages) == 1


def test_candidates_are_every_engine_and_onednn_on_and_off(exported):
    listed = candidates(read_bundle(exported), EngineOptions(engine="auto", cpu_threads=2, batch_size=4))
    assert [(one.engine, one.onednn) for one in listed] == [
        ("paddle", True),
        ("paddle", False),
        ("onnxruntime", True),
        ("openvino", True),
    ]
    assert {(one.cpu_threads, one.batch_size, one.precision) for one in listed} == {(2, 4, "fp32")}


def test_auto_measures_once_and_answers_as_paddle_does(folder, photos, caplog):
    expected = Predictor(folder).predict(photos)
    with caplog.at_level(logging.INFO, "ppcls_light"):
        first = Predictor(folder, engine="auto", cpu_threads=1)
        assert "by measurement" in caplog.text
        caplog.clear()
        second = Predictor(folder, engine="auto", cpu_threads=1)
        assert "by measurement" not in caplog.text
        assert f"running on {second.engine_options.engine} fp32" in caplog.text
    assert first.engine_options == second.engine_options
    assert first.engine_options.engine in ENGINES
    for row, right in zip(first.predict(photos), expected):
        assert row.get("class_ids") == right.get("class_ids")
        np.testing.assert_allclose(row.get("scores", []), right.get("scores", []), atol=1e-4)
    (entry,) = json.loads((folder / "engine.json").read_text())["measurements"]
    assert entry["conditions"]["shape"] == [1, 3, 32, 32]
    assert entry["conditions"]["threads"] == 1
    results = {(one["engine"], one["onednn"]): one for one in entry["results"]}
    assert results["paddle", False]["milliseconds"][0] > 0
    for engine in ENGINES.keys() - {"native"}:  # there is no plan
        one = results[engine, True]
        missing = missing_library(engine)
        assert one["left_out"] == missing
        assert missing or (one["milliseconds"] and one["difference"] <= 1e-4)


def test_what_makes_a_measurement_void(folder, paddle_only):
    options = EngineOptions(engine="auto", cpu_threads=1)
    bundle = read_bundle(folder)
    resolve(bundle, options, SHAPE[1:])
    key = conditions(bundle, options, SHAPE)
    assert load_choice(folder, key) is not None
    for name, value in (("processor", "another"), ("cores", 99), ("instruction_sets", ["x"]), ("threads", 2)):
        assert name in key
        assert load_choice(folder, {**key, name: value}) is None
    versions = {**key["versions"], "paddle": "9.9"}
    assert load_choice(folder, {**key, "versions": versions}) is None
    assert load_choice(folder, conditions(bundle, options, (8, *SHAPE[1:]))) is None
    assert load_choice(folder, {**key, "proved": {"paddle": {"int8": 98.0}}}) is None
    save_static(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 3)), str(folder), SHAPE[1:])
    assert load_choice(folder, conditions(read_bundle(folder), options, SHAPE)) is None


def test_measurements_for_other_conditions_stay_and_those_of_another_network_go(tmp_path):
    one, two = ({"network": "a", "threads": threads} for threads in (1, 2))
    other = {**CHOICE, "onednn": False}
    save_choice(tmp_path, one, CHOICE, [])
    save_choice(tmp_path, two, other, [])
    assert (load_choice(tmp_path, one), load_choice(tmp_path, two)) == (CHOICE, other)
    save_choice(tmp_path, one, other, [])
    assert load_choice(tmp_path, one) == other
    save_choice(tmp_path, {"network": "b"}, CHOICE, [])
    assert load_choice(tmp_path, one) is None


def test_a_file_elsewhere_remembers_several_networks(tmp_path, monkeypatch):
    monkeypatch.setenv("PPCLS_LIGHT_ENGINE_FILE", str(tmp_path / "choices.json"))
    for network in "ab":
        save_choice(tmp_path / network, {"network": network}, CHOICE, [])
    for network in "ab":
        assert load_choice(tmp_path / network, {"network": network}) == CHOICE
    assert [path.name for path in tmp_path.iterdir()] == ["choices.json"]


def test_another_file_that_is_named_by_mistake_stays(tmp_path, monkeypatch, caplog):
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    monkeypatch.setenv("PPCLS_LIGHT_ENGINE_FILE", str(tmp_path / "photo.jpg"))
    save_choice(tmp_path, {"network": "a"}, CHOICE, [])
    assert (tmp_path / "photo.jpg").read_bytes() == b"\xff\xd8\xff\xe0"
    assert "photo.jpg is another file, which stays" in caplog.text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"measurements": [1]}',
        b'{"measurements": [{"conditions": {}, "choice": {"engine": "auto"}}]}',
        b'{"measurements": [{"conditions": {}, "choice": {"engine": [], "onednn": 1, "precision": "fp32"}}]}',
    ],
)
def test_a_damaged_file_is_one_warning(tmp_path, caplog, content):
    (tmp_path / "engine.json").write_bytes(content)
    assert load_choice(tmp_path, {}) is None
    assert len(caplog.messages) == 1
    assert "engine.json is damaged" in caplog.text
    save_choice(tmp_path, {"network": "a"}, CHOICE, [])
    assert load_choice(tmp_path, {"network": "a"}) == CHOICE


def as_ordinary_user(code, *arguments):
    """Run Python code that cannot write where the file modes forbid it, which root otherwise can."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root writes everywhere, and there is no setpriv to change that")
        command = ["setpriv", "--bounding-set", "-dac_override", "--", *command]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX file modes")
@pytest.mark.slow
def test_a_folder_that_cannot_be_written(folder):
    code = (
        "import sys; from ppcls_light.prediction import Predictor; from ppcls_light.runtime import race\n"
        "race._RACE = ((1, 1.0),)\n"
        "print(Predictor(sys.argv[1], engine='auto', cpu_threads=1).engine_options.engine)\n"
    )
    folder.chmod(0o555)
    try:
        done = as_ordinary_user(code, folder)
    finally:
        folder.chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in ENGINES
    assert done.stderr.count("the choice of an engine is not remembered") == 1
    assert done.stderr.count("is converted again") <= 1
    assert not (folder / "engine.json").exists()
    assert not list(folder.glob("*.onnx"))


def test_an_engine_with_other_answers_is_left_out(folder, tmp_path):
    """inference.onnx of another network beside the graph."""
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    pytest.importorskip("paddle2onnx", reason="the extra onnx is not installed")
    from ppcls_light.bundle.onnx import to_onnx

    other = tmp_path / "other"
    other.mkdir()
    save_static(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 3)), str(other), SHAPE[1:])
    to_onnx(read_bundle(other), str(folder / "inference.onnx"))
    bundle = read_bundle(folder)
    options = EngineOptions(cpu_threads=1)
    right, wrong = measure(bundle, [options, EngineOptions(engine="onnxruntime", cpu_threads=1)], SHAPE)
    assert (right.left_out, right.difference) == ("", 0)
    assert "its answers differ by" in wrong.left_out
    assert not wrong.milliseconds
    (folder / "inference.onnx").write_bytes(b"no graph")
    broken = measure(bundle, [options, EngineOptions(engine="onnxruntime", cpu_threads=1)], SHAPE)[1]
    assert "cannot load this model" in broken.left_out


class Upsampling(nn.Layer):
    """Paddle 3.3.0 and 3.3.1 cannot run nearest interpolation under oneDNN."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x):
        return self.fc(nn.functional.interpolate(x, scale_factor=2, mode="nearest").mean([2, 3]))


def test_paddle_that_cannot_use_onednn_is_left_out(tmp_path, paddle_only):
    if paddle.__version__ not in ("3.3.0", "3.3.1"):
        pytest.skip("this Paddle runs nearest interpolation under oneDNN")
    save_static(Upsampling(), str(tmp_path), (3, 8, 8))
    bundle = read_bundle(tmp_path)
    listed = candidates(bundle, EngineOptions(engine="auto", cpu_threads=1))
    results = measure(bundle, listed, (1, 3, 8, 8))
    assert [one.left_out != "" for one in results] == [True, False, True, True]
    assert "with oneDNN" in results[0].left_out
    assert "onnxruntime, which is not installed" in results[2].left_out
    assert choose(results).options == listed[1]


def test_no_engine_at_all_names_the_reasons(folder, paddle_only):
    (folder / "inference.pdiparams").write_bytes(b"")
    with pytest.raises(DeviceError, match=r"no engine runs this network as asked \(paddle fp32: .*openvino"):
        Predictor(folder, engine="auto")


def test_on_a_gpu_auto_is_paddle_without_measurement(folder):
    options = EngineOptions(engine="auto", device="gpu")
    assert resolve(read_bundle(folder), options, SHAPE[1:]) == EngineOptions(device="gpu")
    assert not (folder / "engine.json").exists()
    with pytest.raises(DeviceError, match="precision auto is for CPUs"):
        resolve(read_bundle(folder), EngineOptions(precision="auto", device="gpu"), SHAPE[1:])


def test_a_folder_without_the_list_runs_in_fp32_and_says_how_int8_is_made_each_time(
    folder, paddle_only, caplog
):
    for _ in range(2):
        caplog.clear()
        options = Predictor(folder, engine="auto", precision="auto", cpu_threads=1).engine_options
        assert (options.engine, options.precision) == ("paddle", "fp32")
        assert sum(" export -o Global.export_precision=int8" in line for line in caplog.messages) == 1


def test_a_folder_that_does_not_record_its_shape(tmp_path, paddle_only):
    ops = [("ResizeImage", {"size": 32}), ("NormalizeImage", {"order": ""})]
    model = nn.Sequential(nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(3, 3))
    save_static(model, str(tmp_path), SHAPE[1:])
    write_inference_yml(str(tmp_path), ops, Topk(topk=1), None, {"arch": "x"})
    predictor = Predictor(tmp_path, engine="auto", cpu_threads=1)
    assert predictor.engine_options.engine == "paddle"
