"""Teachers that see the student's crops: in the reader, with kept answers, and in one pass for two of them."""

import numpy as np
import pytest
import yaml

from ppcls_light import jobs
from ppcls_light.config import load_config
from ppcls_light.engine.distributed import Runtime
from ppcls_light.engine.teachers import Teachers
from ppcls_light.engine.trainer import Trainer
from ppcls_light.errors import ConfigError
from ppcls_light.weights import read_weights

VIEWS = "DataLoader.Train.dataset.views=2"


@pytest.fixture
def seen(taught):
    """`taught` with crops, and a teacher that sees them."""
    content = yaml.safe_load(taught.read_text())
    ops = content["DataLoader"]["Train"]["dataset"]["transform_ops"]
    ops[:] = [
        {"DecodeImage": None},
        {"RandCropImage": {"size": 32, "scale": [0.2, 0.5]}},
        *(op for op in ops if "NormalizeImage" in op or "RandFlipImage" in op),
    ]
    content["Arch"]["models"][0]["Teacher"]["sees"] = "crop"
    taught.write_text(yaml.safe_dump(content, sort_keys=False))
    return taught


def batches(config, *options):
    """Return the batches of three epochs."""
    trainer = Trainer(load_config(config, list(options)), Runtime("cpu"))
    return [batch for epoch in (0, 1, 2) for batch in trainer.reader.loader.epoch(epoch)]


@pytest.fixture
def passes(monkeypatch):
    """Images and outputs of each forward pass of ONNX Runtime in this process."""
    from ppcls_light.runtime.onnxruntime_engine import OnnxEngine

    found, run = [], OnnxEngine.run_outputs

    def counted(self, images, outputs):
        found.append((len(images), tuple(outputs)))
        return run(self, images, outputs)

    monkeypatch.setattr(OnnxEngine, "run_outputs", counted)
    return found


def test_the_teacher_answers_to_what_the_student_sees(seen, teacher_weight):
    # The teacher multiplies the mean colour of what it sees; both normalise alike.
    pairs = [(batch.answers["Teacher"], batch.images.mean(axis=(2, 3))) for batch in batches(seen)]
    answers, colours = map(np.concatenate, zip(*pairs))
    differences = np.abs(answers - colours @ teacher_weight)
    assert differences.mean() < 0.02  # of a crop at two sizes
    assert differences.mean() < 0.05 * np.abs(answers - np.roll(answers, 1, axis=0)).mean()


def test_a_crop_is_no_whole_image(seen):
    trainer = Trainer(load_config(seen), Runtime("cpu"))
    first, again, other = (next(iter(trainer.reader.loader.epoch(epoch))) for epoch in (0, 0, 1))
    np.testing.assert_array_equal(first.answers["Teacher"], again.answers["Teacher"])
    found = trainer.teachers(first)["Teacher"].numpy()
    np.testing.assert_array_equal(found, first.answers["Teacher"])
    dataset = trainer.reader.loader.dataset
    ask = trainer.reader.loader._reader.ask
    views = [ask([3], epoch)["Teacher"][0] for epoch in (0, 1)]
    assert dataset.views is None
    assert not np.allclose(*views, atol=1e-3)
    assert len(other.answers["Teacher"]) == len(other.indices)


def test_any_number_of_workers_gives_the_same_bits(seen):
    for one, other in zip(
        batches(seen, "DataLoader.Train.loader.num_workers=0"),
        batches(seen, "DataLoader.Train.loader.num_workers=2"),
    ):
        np.testing.assert_array_equal(one.answers["Teacher"], other.answers["Teacher"])


def test_a_resumed_run_is_exact(seen, tmp_path, stop_after):
    Trainer(load_config(seen, [f"Global.output_dir={tmp_path}/whole"]), Runtime("cpu")).fit()
    stop_after(Trainer(load_config(seen), Runtime("cpu")), 4)
    Trainer(
        load_config(seen, ["Global.checkpoints=auto", VIEWS]), Runtime("cpu")
    ).fit()  # 2 epochs: no difference
    whole, parts = (read_weights(tmp_path / folder / "latest.pdparams") for folder in ("whole", "output"))
    for key in whole:
        np.testing.assert_array_equal(whole[key], parts[key])


def test_answers_to_views_are_kept_and_found_by_content(seen, photos, passes):
    no_workers = "DataLoader.Train.loader.num_workers=0"

    def computed():
        passes.clear()
        found = batches(seen, VIEWS, no_workers)
        return found, sum(count for count, _ in passes) - 1  # the first image is tried

    first, count = computed()
    # 26 whole ones that tell logits from probabilities, and two views of the 24 of 26 that each epoch draws.
    assert 26 + 2 * 24 <= count <= 26 + 2 * 26
    again, count = computed()
    assert count == 0
    for one, other in zip(first, again):
        np.testing.assert_array_equal(one.images, other.images)
        np.testing.assert_array_equal(one.answers["Teacher"], other.answers["Teacher"])
    by_view = {}
    for number, batch in enumerate(first):
        epoch = number // 6
        for index, row in zip(batch.indices.tolist(), batch.answers["Teacher"]):
            np.testing.assert_array_equal(by_view.setdefault((index, epoch % 2), row), row)
    smaller = "DataLoader.Train.dataset.transform_ops.1={RandCropImage: {size: 24, scale: [0.2, 0.5]}}"
    passes.clear()
    assert batches(seen, VIEWS, no_workers, smaller)[0].images.shape[2:] == (24, 24)
    assert len(passes) == 1  # the teacher's views are the same ones
    bright = photos / "train/00.png"
    bright.write_bytes((photos / "val/00.png").read_bytes())
    assert 1 + 1 <= computed()[1] <= 1 + 2  # the whole image, and its views


def test_an_embedding_and_its_classifier_are_one_pass(seen, tmp_path, passes):
    pytest.importorskip("sklearn")
    losses = (
        "Loss.Train=[{CELoss: {weight: 1.0}}, {DistillationFeatureLoss: {weight: 1, "
        "model_name_pairs: [[Student, Teacher]]}}]"
    )
    jobs.fit_teacher(load_config(seen, [losses]), str(tmp_path / "fitted"))
    content = yaml.safe_load(seen.read_text())
    teacher = content["Arch"]["models"][0]["Teacher"]
    classifier = {"folder": f"{tmp_path}/fitted", "sees": "crop", "cache": teacher["cache"]}
    content["Arch"]["models"][:1] = [{"Teacher": classifier}, {"Embedding": teacher}]
    pair = {"weight": 1, "model_name_pairs": [["Student", "Embedding"]]}
    content["Loss"]["Train"].append({"DistillationFeatureLoss": pair})
    seen.write_text(yaml.safe_dump(content, sort_keys=False))
    passes.clear()
    batch = batches(seen, "DataLoader.Train.loader.num_workers=0")[0]
    assert passes[-1] == (4, ("linear_teacher.logits", "answer"))
    alone = yaml.safe_load((tmp_path / "fitted/inference.yml").read_text())
    alone["ppcls_light"]["made_of"] = ""
    (tmp_path / "fitted/inference.yml").write_text(yaml.safe_dump(alone))
    other = batches(seen, "DataLoader.Train.loader.num_workers=0")[0]
    assert passes[-1] == (4, ("answer",))
    for name in ("Teacher", "Embedding"):
        np.testing.assert_allclose(batch.answers[name], other.answers[name], atol=1e-5)


def test_a_graph_of_a_fixed_batch_answers_to_any_batch(seen, tmp_path, write_onnx):
    before = batches(seen)[0].answers["Teacher"]
    write_onnx(tmp_path / "teacher.onnx", batch=3)
    np.testing.assert_allclose(batches(seen)[0].answers["Teacher"], before, atol=1e-5)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "DataLoader.Train.dataset.transform_ops.1={ResizeImage: {size: 32}}",
            r"Arch\.models\.0\.Teacher: sees: crop: .* need one RandCropImage or RandomResizedCrop",
        ),
        (
            "DataLoader.Train.dataset.transform_ops.1={RandomCropImage: {size: 8}}",
            "need one RandCropImage or RandomResizedCrop",
        ),
        ("DataLoader.Train.dataset.transform_ops.0={DecodeImage: {to_rgb: false}}", "decode both alike"),
        (
            "Arch.models.0.Teacher.preprocess=[{ResizeImage: {size: 16}}, {ToTensor: {}}]",
            "NormalizeImage takes the place",
        ),
        ("DataLoader.Eval.dataset.views=2", r"DataLoader\.Eval\.dataset\.views: only a training"),
        ("Arch.models.0.Teacher.sees=crops", r"Arch\.models\.0\.Teacher\.sees"),
        ("DataLoader.Train.dataset.views=0", r"DataLoader\.Train\.dataset\.views"),
    ],
)
def test_what_cannot_be_seen_is_one_line(seen, override, message):
    with pytest.raises(ConfigError, match=message) as found:
        Trainer(load_config(seen, [override]), Runtime("cpu"))
    assert "\n" not in str(found.value)


def test_views_are_for_teachers_that_see_them(taught):
    with pytest.raises(
        ConfigError, match=r"DataLoader\.Train\.dataset\.views: only a training whose teacher"
    ):
        load_config(taught, [VIEWS])


def test_nothing_is_asked_without_such_teachers(config_file):
    trainer = Trainer(load_config(config_file), Runtime("cpu"))
    assert not trainer.teachers
    assert isinstance(trainer.teachers, Teachers)
    assert next(iter(trainer.reader.loader.epoch(0))).answers == {}
