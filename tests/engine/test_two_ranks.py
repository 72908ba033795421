"""Two ranks of one job, which do one thing after the other: what they agree on, share and write."""

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from ppcls_light import jobs
from ppcls_light.bundle.chosen import read_chosen
from ppcls_light.config import load_config
from ppcls_light.engine import checkpoint
from ppcls_light.engine.distributed import Runtime
from ppcls_light.engine.trainer import Trainer
from ppcls_light.weights import read_weights, write_weights
from tests.conftest import TAGS, write_config, write_photos, write_tagged_config, write_tags
from tests.engine.test_distributed import launch, train

pytestmark = pytest.mark.slow

# Networks whose result for an image does not depend on the others of its batch.
LAYER_NORM = {"name": "EdgeNeXt_XX_Small", "class_num": 3, "drop_path_rate": 0.0}
ACCUMULATED = [
    "Arch={name: EdgeNeXt_XX_Small, class_num: 3}",
    "Optimizer={name: SGD, lr: {name: ConstLR, learning_rate: 0.1}, clip_grad: 1.0}",
    *("Global.epochs=1", "Global.eval_during_train=false"),
]
# Nobody is frozen, and they compare maps, too.
FEATURES = [
    "Arch={name: DistillationModel, class_num: 3, models: ["
    "Teacher: {name: EdgeNeXt_XX_Small, drop_path_rate: 0, return_stages: true, class_num: 3}, "
    "Student: {name: EdgeNeXt_XX_Small, drop_path_rate: 0, return_stages: true, class_num: 3}]}",
    "Loss.Train=[DistillationGTCELoss: {weight: 1, model_names: [Student, Teacher]}, "
    "DistillationDistanceLoss: {weight: 1, key: 'stages[1]', model_name_pairs: [[Student, Teacher]]}]",
    *("Optimizer={name: SGD, lr: {name: ConstLR, learning_rate: 0.1}}", "Metric={}"),
    *("Global.epochs=1", "Global.eval_during_train=false"),
]


# For weights of two classes, striped and not.
TWO_CLASSES = [
    "Arch.class_num=2",
    "Infer.PostProcess={name: Topk}",
    "Metric={Eval: [{TprAtFpr: {max_fpr: 0.4}}, {AUC: {}}]}",
]


def write_two_classes(folder, photos, trained):
    """Write an Eval list of two classes, and weights, two of three classes'; return the overrides that name them."""
    weights = read_weights(trained)
    two = {key: value[..., [0, 2]] if key.startswith("fc.") else value for key, value in weights.items()}
    write_weights(folder / "two.pdparams", two)
    lines = [line.split() for line in (photos / "val_list.txt").read_text().splitlines()]
    (photos / "two.txt").write_text("".join(f"{name} {int(label == '2')}\n" for name, label in lines))
    return [
        *TWO_CLASSES,
        f"Global.pretrained_model={folder}/two",
        f"DataLoader.Eval.dataset.cls_label_path={photos}/two.txt",
    ]


# Rare tags weigh by their share of the whole list, of which each rank has a half.
TAGGED = [
    f"Arch={{name: EdgeNeXt_XX_Small, class_num: {len(TAGS)}, drop_path_rate: 0.0}}",
    "Loss.Train=[{MultiLabelLoss: {weight: 1.0, weight_ratio: true, size_sum: true}}]",
    "Optimizer={name: SGD, lr: {name: ConstLR, learning_rate: 0.1}}",
    "Global.epochs=1",
]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def job(root, tmp_path_factory):
    """The job's folder and files, and what each of its commands printed."""
    folder = tmp_path_factory.mktemp("two_ranks")
    photos = write_photos(folder)
    config_file, layer_norm_config = write_config(folder, photos), folder / "layer_norm.yaml"
    content = {**yaml.safe_load(config_file.read_text()), "Arch": LAYER_NORM}
    layer_norm_config.write_text(yaml.safe_dump(content, sort_keys=False))
    tagged_config = write_tagged_config(config_file, write_tags(photos))
    older = folder / "older"
    jobs.train(load_config(config_file, ["Global.epochs=1", f"Global.output_dir={older}"]))
    before = contents(older)
    trained = f"Global.pretrained_model={older}/latest"

    own = Path(__file__).parent
    new = shutil.copytree(photos / "val", folder / "new")
    (new / "05.png").write_bytes(b"no image")
    infer = [trained, f"Infer.infer_imgs={new}", f"Infer.save_dir={folder}/rows", "Infer.batch_size=2"]
    halves = ["Global.update_freq=2", "DataLoader.Train.sampler.batch_size=2"]
    again = ["Global.epochs=1", "Global.overwrite=true", f"Global.pretrained_model={older}/best_model"]
    (folder / "waiting").mkdir()
    two = write_two_classes(folder, photos, older / "latest.pdparams")
    report = ["--report", folder / "shared", "--predictions", folder / "shared/rows.jsonl"]
    commands = [
        [own / "two_ranks.py", folder / "agreed.json", layer_norm_config, config_file],
        [own / "waiting_ranks.py", config_file, folder / "waiting"],
        train(config_file, folder / "halves", *ACCUMULATED, *halves),
        train(config_file, folder / "features", *FEATURES),
        train(tagged_config, folder / "tags", *TAGGED),
        ["tools/eval.py", "-c", config_file, "-o", trained, "Global.log_ranks=0,1", *report],
        ["tools/infer.py", "-c", config_file, "-o", *infer],
        ["tools/eval.py", "-c", config_file, "-o", *two, "--choose-threshold", "tpr@fpr=0.4"],
        train(config_file, older, *again),
    ]
    (folder / "commands.json").write_text(json.dumps([list(map(str, command)) for command in commands]))
    # On a build for CPU the launcher hands out whatever this variable names.
    launch(
        root,
        folder / "log",
        *(own / "in_turn.py", folder / "commands.json"),
        options=("--gpus", "5,3"),
        CUDA_VISIBLE_DEVICES="3,5,7",
    )
    logs = [(folder / f"log/workerlog.{rank}").read_text().split("-" * 20 + "\n") for rank in (0, 1)]
    names = ("agreed", "waiting", "halves", "features", "tags", "report", "infer", "two", "moved")
    return SimpleNamespace(
        folder=folder,
        photos=photos,
        config_file=config_file,
        layer_norm_config=layer_norm_config,
        tagged_config=tagged_config,
        trained=trained.replace("older/", "older/previous_1/"),  # after the last command
        infer=infer,
        two=two,
        older=older,
        before=before,
        moved=contents(older / "previous_1"),
        printed=[dict(zip(names, log)) for log in logs],
    )


def test_ranks_agree_share_the_images_take_their_gpus_and_equal_one_process(job):
    single = Trainer(
        load_config(job.layer_norm_config, ["DataLoader.Train.sampler.batch_size=8"]), Runtime("cpu")
    )
    single.model.train()
    losses = []
    for batch in single.reader.loader.epoch(0):
        losses.append(float(single.train_step(batch)[-1]["loss"]))
    devices, *reports = json.loads((job.folder / "agreed.json").read_text())
    # Counted among the visible ones, as CUDA does; and the CPU was asked for in spite of them.
    assert devices == [{"device": "cpu", "backend": "gloo", "gpu": f"gpu:{number}"} for number in (1, 0)]
    for report in reports:
        assert report["world_size"] == 2
        assert report["largest_gradient"] > 0
        assert report["gradients"] == 0
        assert report["weights"] == 0
        assert report["losses"][0] == report["losses"][1]
        # 26 images, 13 a rank, 3 full batches of 4: no image twice.
        seen = [index for rank in report["seen"] for batch in rank for index in batch]
        assert len(seen) == len(set(seen)) == 24
        # 11 images do not divide by two: 6 and 5, each exactly once, and both ranks know the sum.
        assert [len(rank) for rank in report["scored"]] == [6, 5]
        assert sorted(index for rank in report["scored"] for index in rank) == list(range(11))
        assert report["results"][0] == report["results"][1]
        # The batch comes as number 2 of the next epoch. What only rank 1 ran into is everybody's error.
        assert report["not finite"][0] == report["not finite"][1]
        assert re.match(r"CELoss is nan at step 5 \(epoch 2, rank 1\)", report["not finite"][0])
        assert report["unreadable"][0] == report["unreadable"][1]
        assert str(job.photos / "val/01.png") in report["unreadable"][0]
    assert reports[0]["losses"][0] == pytest.approx(losses, rel=1e-5)
    assert max(losses) - min(losses) > 0.01


def test_they_stop_and_fail_together_at_a_printed_batch(job):
    """Six batches of two images a rank and epoch, two per update; lines at batches 0 and 3."""
    folder = job.folder / "waiting"
    ranks = {
        name: [json.loads((folder / f"{name}_{rank}.json").read_text()) for rank in (0, 1)]
        for name in ("stop", "poison")
    }
    for first, second in ranks.values():
        assert first == second
        assert first["batches"] == 6
        assert first["seen"] == [0, 1, 2, 3]
    assert checkpoint.load(folder / "stop/latest").states["step"] == 2
    assert re.match(r"CELoss is nan at step 0 \(epoch 1, rank 1\)", ranks["poison"][0]["error"])
    assert not list((folder / "poison").glob("*.pdparams"))


def test_two_batches_of_each_make_the_updates_of_one_process(job, tmp_path):
    """Gradients are exchanged with the last batch of an update only, and hold those of the batches before."""
    whole = [f"Global.output_dir={tmp_path}", "DataLoader.Train.sampler.batch_size=8"]
    Trainer(load_config(job.config_file, [*ACCUMULATED, *whole]), Runtime("cpu")).fit()
    expected, actual = (checkpoint.load(folder / "latest") for folder in (tmp_path, job.folder / "halves"))
    assert expected.states["step"] == actual.states["step"] == 3
    for key, value in expected.weights.items():
        np.testing.assert_allclose(actual.weights[key], value, rtol=1e-4, atol=2e-6, err_msg=key)


def test_features_that_two_ranks_compare_are_those_of_one_process(job, tmp_path):
    whole = [f"Global.output_dir={tmp_path}", "DataLoader.Train.sampler.batch_size=8"]
    Trainer(load_config(job.config_file, [*FEATURES, *whole]), Runtime("cpu")).fit()
    expected, actual = (checkpoint.load(folder / "latest") for folder in (tmp_path, job.folder / "features"))
    for key, value in expected.weights.items():
        np.testing.assert_allclose(actual.weights[key], value, rtol=1e-4, atol=2e-6, err_msg=key)


def test_tags_are_learned_and_scored_as_by_one_process(job, tmp_path):
    whole = [f"Global.output_dir={tmp_path}", "DataLoader.Train.sampler.batch_size=8"]
    Trainer(load_config(job.tagged_config, [*TAGGED, *whole]), Runtime("cpu")).fit()
    folders = tmp_path, job.folder / "tags"
    expected, actual = (checkpoint.load(folder / "latest") for folder in folders)
    for key, value in expected.weights.items():
        np.testing.assert_allclose(actual.weights[key], value, rtol=1e-4, atol=2e-6, err_msg=key)
    lines = [(folder / "metrics.jsonl").read_text().splitlines()[-1] for folder in folders]
    scores, shared = (json.loads(line)["values"] for line in lines)
    assert list(scores)[2:4] == ["mAP", "ma"]
    assert shared == pytest.approx(scores, rel=1e-4)


def test_they_report_what_one_process_does(job, tmp_path):
    alone, shared = tmp_path, job.folder / "shared"
    jobs.evaluate(load_config(job.config_file, [job.trained]), str(alone / "rows.jsonl"), str(alone))
    for name in ("per_class.csv", "confusion_matrix.csv"):
        assert (shared / name).read_text() == (alone / name).read_text()
    numbers, expected = (json.loads((folder / "summary.json").read_text()) for folder in (shared, alone))
    assert numbers == pytest.approx(expected, abs=1e-6)
    pairs = zip(
        (alone / "rows.jsonl").read_text().splitlines(), (shared / "rows.jsonl").read_text().splitlines()
    )
    for one, other in pairs:
        one, other = json.loads(one), json.loads(other)
        assert (one["file_name"], one["class_ids"]) == (other["file_name"], other["class_ids"])
        assert one["scores"] == pytest.approx(other["scores"], abs=1e-6)
    for printed in job.printed:  # Global.log_ranks
        assert len(re.findall(r"\[Eval\]\[Epoch 0\]\[Avg\]", printed["report"])) == 1


def test_a_threshold_is_that_of_all_images(job):
    chosen = read_chosen(job.folder / "two.threshold.json")
    result = jobs.evaluate(load_config(job.config_file, job.two), choose_threshold="tpr@fpr=0.4")
    alone = read_chosen(job.folder / "two.threshold.json")
    assert chosen.measured == alone.measured
    assert chosen.threshold == pytest.approx(alone.threshold, abs=1e-6)
    assert (chosen.measured[0]["positives"], chosen.measured[0]["negatives"]) == (3, 8)
    line = next(line for line in job.printed[0]["two"].splitlines() if "[Avg]" in line)
    assert f"tpr: {result['tpr']:.5f}, fpr: {result['fpr']:.5f}" in line
    assert f"auc: {result['auc']:.5f}" in line


def test_infer_shares_the_images(job):
    rows = json.loads((job.folder / "rows.json").read_text())
    assert [row["file_name"] for row in rows] == sorted(map(str, (job.folder / "new").iterdir()))
    printed = re.findall(r"^\[.*ppcls INFO: (\[\{.*)$", job.printed[0]["infer"], re.M)
    assert printed == [str(rows[index : index + 2]) for index in range(0, 11, 2)]
    assert rows == jobs.infer(load_config(job.config_file, [*job.infer, job.trained]))


def test_they_move_an_older_run(job):
    """Both ranks read the weights before rank 0 moves them."""
    assert job.moved.keys() == job.before.keys() - {".lock"}
    changed = {name for name, content in job.moved.items() if content != job.before[name]}
    assert changed <= {"config.yaml"}
    assert checkpoint.load(job.older / "latest").states["epoch"] == 1
