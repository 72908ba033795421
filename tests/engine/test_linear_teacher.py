"""Linear classifier on embeddings: the fit, the folder that it becomes, and its way into a training."""

import numpy as np
import pytest

from ppcls_light import jobs
from ppcls_light.base.probabilities import softmax
from ppcls_light.bundle.folder import read_bundle
from ppcls_light.config import load_config
from ppcls_light.engine.distributed import Runtime
from ppcls_light.engine.linear_teacher import fit
from ppcls_light.engine.trainer import Trainer
from ppcls_light.errors import ConfigError, DataError, ExportError, UserError
from ppcls_light.prediction import Predictor

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("sklearn")


def blobs(count, classes=3, spread=1.0, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    centres = np.random.default_rng(7).normal(size=(classes, 6))
    return (centres[labels] + spread * rng.normal(size=(count, 6))).astype("float32"), labels


def test_the_fit_is_a_minimum_of_the_penalised_loss():
    """Its gradient, by hand, is 0: mean (p - y) x over features of variance 1, plus the penalty's."""
    x, y = blobs(300)
    linear = fit(x, y, 3)
    spread = x.std(axis=0) + 1e-6
    z = (x - x.mean(axis=0)) / spread
    errors = softmax(x @ linear.weight + linear.bias) - np.eye(3)[y]
    gradient = linear.strength * z.T @ errors + linear.weight * spread[:, None]
    of_zeros = linear.strength * z.T @ (1 / 3 - np.eye(3)[y])
    assert np.abs(gradient).max() < 1e-3 * np.abs(of_zeros).max()
    assert np.abs(errors.sum(axis=0)).max() < 0.05  # the bias has no penalty


@pytest.mark.parametrize("classes", [2, 5])
def test_the_answers_are_calibrated_on_images_of_their_own(classes):
    x, y = blobs(400, classes, spread=2.0)
    linear = fit(x, y, classes)
    others, labels = blobs(2000, classes, spread=2.0, seed=1)
    p = softmax(others @ linear.weight + linear.bias)
    assert p.shape == (2000, classes)
    assert abs(p.max(axis=1).mean() - linear.accuracy(others, labels)) < 0.05


def test_too_few_images_are_one_line():
    x, y = blobs(12)
    with pytest.raises(DataError, match="class 3 has no labelled image"):
        fit(x, y, 4)
    with pytest.raises(DataError, match="no class has 5 labelled images"):
        fit(x, y, 3)
    with pytest.raises(DataError, match="there is one class"):
        fit(x, 0 * y, 1)


@pytest.fixture
def embedding(taught):
    return load_config(
        taught,
        [
            "Arch.models.0.Teacher.output=colour",
            "Loss.Train=[{DistillationFeatureLoss: {weight: 1, model_name_pairs: [[Student, Teacher]]}}]",
        ],
    )


def test_it_becomes_a_folder_that_classifies_and_teaches(embedding, taught, tmp_path, photos):
    folder = tmp_path / "linear"
    top1 = jobs.fit_teacher(embedding, str(folder))
    assert top1 > 0.6  # dark and bright are told by their mean colour
    assert list(read_bundle(folder).class_names) == ["dark", "bright", "striped"]
    rows = Predictor(folder, engine="onnxruntime", topk=1).predict(sorted((photos / "val").glob("*.png")))
    right = [row["class_ids"][0] == index % 3 for index, row in enumerate(rows)]
    assert np.mean(right) == pytest.approx(top1)
    models = [
        f"Arch.models.0.Teacher={{folder: {folder}, cache: {tmp_path}/cache}}",
        f"Global.output_dir={tmp_path}/student",
    ]
    trainer = Trainer(load_config(taught, models), Runtime("cpu"))
    rows = Predictor(folder, engine="onnxruntime", topk=3).predict(str(photos / "train/00.png"))
    answer = softmax(trainer.teachers.answers["Teacher"][:1])[0]
    np.testing.assert_allclose(answer[rows[0]["class_ids"]], rows[0]["scores"], atol=1e-4)
    again = jobs.fit_teacher(embedding, str(folder))
    assert again == top1
    assert not (folder / "previous_1").exists()  # the same to the byte
    # Logits are of the folder's classes when they are named, too; embeddings are of none.
    (photos / "labels.txt").write_text("0 bright\n1 dark\n2 striped\n")
    logits = [*models, "Arch.models.0.Teacher.output=linear_teacher.logits"]
    with pytest.raises(DataError, match="another order"):
        Trainer(load_config(taught, logits), Runtime("cpu"))
    features = [
        "Arch.models.0.Teacher.output=null",
        "Loss.Train=[{DistillationFeatureLoss: {weight: 1, model_name_pairs: [[Student, Teacher]]}}]",
    ]
    trainer = Trainer(load_config(taught, [*models, *features]), Runtime("cpu"))
    assert trainer.teachers.embedding_sizes == {"Teacher": 3}


def with_embeddings(path, to=None):
    """Let the graph at `path` give the embeddings `colour` as numbers of the kind `to`, or say no shape of them."""
    import onnx

    model = onnx.load(str(path))
    (output,) = [value for value in model.graph.output if value.name == "colour"]
    if to is None:
        output.type.tensor_type.ClearField("shape")
    else:
        pool = model.graph.node[0]
        model.graph.node[1].input[0] = pool.output[0] = "pooled"
        model.graph.node.append(onnx.helper.make_node("Cast", ["pooled"], ["colour"], to=to))
        output.type.tensor_type.elem_type = to
    onnx.save(model, str(path))


def test_embeddings_of_half_precision_are_classified(embedding, tmp_path, photos):
    with_embeddings(tmp_path / "teacher.onnx", to=10)  # TensorProto.FLOAT16
    top1 = jobs.fit_teacher(embedding, str(tmp_path / "linear"))
    predictor = Predictor(tmp_path / "linear", engine="onnxruntime", topk=1)
    rows = predictor.predict(sorted((photos / "val").glob("*.png")))
    assert np.mean([row["class_ids"][0] == i % 3 for i, row in enumerate(rows)]) == pytest.approx(top1)


def test_embeddings_without_a_shape_are_one_line(embedding, tmp_path):
    with_embeddings(tmp_path / "teacher.onnx")
    with pytest.raises(ExportError, match="does not say the shape of colour; let onnx"):
        jobs.fit_teacher(embedding, str(tmp_path / "linear"))


def test_a_folder_that_cannot_be_written_is_said_before_the_teacher_is_asked(embedding, tmp_path):
    (tmp_path / "linear").write_text("")
    with pytest.raises(UserError, match="choose another folder"):
        jobs.fit_teacher(embedding, str(tmp_path / "linear"))
    assert not (tmp_path / "cache").exists()


def test_what_is_missing_is_one_line(taught, tmp_path):
    with pytest.raises(ConfigError, match=r"no teacher of a DistillationFeatureLoss .*--teacher \(Teacher\)"):
        jobs.fit_teacher(load_config(taught), str(tmp_path / "linear"))
    with pytest.raises(ConfigError, match="no teacher Other with onnx or folder"):
        jobs.fit_teacher(load_config(taught), str(tmp_path / "linear"), "Other")
    assert not (tmp_path / "linear").exists()
