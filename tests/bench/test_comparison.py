"""The rows of `ppcls-light bench` against numpy, and one tiny run of the tool."""

import csv
import functools
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import paddle
import pytest

from ppcls_light.base.machine import supports, usable_flags
from ppcls_light.base.timing import Observation
from ppcls_light.bench import comparison, harness
from ppcls_light.bench.comparison import Peer
from ppcls_light.bench.models import our_bundles
from ppcls_light.errors import ConfigError
from ppcls_light.export.static import save_static
from ppcls_light.runtime.options import EngineOptions


def test_ratios_are_taken_within_the_rounds():
    # The machine was three times slower in the second round, for everybody.
    assert comparison.compared([1.0, 3.0, 1.0], {"peer": [2.0, 6.0, 4.0]}) == ("peer", 2, "peer 2.00")
    best, ratio, text = comparison.compared([2.0, 2.0], {"slow": [9.0, 7.0], "fast": [3.0, 5.0]})
    assert (best, ratio) == ("fast", np.median([1.5, 2.5]))
    assert text == "slow 4.00; fast 2.00"
    assert comparison.compared([2.0], {}) == ("", "", "")


def test_times_by_hand():
    turns = [[4.0, 2.0, 3.0], [5.0, 50.0, 6.0], [1.0, 1.5, 2.0]]
    values = comparison.times(Observation(700.0, 80.0, None, turns), batch=8)
    row = dict(zip(comparison.TIMES, values))
    assert len(values) == len(comparison.TIMES)
    assert (row["median ms"], row["fastest round"], row["slowest round"]) == (3, 1.5, 6)
    assert row["p90 ms"] == pytest.approx(np.percentile(turns, 90))
    assert row["images/s"] == pytest.approx(8 / 0.003)
    assert (row["load ms"], row["peak MiB"]) == (700, 80)


@pytest.mark.parametrize(
    ("text", "name", "location"),
    [
        ("a.onnx", "a.onnx", "a.onnx"),
        ("authors=onnx/{model}.onnx", "authors", "onnx/{model}.onnx"),
        ("PaddleClas=x/inference.json", "PaddleClas", "x/inference.json"),
        ("old=x/inference.pdmodel", "old", "x/inference.pdmodel"),
        ("paddle.vision:mobilenet_v2", "paddle.vision:mobilenet_v2", "paddle.vision:mobilenet_v2"),
        ("m=paddle.vision:mobilenet_v2", "m", "paddle.vision:mobilenet_v2"),
    ],
)
def test_peers_are_files_or_networks_of_paddle(text, name, location):
    assert Peer.parse(text) == (name, location)


@pytest.mark.parametrize("text", ["model.pdparams", "mine=net.json", "torchvision:resnet18", ""])
def test_other_peers_are_refused(text):
    with pytest.raises(ConfigError, match=r"^--peer .* give a \.onnx file"):
        Peer.parse(text)


def test_two_peers_of_one_name_are_refused():
    both = ["x=a.onnx", "y=b.onnx"]
    assert comparison.parse_peers([*both, both[0]]) == [("x", "a.onnx"), ("y", "b.onnx")]
    for wrong in ("x=b.onnx", "folded=b.onnx"):
        with pytest.raises(ConfigError, match="is the name of another network"):
            comparison.parse_peers([*both, wrong])


def test_rows_of_folders_are_told_apart(tmp_path, monkeypatch):
    for folder in ("a/inference", "b/inference", "b/net", "PPLCNet_x1_0", "c/MicroNet_M0"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)

    def names(*models):
        return list(comparison.row_names(models).items())

    assert names("a/inference", "FasterNet_T0") == [
        ("a/inference", "inference"),
        ("FasterNet_T0", "FasterNet_T0"),
    ]
    assert [name for _, name in names("a/inference/", "b/inference")] == ["a/inference", "b/inference"]
    assert [name for _, name in names("c/MicroNet_M0", "MicroNet_M0")] == ["c/MicroNet_M0", "MicroNet_M0"]
    (tmp_path / "link").symlink_to("a/inference")
    again = (
        "a/inference",
        "./a/inference",
        str(tmp_path / "a" / "inference"),
        "link",
        "FasterNet_T0",
        "FasterNet_T0",
    )
    assert [name for _, name in names(*again)] == ["inference", "FasterNet_T0"]
    monkeypatch.chdir("a/inference")
    assert names(".", "../../b/net") == [(".", "inference"), ("../../b/net", "net")]


def test_the_bundle_of_a_peer(tmp_path):
    (tmp_path / "Net.onnx").touch()
    peer = Peer("a", str(tmp_path / "{model}.onnx"))
    bundle = peer.bundle("Net", None, None)
    assert (bundle.format, bundle.onnx_file) == ("onnx", str(tmp_path / "Net.onnx"))
    assert peer.bundle("Other", None, None) is None
    with pytest.raises(ConfigError, match="no such file"):
        Peer("a", str(tmp_path / "x.onnx")).bundle("Net", None, None)
    with pytest.raises(ConfigError, match=r"paddle\.vision\.models has no no_such_net"):
        Peer.parse("paddle.vision:no_such_net").bundle("Net", None, None)


def test_a_network_of_paddle_vision_ends_in_a_softmax(tmp_path):
    paddle.seed(0)
    bundle = Peer.parse("paddle.vision:squeezenet1_1").bundle("Net", str(tmp_path), [3, 64, 64])
    (entry,) = Peer("squeeze", "").entries(bundle, batch=2, threads=1)
    assert (entry.options.engine, entry.peer, entry.options.cpu_threads) == ("paddle", True, 1)
    run = comparison.peer_call(entry.bundle, entry.options, (entry.batch, 3, 64, 64))
    assert run().shape == (2, 1000)
    np.testing.assert_allclose(run().sum(axis=1), 1, rtol=1e-5)
    assert run.note[1].title == "paddle fp32"


def test_a_registered_network_is_measured_as_its_export_runs(tmp_path):
    """Its folder says which network it is: MicroNet then runs as one operator."""
    arguments = SimpleNamespace(size=32, as_trained=False, precision=["fp32"])
    shape, found = our_bundles("MicroNet_M0", arguments, tmp_path)
    assert shape == [3, 32, 32]
    assert [bundle.model_name for bundle in found.values()] == ["MicroNet_M0"]
    assert found["folded"].image_shape == [3, 32, 32]


def test_an_onnx_peer_runs_in_every_engine_that_reads_it(tmp_path):
    onnx = pytest.importorskip("onnx", reason="writes an ONNX file")
    pytest.importorskip("onnxruntime", reason="runs an ONNX file")
    pytest.importorskip("openvino", reason="runs an ONNX file")
    kind = onnx.TensorProto.FLOAT
    x = onnx.helper.make_tensor_value_info("image", kind, ["n", 3, 4, 4])
    y = onnx.helper.make_tensor_value_info("mean", kind, ["n", 3])
    node = onnx.helper.make_node("ReduceMean", ["image"], ["mean"], axes=[2, 3], keepdims=0)
    graph = onnx.helper.make_graph([node], "mean", [x], [y])
    opset = onnx.helper.make_opsetid("", 17)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8), tmp_path / "mean.onnx")
    peer = Peer.parse(f"mean={tmp_path}/mean.onnx")
    entries = peer.entries(peer.bundle("Net", None, None), batch=2, threads=2)
    assert [(entry.network, entry.options.engine, entry.options.batch_size) for entry in entries] == [
        ("mean", "onnxruntime", 2),
        ("mean", "openvino", 2),
        ("mean, any batch", "openvino", None),
    ]
    images = np.random.default_rng(0).standard_normal((2, 3, 4, 4)).astype("float32")
    for entry in entries:
        run = comparison.peer_call(entry.bundle, entry.options, (2, 3, 4, 4))
        np.testing.assert_allclose(np.asarray(run()).reshape(2, 3), images.mean((2, 3)), atol=1e-6)
        assert run.note[1].title == f"{entry.options.engine} fp32"


def test_titles_say_what_runs():
    assert EngineOptions().title == "paddle fp32"
    assert EngineOptions(onednn=False).title == "paddle fp32, oneDNN off"
    assert EngineOptions(engine="openvino", precision="bf16", onednn=False).title == "openvino bf16"


def test_what_cannot_run_is_left_out_with_its_reason(tmp_path):
    (tmp_path / "inference.json").write_text("{}")
    (tmp_path / "inference.pdiparams").touch()
    peer = Peer.parse(f"broken={tmp_path}/inference.json")
    entries = peer.entries(peer.bundle("Net", None, None), batch=1, threads=1)
    refused = {}
    arguments = SimpleNamespace(rounds=1, runs=1, seconds=1)
    assert comparison.compare("Net", entries, [3, 8, 8], arguments, refused) == []
    ((name, reason),) = refused.items()
    assert name == ("Net", "broken", "paddle", "fp32", 1, 1)
    assert "cannot" in reason


@pytest.fixture
def tool(run_tool):
    """A function that runs the tool with arguments."""
    return functools.partial(run_tool, "benchmarks/models")


@pytest.mark.slow
def test_the_tool_compares_a_network_folded_and_not_with_a_peer(tool, tmp_path, capsys):
    peer = paddle.nn.Sequential(paddle.nn.AdaptiveAvgPool2D(1), paddle.nn.Flatten(), paddle.nn.Linear(3, 5))
    graph = f"inference.{save_static(peer, str(tmp_path), [3, 32, 32])}"
    path = tmp_path / "rows.csv"
    others = ["--peer", f"pool={tmp_path}/{graph}", f"gone={tmp_path}/{{model}}.onnx"]
    model = ["PPLCNet_x0_25", "--as-trained", "--size", "32", "--batch", "2"]
    tool(*model, *others, "--rounds", "1", "--runs", "2", "--csv", path)
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["model"], row["network"], row["engine"]) for row in rows] == [
        ("PPLCNet_x0_25", "folded", "paddle"),
        ("PPLCNet_x0_25", "as trained", "paddle"),
        ("PPLCNet_x0_25", "pool", "paddle"),
    ]
    pool = rows[2]
    for row in rows:
        median = float(row["median ms"])
        assert float(row["images/s"]) == pytest.approx(2000 / median)
        assert float(row["fastest round"]) == median == float(row["slowest round"])
        assert median <= float(row["p90 ms"]) < float(row["load ms"])
        assert float(row["peak MiB"]) > 30
        assert (row["pixels"], row["threads"], row["rounds"], row["runs"]) == ("32", "1", "1", "2")
        assert row["machine"] == harness.machine()
        assert row["paddle"].startswith(paddle.__version__)
    for row in rows[:2]:
        ratio = float(pool["median ms"]) / float(row["median ms"])
        assert row["peer"] == "pool in paddle"
        assert float(row["ratio"]) == pytest.approx(ratio)
        assert row["ratios"] == f"pool in paddle {ratio:.2f}"
    assert (pool["peer"], pool["ratio"], pool["ratios"]) == ("", "", "")
    printed = capsys.readouterr()
    assert printed.out.splitlines()[3].startswith("| model | network | batch | threads | runs as | median ms")
    assert printed.out.count("\n| PPLCNet_x0_25 |") == 3
    assert f"no peer {tmp_path}/{{model}}.onnx" in printed.err


@pytest.mark.slow
@pytest.mark.parametrize("limit", ["ALL", "AVX2"])
def test_int8_of_a_registered_network_is_calibrated_for_its_times_or_left_out(root, tmp_path, limit):
    """In a process of its own, since oneDNN takes its limit once in a process."""
    pytest.importorskip("paddle2onnx", reason="converts to ONNX")
    pytest.importorskip("onnxruntime", reason="quantizes and runs the ONNX graph")
    can = supports("int8", usable_flags(environment={"ONEDNN_MAX_CPU_ISA": limit}))
    path = tmp_path / "rows.csv"
    engines = ["--engine", "onnxruntime", "--precision", "fp32", "int8", "--rounds", "1", "--runs", "1"]
    done = subprocess.run(
        [
            sys.executable,
            root / "tools/benchmarks/models.py",
            "PPLCNet_x0_25",
            "--size",
            "32",
            *engines,
            "--csv",
            path,
        ],
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": limit},
        capture_output=True,
        text=True,
    )
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["runs as"] for row in rows] == [f"onnxruntime {name}" for name in ["fp32", "int8"][: 1 + can]]
    assert ("int8 needs a processor with" in done.stderr) != can
    assert done.stderr.count("no int8 for") == (not can)  # nothing was tried for the other engines


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["NoSuchNet"], "unknown model 'NoSuchNet'"),
        (["PPLCNet_x0_25", "--peer", "x.txt"], "--peer x.txt: give a .onnx file"),
        (["--all", "PPLCNet_x0_25"], "name models or give --all"),
        ([], "name models or give --all"),
        (["PPLCNet_x0_25", "--threads", "some"], "expected a whole number >= 1"),
    ],
)
def test_errors_are_one_line_before_anything_is_measured(tool, capsys, arguments, message):
    with pytest.raises(SystemExit) as stop:
        tool(*arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
