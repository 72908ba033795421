"""Teachers that are ONNX files or exported folders, from the YAML to the step's loss."""

import json

import numpy as np
import paddle
import pytest
from paddle.nn.initializer import Constant

from ppcls_light import jobs
from ppcls_light.base.probabilities import softmax
from ppcls_light.config import dump_config, load_config
from ppcls_light.config.losses import DistillationFeatureLoss
from ppcls_light.data.decode import decode_image
from ppcls_light.engine import distributed
from ppcls_light.engine.distributed import Runtime
from ppcls_light.engine.losses import build_loss
from ppcls_light.engine.teachers import as_logits, standardising
from ppcls_light.engine.trainer import Trainer
from ppcls_light.errors import ConfigError, DataError, DeviceError
from ppcls_light.weights import read_weights

FEATURES = (
    "Loss.Train=[{CELoss: {weight: 1.0}}, "
    "{DistillationFeatureLoss: {weight: 0.5, model_name_pairs: [[Student, Teacher]]}}]"
)


def expected(trainer, index, weight):
    """Return the logits of the teacher for an image of the training, computed here."""
    image = decode_image(trainer.reader.loader.dataset.read(index))
    import cv2

    small = cv2.resize(image, (16, 16)) / 255.0
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    return ((small - mean) / std).mean(axis=(0, 1)) @ weight


def test_the_step_s_loss_has_the_teacher_s_answer_to_the_whole_image(taught, teacher_weight):
    trainer = Trainer(load_config(taught), Runtime("cpu"))
    trainer.network.train()
    batch = next(iter(trainer.reader.loader.epoch(0)))
    teacher = np.stack([expected(trainer, index, teacher_weight) for index in batch.indices])
    np.testing.assert_allclose(trainer.teachers(batch)["Teacher"], teacher, atol=1e-4)
    with paddle.no_grad():
        student = trainer.model(paddle.to_tensor(batch.images))["Student"].numpy().astype("float64")
    p, q = softmax(teacher / 2.0), softmax(student / 2.0)
    losses = trainer.train_step(batch)[-1]
    by_hand = 0.5 * 4.0 * (p * np.log(p / q)).sum(axis=1).mean()
    assert float(losses["DistillationKLDivLoss"]) == pytest.approx(by_hand, rel=1e-3)


def test_evaluation_and_export_are_of_the_student_and_need_no_teacher(taught, tmp_path):
    jobs.train(load_config(taught, ["EMA={decay: 0.9}", "Global.epochs=1"]))
    assert {key.split(".")[0] for key in read_weights(tmp_path / "output/latest.pdparams")} == {"Student"}
    (tmp_path / "teacher.onnx").unlink()
    assert 0 <= jobs.evaluate(load_config(taught, ["Global.checkpoints=auto"]))["top1"] <= 1
    jobs.export(load_config(taught, ["Global.checkpoints=auto"]))
    assert (tmp_path / "inference/inference.yml").is_file()


def test_a_resumed_run_is_exact(taught, tmp_path, stop_after):
    ema = "EMA={decay: 0.9}"
    Trainer(load_config(taught, [ema, f"Global.output_dir={tmp_path}/whole"]), Runtime("cpu")).fit()
    stop_after(Trainer(load_config(taught, [ema]), Runtime("cpu")), 4)
    Trainer(load_config(taught, [ema, "Global.checkpoints=auto"]), Runtime("cpu")).fit()
    whole, parts = (read_weights(tmp_path / folder / "latest.pdparams") for folder in ("whole", "output"))
    for key in whole:
        np.testing.assert_array_equal(whole[key], parts[key])


def test_features_are_mapped_to_the_teacher_s_embeddings(taught):
    trainer = Trainer(load_config(taught, [FEATURES, "Arch.models.0.Teacher.output=colour"]), Runtime("cpu"))
    embeddings = trainer.teachers.answers["Teacher"]
    np.testing.assert_allclose(embeddings.mean(axis=0), 0, atol=1e-5)
    assert (embeddings.astype("float64") ** 2).mean() == pytest.approx(1, rel=1e-4)
    trainer.network.train()
    first, second, *_ = trainer.reader.loader.epoch(0)
    with paddle.no_grad():
        outputs = trainer.model(paddle.to_tensor(first.images))
    mapped = outputs["Student_to_Teacher"].numpy()
    by_hand = 0.5 * ((mapped - embeddings[first.indices]) ** 2).mean()
    linear = trainer.model.Student_to_Teacher
    before = linear.weight.numpy().copy(), trainer.model.Student.conv1.conv.weight.numpy().copy()
    losses = [trainer.train_step(batch)[-1] for batch in (first, second)]
    assert float(losses[0]["DistillationFeatureLoss"]) == pytest.approx(by_hand, rel=1e-4)
    # Both learn: the second step, at a learning rate that is not 0, changed them.
    assert not np.array_equal(before[0], linear.weight.numpy())
    assert not np.array_equal(before[1], trainer.model.Student.conv1.conv.weight.numpy())


def test_adam_does_not_overshoot_wide_embeddings():
    generator = np.random.default_rng(0)
    features = np.abs(generator.normal(size=(32, 1024))).astype("float32")
    rows = features[:, :8] @ generator.normal(size=(8, 1024)).astype("float32")
    targets = 0.01 * rows + 5
    embeddings = paddle.to_tensor(standardising(targets)(targets))
    linear = paddle.nn.Linear(1024, 1024, weight_attr=paddle.ParamAttr(initializer=Constant(0.0)))
    optimizer = paddle.optimizer.Adam(1e-3, parameters=linear.parameters())
    spec = DistillationFeatureLoss(weight=1.0, model_name_pairs=[["Student", "Teacher"]])
    criterion = build_loss([spec], "Student", ["Teacher"])
    losses = []
    for _ in range(12):
        mapped = linear(paddle.to_tensor(features))
        outputs = {"Student": mapped, "Student_to_Teacher": mapped, "Teacher": embeddings}
        loss, _ = criterion(outputs, paddle.zeros([32], "int64"))
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        losses.append(float(loss))
    assert losses[0] == pytest.approx(1, rel=1e-3)  # of zeros, the mean
    assert max(losses[1:]) < 1


def test_the_linear_map_is_resumed_exactly_and_is_not_the_student_s(taught, tmp_path, stop_after):
    options = [FEATURES, "EMA={decay: 0.9}", "Global.epochs=1"]
    Trainer(load_config(taught, [*options, f"Global.output_dir={tmp_path}/whole"]), Runtime("cpu")).fit()
    stop_after(Trainer(load_config(taught, options), Runtime("cpu")), 4)
    Trainer(load_config(taught, [*options, "Global.checkpoints=auto"]), Runtime("cpu")).fit()
    whole, parts = (read_weights(tmp_path / folder / "latest.pdparams") for folder in ("whole", "output"))
    assert whole["Student_to_Teacher.weight"].shape[1] == 3
    assert whole.keys() == parts.keys()
    for key in whole:
        np.testing.assert_array_equal(whole[key], parts[key])
    student = read_weights(tmp_path / "output/latest_student.pdparams")
    assert {f"Student.{key}" for key in student} == {key for key in whole if key.startswith("Student.")}
    assert "top1" in jobs.evaluate(load_config(taught, [*options, "Global.checkpoints=auto"]))


def test_a_graph_of_a_fixed_batch_and_its_probabilities_are_understood(taught, tmp_path, write_onnx):
    before = Trainer(load_config(taught), Runtime("cpu")).teachers.answers["Teacher"]
    write_onnx(tmp_path / "teacher.onnx", batch=3, probabilities=True)
    after = Trainer(load_config(taught), Runtime("cpu")).teachers.answers["Teacher"]
    assert not np.allclose(before, after, atol=0.1)
    np.testing.assert_allclose(softmax(before / 4), softmax(after / 4), atol=1e-5)


def test_only_what_changed_is_computed_again(taught, tmp_path, photos, caplog, write_onnx, teacher_weight):
    def lines():
        caplog.clear()
        with caplog.at_level("INFO", logger="ppcls_light"):
            answers = Trainer(load_config(taught), Runtime("cpu")).teachers.answers["Teacher"]
        return next(line for line in caplog.messages if "have no answer" in line), answers

    assert lines()[0].startswith("Teacher: 26 of 26")
    first, second = photos / "train/00.png", photos / "train/01.png"
    line, before = lines()
    assert line.startswith("Teacher: 0 of 26")
    swapped = first.read_bytes(), second.read_bytes()
    first.write_bytes(swapped[1]), second.write_bytes(swapped[0])
    line, after = lines()
    assert line.startswith("Teacher: 0 of 26")  # the same photos under other names
    np.testing.assert_array_equal(after[[1, 0]], before[[0, 1]])
    first.write_bytes((photos / "val/00.png").read_bytes())
    assert lines()[0].startswith("Teacher: 1 of 26")
    write_onnx(tmp_path / "teacher.onnx", weight=-teacher_weight)
    line, other = lines()
    assert line.startswith("Teacher: 26 of 26")
    np.testing.assert_allclose(other[2:], -before[2:], atol=1e-5)
    assert len(list((tmp_path / "cache").iterdir())) == 2
    for about in (tmp_path / "cache").glob("*/about.json"):
        assert json.loads(about.read_text())["transforms"][1] == ["ResizeImage", {"size": 16}]


def test_an_exported_folder_teaches_and_its_classes_are_compared(taught, config_file, tmp_path):
    jobs.train(load_config(config_file, ["Global.epochs=1"]))
    jobs.export(load_config(config_file, ["Global.checkpoints=auto"]))
    folder = f"Arch.models.0.Teacher={{folder: {tmp_path}/inference, cache: {tmp_path}/cache}}"
    trainer = Trainer(load_config(taught, [folder, f"Global.output_dir={tmp_path}/student"]), Runtime("cpu"))
    logits = trainer.teachers.answers["Teacher"]
    rows = jobs.infer(
        load_config(
            config_file,
            [
                "Global.checkpoints=auto",
                f"Infer.infer_imgs={tmp_path}/photos/train",
                "Infer.PostProcess.topk=1",
            ],
        )
    )
    np.testing.assert_allclose(softmax(logits).max(axis=1), [row["scores"][0] for row in rows], atol=1e-4)
    labels = tmp_path / "photos/labels.txt"
    labels.write_text("0 bright\n1 dark\n2 striped\n")
    with pytest.raises(DataError, match=r"another order.*give a teacher Teacher that was trained"):
        Trainer(load_config(taught, [folder, f"Global.output_dir={tmp_path}/other"]), Runtime("cpu"))
    described = tmp_path / "inference/inference.yml"
    of_tags = described.read_text().replace("output: probs", "output: probs\n  multilabel: true")
    described.write_text(of_tags)
    with pytest.raises(DataError, match="is of a training on tags; give a teacher Teacher that was trained"):
        Trainer(load_config(taught, [folder, f"Global.output_dir={tmp_path}/tags"]), Runtime("cpu"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("Arch.models.0.Teacher.onnx=null", r"Arch\.models\.0\.Teacher: a teacher is one of onnx"),
        ("Arch.models.0.Teacher.preprocess=[]", "preprocess is missing"),
        ("Arch.models.0.Teacher.onyx=a", r"unknown key Arch\.models\.0\.Teacher\.onyx; did you mean 'onnx'"),
        ("Arch.freeze_params_list=[false, false]", "Teacher is no network here and cannot learn; write true"),
        ("Arch.pretrained_list=[a.pdparams, null]", "Teacher has its weights in its own file; write null"),
        ("Arch.infer_model_name=Teacher", "no model is called 'Teacher'; use one of Student"),
        ("Loss.Train=[{CELoss: {weight: 1.0}}]", r"no loss of Loss\.Train asks Teacher anything"),
        (
            FEATURES.replace("[Student, Teacher]", "[Teacher, Student]"),
            r"a pair is the student \(Student\) and",
        ),
        (
            FEATURES.replace(
                "CELoss: {weight: 1.0}",
                "DistillationDMLLoss: {weight: 1, model_name_pairs: [[Student, Teacher]]}",
            ),
            "Teacher cannot give both logits and embeddings; write it twice",
        ),
        (
            "DataLoader.Train.dataset.batch_transform_ops=[{MixupOperator: {alpha: 0.2}}]",
            "they mix images, and a teacher",
        ),
    ],
)
def test_what_contradicts_itself_is_said(taught, override, message):
    with pytest.raises(ConfigError, match=message):
        load_config(taught, [override])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("onnx=missing.onnx", r"Arch\.models\.0\.Teacher: onnx: missing\.onnx: there is no such file"),
        ("output=logits", r"has no output 'logits', only answer, colour, map"),
        ("output=map", r"answers \[26, 3, 16, 16\] to 26 images.*pool its maps"),
        ("preprocess=[{ResizeImage: {size: 8}}]", r"fails on an input of shape \[26, 3, 8, 8\]"),
        ("preprocess=[{RandFlipImage: {flip_code: 1}}]", "RandFlipImage is random"),
    ],
)
def test_a_teacher_that_does_not_fit_is_one_line(taught, tmp_path, override, message):
    config = load_config(taught, [f"Arch.models.0.Teacher.{override}"])
    with pytest.raises(ConfigError, match=message) as found:
        Trainer(config, Runtime("cpu"))
    assert "\n" not in str(found.value)
    assert not list(tmp_path.glob("cache/*/*"))


def test_nodes_that_share_no_cache_are_one_line(taught, monkeypatch):
    gather = distributed.gather

    def of_two_nodes(value, runtime):  # the second has an empty folder
        return [*gather(value, runtime), 0] if value == 26 else gather(value, runtime)

    monkeypatch.setattr(distributed, "gather", of_two_nodes)
    with pytest.raises(
        ConfigError, match=r"number of answers in .* is not the same for all processes: 26 on rank 0, 0"
    ):
        Trainer(load_config(taught), Runtime("cpu"))


def test_labels_are_no_answers(taught, tmp_path):
    import onnx

    model = onnx.load(str(tmp_path / "teacher.onnx"))
    model.graph.node.append(onnx.helper.make_node("Cast", ["scores"], ["labels"], to=onnx.TensorProto.INT64))
    model.graph.output.append(onnx.helper.make_tensor_value_info("labels", onnx.TensorProto.INT64, ["n", 3]))
    onnx.save(model, str(tmp_path / "teacher.onnx"))
    config = load_config(taught, ["Arch.models.0.Teacher.output=labels"])
    with pytest.raises(ConfigError, match="answers with int64, and a teacher with logits"):
        Trainer(config, Runtime("cpu"))


def test_embeddings_without_variance_are_one_line(taught, tmp_path, write_onnx):
    write_onnx(tmp_path / "teacher.onnx", weight=np.zeros((3, 5), "float32"))
    with pytest.raises(ConfigError, match="it answers the same to every image"):
        Trainer(load_config(taught, [FEATURES]), Runtime("cpu"))


def test_without_the_runtime_the_extra_is_named(taught, monkeypatch):
    monkeypatch.setattr("ppcls_light.runtime.engines.importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        DeviceError, match=r'onnxruntime, which is not installed; pip install "ppcls_light\[onnx\]"'
    ):
        Trainer(load_config(taught), Runtime("cpu"))


def test_other_files_and_class_counts_are_one_line(taught, tmp_path, write_onnx):
    write_onnx(tmp_path / "teacher.onnx", weight=np.ones((3, 5), "float32"))
    with pytest.raises(ConfigError, match=r"answers with 5 numbers, but Arch\.class_num is 3"):
        Trainer(load_config(taught), Runtime("cpu"))
    (tmp_path / "teacher.onnx").write_bytes(b"no graph")
    with pytest.raises(Exception, match=r"teacher\.onnx: ONNX Runtime .* cannot load this model"):
        Trainer(load_config(taught), Runtime("cpu"))


def test_the_config_survives_being_written(taught, tmp_path):
    config = load_config(taught)
    (tmp_path / "again.yaml").write_text(dump_config(config))
    assert load_config(tmp_path / "again.yaml").Arch == config.Arch


def test_answers_that_only_look_like_probabilities_stay_logits():
    logits = np.array([[0.5, 0.4], [0.3, 0.3]], np.float32)
    np.testing.assert_array_equal(as_logits(logits, 2, "Teacher")(logits), logits)
    shares = np.array([[0.5, 0.5], [1.0, 0.0]], np.float32)
    found = as_logits(shares, 2, "Teacher")(shares)
    np.testing.assert_allclose(found[0], np.log([0.5, 0.5]), rtol=1e-6)
    assert np.isfinite(found).all()
