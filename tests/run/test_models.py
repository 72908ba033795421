"""Trained networks by their folder, their checkpoint or their run: the same answers as the jobs and the export."""

import glob
import os
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import paddle
import pytest
from PIL import Image

from ppcls_light import embed, explain, jobs, load, load_config, predict
from ppcls_light.errors import ConfigError, DataError, DeviceError, WeightsError
from ppcls_light.explanation.heat_maps import heat_maps
from ppcls_light.models import create_model
from ppcls_light.weights import load_weights, read_weights


@pytest.fixture(scope="module")
def images(trained):
    """Paths of the images of the evaluation."""
    return sorted(glob.glob(os.path.join(os.path.dirname(trained.folder), "photos/val/*.png")))


def table(rows):
    """Return the scores of rows with all classes, (N, class_num)."""
    return np.array([[score for _, score in sorted(zip(row["class_ids"], row["scores"]))] for row in rows])


def test_a_checkpoint_answers_as_infer_and_as_its_export(trained, exported, images):
    config = load_config(
        os.path.join(trained.folder, "config.yaml"),
        [f"Global.pretrained_model={trained.weights}", "Infer.PostProcess.topk=3"],
    )
    inferred = jobs.infer(config)
    own = load(trained.folder, topk=3, batch_size=4)
    rows = own.predict(images)
    assert [row["file_name"] for row in rows] == [row["file_name"] for row in inferred]
    assert np.abs(table(rows) - table(inferred)).max() <= 1e-5
    assert rows[0]["label_names"] == inferred[0]["label_names"]
    ready = np.stack([own.preprocess(path) for path in images])
    assert np.abs(own.run(ready) - exported.run(ready)).max() <= 1e-5
    assert own.bundle.weights == exported.bundle.weights
    assert list(own.class_names) == list(exported.class_names) == ["dark", "bright", "striped"]
    assert own.image_shape == exported.image_shape
    assert own.topk == 3
    assert load(trained).topk == 2  # the config's


def test_every_way_to_a_checkpoint_leads_to_its_weights(trained, exported, images, tmp_path):
    rows = trained.predict(images)
    for model in (
        trained,
        trained.folder,
        trained.weights,
        trained.weights[: -len(".pdparams")],
        trained.predictor,
    ):
        assert predict(model, images) == rows
    alone = shutil.copy(trained.weights, tmp_path / "alone.pdparams")
    shutil.copy(trained.weights.replace(".pdparams", ".pdstates"), tmp_path / "alone.pdstates")
    file = os.path.join(trained.folder, "config.yaml")
    for config in (file, trained.config, load_config(file)):
        assert predict(alone, images, config=config) == rows
    other = load(os.path.join(trained.folder, f"epoch_{3 - trained.metrics['best']['epoch']:.0f}"))
    assert np.abs(table(other.predict(images)) - table(rows)).max() > 0
    assert predict(exported.bundle.folder, images, topk=1)[0].keys() == rows[0].keys()
    assert trained.predictor is trained.predictor


def test_embeddings_are_what_the_classifier_takes(trained, exported, images):
    arch = trained.config.Arch
    network = create_model(arch.name, class_num=3, **arch.params)
    load_weights(network, read_weights(trained.weights))
    network.eval()
    ready = np.stack([trained.predictor.preprocess(path) for path in images])
    taken = []
    head = dict(network.named_sublayers())["fc"]
    head.register_forward_pre_hook(lambda _, inputs: taken.append(inputs[0].numpy()))
    network(paddle.to_tensor(ready))
    found = trained.embed(images)
    assert np.abs(found - taken[0]).max() <= 1e-5
    assert found.dtype == np.float32
    assert np.abs(found - embed(exported, images)).max() <= 1e-4
    assert np.array_equal(embed(trained.folder, images[0]), found[:1])


def test_explanations_are_those_of_the_network(trained, exported, images, tmp_path):
    found = trained.explain(images[:2], label="striped")
    ready = np.stack([trained.predictor.preprocess(path) for path in images[:2]])
    assert np.array_equal(
        np.stack([one.heat for one in found]), heat_maps(trained.predictor.engine.network, ready, [2, 2])
    )
    assert [(one.class_id, one.label_name, one.method) for one in found] == [(2, "striped", "layercam")] * 2
    assert [one.file_name for one in found] == images[:2]
    assert found[0].image.shape == (32, 32, 3)
    assert found[0].score == pytest.approx(trained.predictor.run(ready)[0, 2], abs=1e-6)
    assert found[0].picture.size[0] > 3 * 32
    (pixels,) = explain(trained, np.asarray(Image.open(images[0]).convert("RGB")))
    assert pixels.file_name is None
    assert pixels.class_id == trained.predict(images[0])[0]["class_ids"][0]
    (asked,) = explain(exported, images[0])
    (same,) = explain(trained, images[0], method="occlusion")
    assert asked.method == "occlusion"
    assert np.abs(asked.heat - same.heat).max() <= 1e-2
    assert "Explanation of " in repr(asked)


def test_what_cannot_be_explained_is_one_line(trained, exported, images, tmp_path):
    with pytest.raises(ConfigError, match="looks inside the network"):
        explain(exported, images[0], method="gradcam")
    with pytest.raises(ConfigError, match="layer blocks: an exported folder shows none"):
        explain(exported, images[0], layer="blocks")
    with pytest.raises(ConfigError, match="label strped: no such class; did you mean 'striped'"):
        explain(trained, images[0], label="strped")
    with pytest.raises(DataError, match="no_such"):
        explain(trained, [images[0], "no_such.png"])
    with pytest.raises(ConfigError, match="topk: set when a Predictor is made"):
        explain(exported, images[0], topk=1)


def test_what_is_no_model_is_named(trained, tmp_path):
    with pytest.raises(ConfigError, match=r"no run, since it has no config\.yaml"):
        load(tmp_path)
    with pytest.raises(
        ConfigError, match=r"weights: neither an exported folder nor a checkpoint with config\.yaml"
    ):
        load(tmp_path / "weights")
    with pytest.raises(WeightsError, match=r"best_modl.*did you mean 'best_model\.pdparams'"):
        load(os.path.join(trained.folder, "best_modl"))


@pytest.mark.parametrize(
    "options", [{"engine": "onnxruntime"}, {"precision": "bf16"}, {"device": "gpu", "gpu_id": 99}]
)
def test_what_only_an_export_can_is_refused(trained, options):
    with pytest.raises(DeviceError, match=r"before an export|GPU 99 is wanted"):
        load(trained, **options)
    assert load(trained, engine="auto", precision="auto").engine_options.title.startswith("paddle fp32")


@pytest.mark.slow
def test_a_predictor_of_a_checkpoint_runs_in_threads_and_processes(trained, images, capfd):
    from concurrent.futures import ThreadPoolExecutor

    own = load(trained, batch_size=3)
    rows = own.predict(images)
    with ThreadPoolExecutor(4) as threads:
        assert all(found == rows for found in threads.map(lambda _: own.clone().predict(images), range(8)))
    assert list(own.iter_predict(images, workers=2)) == rows
    assert "Finish load" not in "".join(capfd.readouterr())


@pytest.mark.slow
def test_an_exported_folder_and_a_runs_curves_do_without_paddle(trained, exported, images):
    """A machine may have ONNX Runtime alone."""
    for package in ("onnxruntime", "paddle2onnx"):
        pytest.importorskip(package)
    load(exported.bundle.folder, engine="onnxruntime")  # leaves inference.onnx there
    code = f"""\
        import sys
        sys.modules["paddle"] = None  # cannot be imported
        from ppcls_light import Run, explain, predict
        print(Run({trained.folder!r}).curves["epoch"])
        print(predict({exported.bundle.folder!r}, {images[0]!r}, engine="onnxruntime")[0]["class_ids"])
        """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer = exported.predict(images[0])[0]["class_ids"]
    assert done.stdout.splitlines() == ["[1.0, 2.0]", str(answer)]
