"""An exported MicroNet as one operator: against Paddle's own operators, and what happens where it cannot be."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from ppcls_light import create_model
from ppcls_light.bundle import read_bundle
from ppcls_light.bundle.folder import write_inference_yml
from ppcls_light.config.postprocess import Topk
from ppcls_light.errors import ConfigError, ExportError, WeightsError
from ppcls_light.export import verify
from ppcls_light.export.fold.steps import fold
from ppcls_light.export.static import save_static
from ppcls_light.export.verify import served_probs
from ppcls_light.ops import build
from ppcls_light.runtime import one_operator
from ppcls_light.runtime.auto import conditions
from ppcls_light.runtime.engines import create_engine
from ppcls_light.runtime.options import EngineOptions
from ppcls_light.runtime.paddle_graph import GraphError, PaddleGraph
from ppcls_light.runtime.race import measure
from tests.runtime.test_engines import random_network

SIZE = 64
OWN = EngineOptions(cpu_threads=1)
PADDLES = EngineOptions(cpu_threads=1, cpu_ops=False)


def images(batch, height=SIZE, width=SIZE):
    return np.random.default_rng(2).normal(size=(batch, 3, height, width)).astype("float32")


def said(caplog):
    """Return what the operator was warned of; at low instruction sets Paddle's own operators cause warnings."""
    return [record for record in caplog.records if record.name == one_operator.logger.name]


def save(folder, network, arch):
    save_static(network, str(folder), [3, SIZE, SIZE])
    write_inference_yml(str(folder), [], Topk(topk=1), None, {"arch": arch, "image_shape": [3, SIZE, SIZE]})
    if read_bundle(folder).format != "json":
        pytest.skip("the operator is for the format of Paddle 3")
    return folder


@pytest.fixture(scope="module", params=["M0", "M1", "M2", "M3"])
def layout(request, tmp_path_factory):
    name = f"MicroNet_{request.param}"
    return save(tmp_path_factory.mktemp(name), fold(random_network(name)), name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save(tmp_path_factory.mktemp("M0"), fold(random_network("MicroNet_M0")), "MicroNet_M0")


def test_it_equals_paddles_operators(own_operators, layout, caplog):
    bundle = read_bundle(layout)
    own, paddles = create_engine(bundle, OWN), create_engine(bundle, PADDLES)
    assert one_operator.serves(bundle, own.options)
    assert (own.options.title, paddles.options.title) == ("paddle fp32", "paddle fp32, own operators off")
    for batch in (1, 3, 8):
        expected = paddles.run(images(batch))
        assert np.ptp(expected, axis=1).max() > 0.05
        answer = own.run(images(batch))
        assert (answer != expected).any()  # other operators round otherwise
        np.testing.assert_allclose(answer, expected, atol=1e-5, rtol=0)
    two = create_engine(bundle, EngineOptions(cpu_threads=2))
    np.testing.assert_array_equal(two.run(images(1)), own.run(images(1)))
    other_size = images(2, 72, 50)
    np.testing.assert_allclose(own.run(other_size), paddles.run(other_size), atol=1e-5, rtol=0)
    assert not said(caplog)


def test_it_is_one_operator_and_the_folder_stays(own_operators, folder):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    written = one_operator.write(read_bundle(folder))
    graph = json.loads(Path(written[0]).read_bytes())
    assert [entry["#"] for entry in entries(graph)] == ["p", "p", "1.data", "3.ppcls_micronet", "1.fetch"]
    plain = entries(json.loads(before["inference.json"]))
    for name in ("1.data", "1.fetch"):
        ours, theirs = (next(entry for entry in ops if entry["#"] == name) for ops in (entries(graph), plain))
        assert (ours["A"], ours["O"][0]["TT"]) == (theirs["A"], theirs["O"][0]["TT"])
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}


ORDERS = {
    "another predictor first": "create_engine(bundle, PADDLES); own = create_engine(bundle, OWN)",
    "a training first": "train(); own = create_engine(bundle, OWN)",
    "a training after it": "own = create_engine(bundle, OWN); train()",
    "all of Paddle first": "import paddle; own = create_engine(bundle, OWN)",
}


@pytest.mark.parametrize("order", ORDERS)
def test_in_a_process_of_its_own(own_operators, folder, root, order):
    """Paddle looks for new operators once, whoever comes first, and has nothing to say about them."""
    code = f"""
import sys, numpy as np
from ppcls_light.bundle import read_bundle
from ppcls_light.runtime.engines import create_engine
from ppcls_light.runtime.options import EngineOptions

OWN, PADDLES = EngineOptions(cpu_threads=1), EngineOptions(cpu_threads=1, cpu_ops=False)
bundle = read_bundle({str(folder)!r})

def train():
    import paddle
    from ppcls_light.ops import training
    training.enable()
    x = paddle.ones([1, 3, 8, 8]), paddle.ones([2, 3, 1, 1])
    assert float(training.conv(*x).mean()) == 3

{ORDERS[order]}
assert own.options.cpu_ops, own.options.title
assert own.run(np.zeros((1, 3, 64, 64), "float32")).shape == (1, 5)
"""
    told = {key: value for key, value in os.environ.items() if key != "GLOG_minloglevel"}
    done = subprocess.run([sys.executable, "-c", code], cwd=root, env=told, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "several times as long" not in done.stderr
    assert "ppcls_micronet" not in done.stderr


def test_the_export_compares_it_with_the_network(own_operators, folder, tmp_path):
    image = tmp_path / "image.png"
    cv2.imwrite(str(image), np.random.default_rng(0).integers(0, 255, (SIZE, SIZE, 3)).astype("uint8"))
    served = served_probs(prepared_folder(folder, tmp_path), [image])
    np.testing.assert_allclose(served["operator_probs"], served["probs"], atol=1e-5, rtol=0)
    assert (served["operator_probs"] != served["probs"]).any()


def test_an_export_of_which_the_operator_differs_is_refused(monkeypatch):
    expected = np.float32([[0.75, 0.25]])
    served = {"probs": expected, "operator_probs": expected[:, ::-1], "onednn": True}
    monkeypatch.setattr(verify, "served_probs", lambda *_: served)
    monkeypatch.setattr(verify, "_dygraph_answers", lambda *_: (expected, {}))
    with pytest.raises(ExportError, match=r"as one operator .* differs from the network on 1 of 1 images"):
        verify.verify("folder", None, [], [3, 1, 1], ["image"])
    served["operator_probs"] = expected
    assert verify.verify("folder", None, [], [3, 1, 1], ["image"])["max_abs_diff"] == 0


def test_its_files_are_kept_once_and_mended(own_operators, folder, monkeypatch, tmp_path):
    monkeypatch.setattr(one_operator, "cache_folder", lambda: tmp_path / "ops")
    graph, parameters = map(Path, one_operator.write(read_bundle(folder)))
    before = parameters.read_bytes()
    written = graph.stat().st_mtime_ns
    parameters.write_bytes(before[:100])
    assert one_operator.write(read_bundle(folder)) == [str(graph), str(parameters)]
    assert (graph.stat().st_mtime_ns, parameters.read_bytes()) == (written, before)
    for index in range(20):
        (tmp_path / "networks" / str(index)).mkdir()
    one_operator.write(read_bundle(folder))
    left = sorted(path.name for path in (tmp_path / "networks").iterdir())
    assert len(left) == 16
    assert graph.parent.name in left


def test_clones_without_the_files_are_a_users_error(own_operators, folder, monkeypatch, tmp_path):
    monkeypatch.setattr(one_operator, "cache_folder", lambda: tmp_path / "ops")
    engine = create_engine(read_bundle(folder), OWN)
    shutil.rmtree(tmp_path / "networks")
    with pytest.raises(WeightsError, match="cannot load this model"):
        engine.clone()


def test_clones_outlive_the_engine(own_operators, folder):
    engine = create_engine(read_bundle(folder), OWN)
    expected = engine.run(images(1))
    twin = engine.clone()
    del engine
    np.testing.assert_array_equal(twin.clone().run(images(1)), expected)


def test_a_wrong_input_is_a_users_error(own_operators, folder):
    with pytest.raises(ConfigError, match=r"fails on an input of shape \[1, 4, 64, 64\]"):
        create_engine(read_bundle(folder), OWN).run(np.zeros((1, 4, SIZE, SIZE), "float32"))


@pytest.mark.parametrize("options", [{"onednn": False}, {"ir_optim": False}, {"cpu_ops": False}], ids=str)
def test_what_asks_for_paddles_operators_gets_them(folder, options, caplog):
    options = EngineOptions(cpu_threads=1, **options)
    bundle = read_bundle(folder)
    assert not one_operator.serves(bundle, options)
    assert create_engine(bundle, options).run(images(1)).shape == (1, 5)
    assert not said(caplog)


def test_other_networks_have_nothing_to_do_with_it(exported, monkeypatch):
    for name in ("library", "load"):
        monkeypatch.setattr(one_operator, name, lambda: pytest.fail("nothing is to be built"))
    bundle = read_bundle(exported)
    assert not one_operator.available(bundle, OWN)
    assert create_engine(bundle, OWN).options.title == "paddle fp32"


def test_without_a_compiler_paddles_operators_run_and_a_warning_says_so(
    folder, monkeypatch, tmp_path, caplog
):
    expected = create_engine(read_bundle(folder), PADDLES).run(images(1))
    with_it = conditions(read_bundle(folder), OWN, (1, 3, SIZE, SIZE))
    monkeypatch.setattr(one_operator, "load", build.load.__wrapped__)
    monkeypatch.setenv("PATH", str(tmp_path))
    engine = create_engine(read_bundle(folder), OWN)
    assert engine.options.title == "paddle fp32, own operators off"
    np.testing.assert_array_equal(engine.run(images(1)), expected)
    (record,) = said(caplog)
    assert "several times as long: there is no C++ compiler" in record.message
    assert "Global.cpu_ops=False" in record.message
    without = conditions(read_bundle(folder), OWN, (1, 3, SIZE, SIZE))
    assert (with_it["own_operators"], without["own_operators"]) == (True, False)
    assert {**with_it, "own_operators": False} == without
    (result,) = measure(read_bundle(folder), [OWN], (1, 3, SIZE, SIZE))
    assert not result.left_out


def test_a_paddle_that_does_not_load_it_runs_its_own_operators(own_operators, folder, monkeypatch, caplog):
    monkeypatch.setattr(one_operator, "_OPERATOR", "ppcls_unknown")
    engine = create_engine(read_bundle(folder), OWN)
    assert engine.options.title == "paddle fp32, own operators off"
    assert engine.run(images(1)).shape == (1, 5)
    assert "several times as long" in caplog.text


def test_a_network_that_was_not_folded_runs_on_paddles_operators(tmp_path, caplog):
    folder = save(tmp_path, create_model("MicroNet_M0", class_num=5), "MicroNet_M0")
    engine = create_engine(read_bundle(folder), OWN)
    assert engine.run(images(1)).shape == (1, 5)
    (record,) = said(caplog)
    assert "not that of a folded MicroNet" in record.message
    assert " export writes one" in record.message


def entries(graph):
    return graph["program"]["regions"][0]["blocks"][0]["ops"]


def prepared_folder(folder, to):
    """Copy `folder`, with transforms that take image files."""
    copy = shutil.copytree(folder, to / "prepared")
    ops = [("NormalizeImage", {"order": ""})]
    write_inference_yml(
        str(copy), ops, Topk(topk=1), None, {"arch": "MicroNet_M0", "image_shape": [3, SIZE, SIZE]}
    )
    return copy


def edited(folder, to, edit):
    """Copy `folder` with its graph's entries changed by `edit`."""
    copy = shutil.copytree(folder, to / "edited")
    graph = json.loads((copy / "inference.json").read_text())
    edit(entries(graph))
    (copy / "inference.json").write_text(json.dumps(graph))
    return copy


def attribute(ops, operator, name):
    """The first attribute of that name of the first such operator, to be changed."""
    entry = next(entry for entry in ops if entry["#"] == operator)
    return next(one for one in entry["A"] if one["N"] == name)["AT"]


def change_clip(ops):
    change_constant(ops, "1.clip", 1)


def change_dilation(ops):
    attribute(ops, "1.conv2d", "dilations")["D"][0]["D"] = 2


def change_order(ops):
    """The second coefficient in the place of the first."""
    next(entry for entry in ops if entry["#"] == "0.split")["O"].reverse()


def change_operator(ops):
    next(entry for entry in ops if entry["#"] == "1.relu6")["#"] = "1.relu"


def change_pooling(ops):
    attribute(ops, "1.pool2d", "pooling_type")["D"] = "max"


def change_transposition(ops):
    attribute(ops, "1.matmul", "transpose_x")["D"] = True


def change_axis(ops):
    attribute(ops, "1.softmax", "axis")["D"] = 0


def change_constant(ops, operator, operand):
    value = next(entry for entry in ops if entry["#"] == operator)["I"][operand]["%"]
    constant = next(entry for entry in ops if entry["#"].startswith("1.full") and entry["O"][0]["%"] == value)
    held = next(one for one in constant["A"] if one["N"] == "value")["AT"]
    if held["#"] == "0.a_array":
        held["D"][0]["D"] = 2
    else:
        held["D"] = 2.0


def change_split_axis(ops):
    change_constant(ops, "1.split", 2)


def change_concat_axis(ops):
    change_constant(ops, "1.concat", 1)


def change_pool_size(ops):
    change_constant(ops, "1.pool2d", 1)


def change_stride(ops):
    attribute(ops, "1.conv2d", "strides")["D"][0]["D"] = 0


def change_groups(ops):
    attribute(ops, "1.conv2d", "groups")["D"] = None


def change_large_stride(ops):
    attribute(ops, "1.conv2d", "strides")["D"][0]["D"] = 2**31


def change_many_groups(ops):
    pointwise = [entry for entry in ops if entry["#"] == "1.conv2d"][1]
    next(one for one in pointwise["A"] if one["N"] == "groups")["AT"]["D"] = 2**40


def change_fetch(ops):
    ops[-1]["O"] = []


def change_data(ops):
    del next(entry for entry in ops if entry["#"] == "1.data")["OA"]


def change_input(ops):
    """The first convolution reads its own output."""
    conv = next(entry for entry in ops if entry["#"] == "1.conv2d")
    conv["I"][0] = {"%": conv["O"][0]["%"]}


CHANGES = [
    value
    for name, value in list(globals().items())
    if name.startswith("change_") and name != "change_constant"
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_graph_that_computes_something_else_is_not_taken(folder, tmp_path, change, caplog):
    bundle = read_bundle(edited(folder, tmp_path, change))
    assert one_operator.write(bundle) is None
    (record,) = said(caplog)
    assert "not that of a folded MicroNet" in record.message


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b'{"program": {"regions": []}}', b"\xff\xfe", b"[" * 100000]
)
def test_a_damaged_graph_is_not_taken(folder, tmp_path, content, caplog):
    copy = shutil.copytree(folder, tmp_path / "damaged")
    (copy / "inference.json").write_bytes(content)
    assert one_operator.write(read_bundle(copy)) is None
    (record,) = said(caplog)
    assert "is not understood" in record.message or "not that of a folded" in record.message


@pytest.mark.parametrize("keep", [0, 10, 1000, -3])
def test_damaged_parameters_are_not_taken(folder, tmp_path, keep):
    copy = shutil.copytree(folder, tmp_path / "damaged")
    params = copy / "inference.pdiparams"
    params.write_bytes(params.read_bytes()[:keep])
    bundle = read_bundle(copy)
    with pytest.raises(GraphError):
        one_operator.micronet_steps(PaddleGraph(bundle.graph_file, bundle.params_file))
