"""An exported MicroNet as one operator: against Paddle's own operators, and what happens where it cannot be."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from ppcls_light import create_model
from ppcls_light.errors import ConfigError
from ppcls_light.export import read_bundle
from ppcls_light.export.bundle import write_inference_yml
from ppcls_light.export.fold import fold
from ppcls_light.export.static import save_static
from ppcls_light.inference import one_operator
from ppcls_light.inference.engine_file import conditions
from ppcls_light.inference.engines import create_engine
from ppcls_light.inference.options import EngineOptions
from ppcls_light.inference.paddle_graph import GraphError, PaddleGraph
from ppcls_light.ops import build
from tests.inference.test_engines import random_network

SIZE = 64
OWN = EngineOptions(cpu_threads=1)
PADDLES = EngineOptions(cpu_threads=1, cpu_ops=False)


def images(batch, height=SIZE, width=SIZE):
    return np.random.default_rng(2).normal(size=(batch, 3, height, width)).astype("float32")


def save(folder, network, arch):
    save_static(network, str(folder), [3, SIZE, SIZE])
    write_inference_yml(str(folder), [], 1, None, {"arch": arch, "image_shape": [3, SIZE, SIZE]})
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
    assert (own.options.title, paddles.options.title) == ("paddle fp32", "paddle fp32, own operators off")
    for batch in (1, 3, 8):
        expected = paddles.run(images(batch))
        assert np.ptp(expected, axis=1).max() > 0.05
        np.testing.assert_allclose(own.run(images(batch)), expected, atol=1e-5, rtol=0)
    two = create_engine(bundle, EngineOptions(cpu_threads=2))
    np.testing.assert_array_equal(two.run(images(1)), own.run(images(1)))
    other_size = images(2, 72, 50)
    np.testing.assert_allclose(own.run(other_size), paddles.run(other_size), atol=1e-5, rtol=0)
    assert not caplog.records


def test_it_is_one_operator_of_the_same_answer_and_input(own_operators, folder, tmp_path):
    bundle = read_bundle(folder)
    with one_operator.write(bundle) as written:
        graph = json.loads(Path(written, one_operator.FILES[0]).read_bytes())
        names = [entry["#"] for entry in entries(graph)]
        assert names == ["p", "p", "1.data", "3.ppcls_micronet", "1.fetch"]
    plain = PaddleGraph(bundle.graph_file, bundle.params_file)
    assert plain.maker(plain.output()).name == "softmax"


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
    assert not caplog.records


def test_other_networks_have_nothing_to_do_with_it(exported, monkeypatch):
    monkeypatch.setattr(build, "library", lambda: pytest.fail("nothing is to be built"))
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
    (record,) = caplog.records
    assert "several times as long: there is no C++ compiler" in record.message
    assert "Global.cpu_ops=False" in record.message
    without = conditions(read_bundle(folder), OWN, (1, 3, SIZE, SIZE))
    assert not without["own_operators"]
    assert {**with_it, "own_operators": False} == without


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
    (record,) = caplog.records
    assert "not that of a folded MicroNet" in record.message
    assert "tools/export_model.py writes one" in record.message


def entries(graph):
    return graph["program"]["regions"][0]["blocks"][0]["ops"]


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
    value = next(entry for entry in ops if entry["#"] == "1.clip")["I"][1]
    constant = next(entry for entry in ops if entry["#"] == "1.full" and entry["O"][0]["%"] == value["%"])
    next(one for one in constant["A"] if one["N"] == "value")["AT"]["D"] = -1.0


def change_dilation(ops):
    attribute(ops, "1.conv2d", "dilations")["D"][0]["D"] = 2


def change_order(ops):
    """The second coefficient in the place of the first."""
    split = next(entry for entry in ops if entry["#"] == "0.split")
    split["O"].reverse()


def change_operator(ops):
    next(entry for entry in ops if entry["#"] == "1.relu6")["#"] = "1.relu"


@pytest.mark.parametrize("change", [change_clip, change_dilation, change_order, change_operator])
def test_a_graph_that_computes_something_else_is_not_taken(folder, tmp_path, change, caplog):
    bundle = read_bundle(edited(folder, tmp_path, change))
    assert one_operator.write(bundle) is None
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b'{"program": {"regions": []}}', b"\xff\xfe", b"[" * 100000]
)
def test_a_damaged_graph_is_not_taken(folder, tmp_path, content, caplog):
    copy = shutil.copytree(folder, tmp_path / "damaged")
    (copy / "inference.json").write_bytes(content)
    assert one_operator.write(read_bundle(copy)) is None
    assert len(caplog.records) == 1


@pytest.mark.parametrize("keep", [0, 10, 1000, -3])
def test_damaged_parameters_are_not_taken(folder, tmp_path, keep):
    copy = shutil.copytree(folder, tmp_path / "damaged")
    params = copy / "inference.pdiparams"
    params.write_bytes(params.read_bytes()[:keep])
    bundle = read_bundle(copy)
    with pytest.raises(GraphError):
        one_operator.micronet_steps(PaddleGraph(bundle.graph_file, bundle.params_file))
