"""Exports with embeddings: equal to the network's in every engine, and to what its classifier makes of them."""

from importlib.util import find_spec

import numpy as np
import paddle
import pytest

from ppcls_light.bundle import onnx, read_bundle
from ppcls_light.bundle.folder import INT8_FILES, write_inference_yml
from ppcls_light.config.postprocess import Topk
from ppcls_light.errors import ConfigError, ExportError
from ppcls_light.export import export_model
from ppcls_light.export.fold.steps import fold
from ppcls_light.export.int8 import make_int8
from ppcls_light.export.static import save_static
from ppcls_light.models import create_model
from ppcls_light.models.embedding import logits_and_embeddings
from ppcls_light.prediction import Predictor
from ppcls_light.runtime.engines import ENGINES, missing_library
from tests.runtime.test_engines import LIBRARIES

SHAPE = (3, 64, 64)
OPS = [("ResizeImage", {"size": 64}), ("NormalizeImage", {"scale": 1 / 255, "order": ""})]
IMAGES = np.random.default_rng(1).normal(size=(16, *SHAPE)).astype("float32")


def network(name, **options):
    """Return a network whose norms fit `IMAGES`, and whose last layer norm has weights of its own."""
    paddle.seed(0)
    model = create_model(name, class_num=5, **options)
    for layer in model.sublayers():
        if hasattr(layer, "_mean"):
            layer._momentum = 0.0
    model.train()
    model(paddle.to_tensor(IMAGES))
    model.eval()
    if name.startswith("EdgeNeXt"):
        for values in (model.norm.weight, model.norm.bias):
            values.set_value(paddle.rand(values.shape) + 0.5)
    return model


def embeddings_of(model, images):
    with paddle.no_grad():
        return logits_and_embeddings(model, paddle.to_tensor(images))[1].numpy()


def relative(found, expected):
    return (np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)).max()


def saved(model, folder, name):
    """Save a network with embeddings, without a comparison, and return the Bundle."""
    save_static(fold(model, keep_embedding=True), str(folder), SHAPE, further=["embedding"])
    own = {"arch": name, "class_num": 5, "image_shape": list(SHAPE), "further": ["embedding"]}
    write_inference_yml(str(folder), OPS, Topk(), None, own)
    return read_bundle(folder)


@pytest.fixture(scope="module")
def pplcnet(tmp_path_factory):
    """A PP-LCNet, whose dropout scales what its classifier takes, and its export, in ONNX where that can be made."""
    folder, model = tmp_path_factory.mktemp("pplcnet") / "inference", network("PPLCNet_x0_25")
    in_onnx = not missing_library("onnxruntime") and find_spec("paddle2onnx") is not None
    return model, export_model(model, folder, SHAPE, OPS, embedding=True, onnx=in_onnx)


@pytest.mark.parametrize("engine", LIBRARIES)
def test_every_engine_gives_the_networks_embeddings(pplcnet, engine):
    model, report = pplcnet
    pytest.importorskip(ENGINES[engine].library)
    if engine != "paddle":
        pytest.importorskip("paddle2onnx")
    predictor, images = Predictor(report.folder, engine=engine, cpu_threads=1), IMAGES[:3]
    answers = predictor.run_all(images)
    assert relative(answers["embedding"], embeddings_of(model, images)) < 1e-3
    logits = answers["embedding"] @ model.fc.weight.numpy() + model.fc.bias.numpy()
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(predictor.run(images), expected, atol=1e-5)
    np.testing.assert_allclose(answers["probs"], expected, atol=1e-5)


def test_the_report_and_the_folder_say_what_is_there(pplcnet):
    _, report = pplcnet
    bundle = read_bundle(report.folder)
    assert bundle.outputs == ["probs", "embedding"]
    assert 0 < report.further["embedding"] < 1e-3
    assert "the embedding by" in str(report)


def test_an_export_whose_embeddings_differ_is_refused(monkeypatch, tmp_path):
    """Such as one whose dropout's factor went into the classifier: its probabilities are right."""
    monkeypatch.setattr("ppcls_light.export.export.fold", lambda model, steps, keep_embedding: fold(model))
    with pytest.raises(
        ExportError, match=r"^embedding: .* by 2\.5\de-01 of the length .*nothing was exported"
    ):
        export_model(network("PPLCNet_x0_25"), tmp_path / "inference", SHAPE, OPS, embedding=True)
    assert not (tmp_path / "inference").exists()


@pytest.mark.parametrize("name", ["EdgeNeXt_XX_Small", "MicroNet_M0"])
def test_folding_leaves_what_the_classifier_takes(name, tmp_path):
    """EdgeNeXt's last norm is not in the classifier."""
    model = network(name)
    predictor = Predictor(saved(model, tmp_path, name), cpu_threads=1)
    for images in (IMAGES[:1], IMAGES[:3]):
        assert relative(predictor.run_all(images)["embedding"], embeddings_of(model, images)) < 1e-3
    np.testing.assert_allclose(predictor.run(images), predictor.run_all(images)["probs"], atol=1e-5)
    twin = predictor.clone()
    np.testing.assert_array_equal(twin.run_all(images)["embedding"], predictor.run_all(images)["embedding"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["EdgeNeXt_XX_Small_BN_HS", "MicroNet_M0"])
def test_the_other_families_in_every_engine(name, tmp_path):
    pytest.importorskip("paddle2onnx")
    model = network(name)
    bundle = saved(model, tmp_path, name)
    assert onnx.onnx_file(bundle)
    for engine in LIBRARIES:
        if not missing_library(engine):
            found = Predictor(bundle, engine=engine, cpu_threads=1).run_all(IMAGES[:2])["embedding"]
            assert relative(found, embeddings_of(model, IMAGES[:2])) < 1e-3


@pytest.mark.usefixtures("int8_instructions")
@pytest.mark.parametrize("engine", ["paddle", pytest.param("openvino", marks=pytest.mark.slow)])
def test_int8_graphs_have_embeddings(engine, tmp_path):
    for library in (ENGINES[engine].library, "paddle2onnx", "nncf"):
        pytest.importorskip(library)
    model = network("FasterNet_T0", embed_dim=16)
    bundle = saved(model, tmp_path, "FasterNet_T0")
    bundle.precisions = {name: {"int8": 0.0} for name in INT8_FILES}
    make_int8(bundle, engine, list(IMAGES), model)
    found = Predictor(bundle, engine=engine, precision="int8").run_all(IMAGES)["embedding"]
    assert 0 < relative(found, embeddings_of(model, IMAGES)) < 0.3


def test_a_description_that_the_graph_does_not_keep_is_one_line(tmp_path):
    save_static(paddle.nn.Sequential(paddle.nn.Flatten(), paddle.nn.Linear(3 * 64 * 64, 5)), tmp_path, SHAPE)
    write_inference_yml(str(tmp_path), OPS, Topk(topk=5), None, {"arch": "Linear", "further": ["embedding"]})
    with pytest.raises(
        ConfigError, match="says that the graph has the outputs probs, embedding, and it has 1;"
    ):
        Predictor(tmp_path).run_all(IMAGES)
