"""The engine native: against Paddle on the same export, and every way in which a plan or a wish is refused."""

import logging
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
from PIL import Image

from ppcls_light.base.files import checksum
from ppcls_light.bundle import read_bundle
from ppcls_light.bundle.folder import write_inference_yml
from ppcls_light.config.postprocess import MultiLabelThreshOutput, Topk
from ppcls_light.config.tree import dump_yaml, read_tree
from ppcls_light.errors import ConfigError, DeviceError, ExportError, WeightsError
from ppcls_light.export import export_model, verify
from ppcls_light.export.fold.steps import fold
from ppcls_light.export.plan import write_plan
from ppcls_light.export.static import save_static
from ppcls_light.ops import network
from ppcls_light.ops.build import BuildError
from ppcls_light.prediction import Predictor
from ppcls_light.prediction.deploy import predictor_from_config, read_deploy_config
from ppcls_light.runtime.auto import candidates
from ppcls_light.runtime.engines import create_engine
from ppcls_light.runtime.options import EngineOptions
from tests.runtime.test_engines import random_network

pytestmark = pytest.mark.usefixtures("native")

ROOT = Path(__file__).resolve().parents[2]
SIZE = 64
OPS = [("ResizeImage", {"size": SIZE}), ("NormalizeImage", {"order": ""})]
NATIVE = EngineOptions("native", cpu_threads=1)


def images(batch, height=SIZE, width=SIZE):
    return np.random.default_rng(2).normal(size=(batch, 3, height, width)).astype("float32")


def save(folder, name="MicroNet_M0", further=(), multilabel=False, softmax=True):
    """Save a network as `export_model` does, without its comparisons; return the folder."""
    folded = fold(random_network(name), keep_embedding=bool(further))
    save_static(folded, str(folder), [3, SIZE, SIZE], softmax, further, multilabel)
    if read_bundle(folder).format != "json":
        pytest.skip("the graphs of this Paddle are not compared")
    assert write_plan(folded, str(folder), multilabel, softmax)
    files = {name: checksum(folder / name) for name in ("inference.plan", "inference.pdiparams")}
    own = {"arch": name, "image_shape": [3, SIZE, SIZE], "class_num": 5, "files": files, "version": "0"}
    kind = MultiLabelThreshOutput() if multilabel else Topk()
    own.update(further=list(further), multilabel=multilabel, output="probs" if softmax else "logits")
    write_inference_yml(folder, OPS, kind, None, own)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save(tmp_path_factory.mktemp("M0"))


@pytest.fixture
def copied(folder, tmp_path):
    return Path(shutil.copytree(folder, tmp_path / "copy"))


@pytest.mark.parametrize("layout", ["M0", "M1", "M2", "M3"])
def test_it_equals_paddle(folder, layout, tmp_path):
    made = folder if layout == "M0" else save(tmp_path, f"MicroNet_{layout}")
    native, in_paddle = (
        create_engine(read_bundle(made), one) for one in (NATIVE, EngineOptions(cpu_threads=1))
    )
    for batch in (1, 3, 8):
        expected = in_paddle.run(images(batch))
        assert np.ptp(expected, axis=1).max() > 0.05
        np.testing.assert_allclose(native.run(images(batch)), expected, atol=1e-5, rtol=0)
    other_size = images(2, 72, 50)
    np.testing.assert_allclose(native.run(other_size), in_paddle.run(other_size), atol=1e-5, rtol=0)


@pytest.mark.parametrize("options", [{"multilabel": True}, {"softmax": False}], ids=str)
def test_tags_and_logits(options, tmp_path):
    folder = save(tmp_path, **options)
    native, expected = (Predictor(folder, engine=engine).run(images(2)) for engine in ("native", "paddle"))
    np.testing.assert_allclose(native, expected, atol=1e-5, rtol=0)


def test_it_is_taken_where_nobody_chose_an_engine(folder, caplog):
    with caplog.at_level(logging.INFO, "ppcls_light"):
        assert Predictor(folder).engine_options.title == "native fp32"
    assert "engine native runs this network; Global.engine=paddle is Paddle" in caplog.text
    assert Predictor(folder, engine="paddle").engine_options.title == "paddle fp32"


@pytest.mark.parametrize(
    "wish", ["enable_mkldnn=false", "ir_optim=false", "cpu_ops=false", "engine=paddle"], ids=str
)
def test_a_wish_that_is_paddles_gets_paddle(folder, wish, caplog):
    settings = [f"Global.inference_model_dir={folder}", "Global.infer_imgs=x", f"Global.{wish}"]
    with caplog.at_level(logging.INFO, "ppcls_light"):
        predictor = predictor_from_config(read_deploy_config({}, settings))
    assert predictor.engine_options.engine == "paddle"
    assert ("Global.engine: paddle takes its place" in caplog.text) == (wish == "cpu_ops=false")


def test_a_folder_of_an_earlier_version_runs_in_paddle_and_a_line_says_how_to_get_the_fast_one(
    copied, caplog
):
    (copied / "inference.plan").unlink()
    assert Predictor(copied).engine_options.engine == "paddle"
    (record,) = caplog.records
    assert "several times slower" in record.message
    assert "inference.plan; " in record.message
    with pytest.raises(DeviceError, match=r"there is no inference\.plan.*export it again"):
        Predictor(copied, engine="native")


@pytest.fixture
def no_compiler(monkeypatch):
    """No library of the engine, as on a machine without a compiler."""

    def fail():
        raise BuildError("there is no C++ compiler on PATH")

    monkeypatch.setattr("ppcls_light.runtime.native_engine.library", fail)
    monkeypatch.setattr("ppcls_light.export.plan.library", fail)
    monkeypatch.setattr(network, "_library", fail)


def test_without_a_library_paddle_runs_and_a_line_says_why(folder, no_compiler, caplog):
    assert Predictor(folder).engine_options.engine == "paddle"
    assert "engine native has no library: there is no C++ compiler" in caplog.text
    with pytest.raises(DeviceError, match=r"compiler on PATH; or set Global\.engine=paddle"):
        Predictor(folder, engine="native")


def test_an_export_on_a_machine_without_a_library_has_no_plan(no_compiler, tmp_path, caplog):
    assert not write_plan(fold(random_network("MicroNet_M0")), str(tmp_path), False, True)
    assert not (tmp_path / "inference.plan").exists()
    assert "inference.plan is left out" in caplog.text


def test_auto_has_it_where_there_is_a_plan(folder, copied):
    auto = EngineOptions("auto")
    assert "native" in [one.engine for one in candidates(read_bundle(folder), auto)]
    (copied / "inference.plan").unlink()
    assert "native" not in [one.engine for one in candidates(read_bundle(copied), auto)]


def test_further_outputs_are_paddles(tmp_path):
    folder = save(tmp_path, further=["embedding"])
    default, native = Predictor(folder), Predictor(folder, engine="native")
    assert default.engine_options.engine == "paddle"
    assert default.run_all(images(1))["embedding"].shape[0] == 1
    np.testing.assert_allclose(native.run(images(2)), default.run(images(2)), atol=1e-5)
    with pytest.raises(DeviceError, match=r"the classes alone, not embedding; set Global\.engine=paddle"):
        native.run_all(images(1))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"precision": "int8"}, "no int8 graph for native"),
        ({"precision": "bf16"}, "engine native has no precision bf16, only fp32"),
        ({"device": "gpu"}, "engine native is for the CPU here"),
        ({"ir_optim": False}, r"Global\.ir_optim=False is a switch of Paddle"),
    ],
    ids=str,
)
def test_what_it_cannot_do_is_refused(folder, int8_instructions, options, reason):
    with pytest.raises(DeviceError, match=reason):
        Predictor(folder, engine="native", **options)


def test_a_wrong_input_is_a_users_error(folder):
    with pytest.raises(ConfigError, match=r"fails on an input of shape \[1, 4, 64, 64\]"):
        create_engine(read_bundle(folder), NATIVE).run(np.zeros((1, 4, SIZE, SIZE), "float32"))


def test_a_changed_plan_is_refused_by_its_checksum(copied):
    plan = copied / "inference.plan"
    content = bytearray(plan.read_bytes())
    content[1000] ^= 1
    plan.write_bytes(content)
    with pytest.raises(WeightsError, match=r"inference\.plan is damaged, or not of the export"):
        Predictor(copied, engine="native")


def test_the_plan_of_another_export_is_refused(copied, tmp_path):
    """Also where nothing but the parameters says so: inference.yml may be of a tool that writes no checksums."""
    (tmp_path / "other").mkdir()
    shutil.copy(save(tmp_path / "other", "MicroNet_M1") / "inference.plan", copied)
    with pytest.raises(WeightsError, match="not of the export"):
        Predictor(copied, engine="native")
    bundle = read_bundle(copied)
    bundle.files = {}
    with pytest.raises(WeightsError, match=r"not of the export beside it: it was made with other parameters"):
        create_engine(bundle, NATIVE)


@pytest.mark.parametrize("content", [b"", b"x" * 64, b"PPCLPLAN" + bytes(2000)], ids=len)
def test_a_file_that_is_no_plan_is_refused(copied, content):
    (copied / "inference.plan").write_bytes(content)
    bundle = read_bundle(copied)
    bundle.files = {}
    with pytest.raises(WeightsError, match=r"inference\.plan"):
        create_engine(bundle, NATIVE)


def test_the_export_compares_it_with_the_network(tmp_path):
    network = random_network("MicroNet_M0")
    export_model(network, tmp_path, [3, SIZE, SIZE], OPS, model_name="MicroNet_M0")
    bundle = read_bundle(tmp_path)
    assert bundle.files["inference.plan"] == checksum(tmp_path / "inference.plan")
    logits = network(paddle.to_tensor(images(2)))
    expected = paddle.nn.functional.softmax(logits).numpy()
    np.testing.assert_allclose(create_engine(bundle, NATIVE).run(images(2)), expected, atol=1e-5)


def test_a_network_that_was_not_folded_has_no_plan(tmp_path, caplog):
    folded = fold(random_network("MicroNet_M0"), steps=["batch_norm"])
    save_static(folded, str(tmp_path), [3, SIZE, SIZE])
    assert not write_plan(folded, str(tmp_path), False, True)
    assert "inference.plan is left out" in caplog.text


def test_an_export_of_which_the_plan_differs_is_refused(monkeypatch, tmp_path):
    expected = np.float32([[0.75, 0.25]])
    native = {"probs": expected[:, ::-1]}
    served = {"paddle": {"probs": expected, "onednn": True}, "native": native}
    (tmp_path / "inference.plan").touch()
    monkeypatch.setattr(verify, "served_probs", lambda _, __, engine="paddle": served[engine])
    monkeypatch.setattr(verify, "_dygraph_answers", lambda *_: (expected, {}))
    with pytest.raises(
        ExportError, match=r"inference.plan of the exported model .* differs from the network"
    ):
        verify.verify(str(tmp_path), None, [], [3, 1, 1], ["image"])
    native["probs"] = expected
    assert verify.verify(str(tmp_path), None, [], [3, 1, 1], ["image"])["max_abs_diff"] == 0


# Modules of which the import takes longer than the first row, or much of its memory.
HEAVY = {
    *("cv2", "multiprocessing", "paddle", "onnxruntime", "openvino"),
    *(
        f"ppcls_light.{name}"
        for name in (
            *("base.html", "config.dataloader", "config.schema", "data.augment.operations"),
            *("data.guards.decoder_process", "ops.plan", "prediction.unknown", "run.run", "run.scenarios"),
        )
    ),
}
TOOL = str(ROOT / "deploy/python/predict_cls.py")


@pytest.mark.parametrize(
    "entry",
    [
        "import ppcls_light; print(ppcls_light.load(folder).predict([photo]))",
        "import runpy; sys.argv[:] = [tool, folder, photo]; runpy.run_path(tool, run_name='__main__')",
    ],
    ids=["library", "predict_cls.py"],
)
def test_the_first_row_of_a_photo_imports_nothing_heavy(copied, entry):
    path = copied / "inference.yml"
    content = read_tree(path).plain()
    content["PreProcess"]["transform_ops"][0]["ResizeImage"]["backend"] = "pil"
    content["ppcls_light"]["decode"] = [{"DecodeImage": {"backend": "pil"}}]
    path.write_text(dump_yaml(content))
    photo = copied / "photo.jpg"
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (50, 70, 3), np.uint8)).save(photo)
    code = (
        f"import atexit, sys; heavy, folder, photo, tool = {(HEAVY, str(copied), str(photo), TOOL)!r}; "
        f"atexit.register(lambda: print(sorted(heavy & set(sys.modules)))); {entry}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    row, imported = done.stdout.splitlines()
    assert str(Predictor(copied, engine="paddle").predict([photo])[0]["class_ids"]) in row
    assert imported == "[]"
