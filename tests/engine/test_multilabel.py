"""Trainings on tags: any number of them per image, each with a probability of its own."""

import json
import logging
import re

import numpy as np
import pytest
import yaml

import ppcls_light
from ppcls_light import jobs
from ppcls_light.check.configured import splits_of_config
from ppcls_light.check.lists import require_files
from ppcls_light.config import load_config
from ppcls_light.data.classes import ClassNames
from ppcls_light.engine import checkpoint
from ppcls_light.engine.classes import class_names, described_classes
from ppcls_light.engine.distributed import Runtime
from ppcls_light.engine.evaluate import evaluate
from ppcls_light.engine.log import BRIEF
from ppcls_light.engine.range_test import range_test
from ppcls_light.engine.readers import split_images
from ppcls_light.engine.teachers import as_logits
from ppcls_light.engine.trainer import Trainer
from ppcls_light.errors import ConfigError, DataError, WeightsError
from ppcls_light.weights import dump_plain_pickle
from tests.conftest import TAGS

CPU = Runtime("cpu")


def trainer(config_file, *overrides):
    return Trainer(load_config(config_file, list(overrides)), CPU)


def test_weights_of_one_kind_are_not_read_as_the_other(tagged_config, tmp_path):
    output = tmp_path / "output"
    trainer(tagged_config, "Global.epochs=1", "Global.eval_during_train=false").fit()
    one_class = ["Arch.class_num=2", "Infer.PostProcess.class_id_map_file=null"]
    config_file = tagged_config.with_name("config.yaml")
    told = r"latest\.pdstates.* is of a training on tags; use -o Global\.use_multilabel=true"
    with pytest.raises(DataError, match=told):
        class_names(load_config(config_file, one_class), f"{output}/latest")
    dump_plain_pickle(described_classes(ClassNames(TAGS, "x"), multilabel=False), output / "latest.pdstates")
    network = "name: PPLCNet_x0_25, class_num: 2, stride_list: [1, 2, 2, 2, 2]"
    arch = (
        "Arch={name: DistillationModel, class_num: 2, freeze_params_list: [true, false], infer_model_name: Student, "
        f"models: [{{Teacher: {{{network}, pretrained: {output}/latest}}}}, {{Student: {{{network}}}}}]}}"
    )
    pair = "Loss.Train=[{DistillationDMLLoss: {weight: 1, act: sigmoid, model_name_pairs: [[Student, Teacher]]}}]"
    with pytest.raises(DataError, match="on one class per image; give the teacher Teacher weights that were"):
        trainer(tagged_config, arch, pair, f"Global.output_dir={tmp_path}/student")


def write_table(path, lists, order=TAGS):
    """Write a list of numbers as a table whose columns have another order."""
    lines = [line.split("\t") for line in lists.read_text().splitlines()]
    rows = [(name, dict(zip(TAGS, values.split(",")))) for name, values in lines]
    text = [
        ",".join(["path", *order]),
        *(",".join([name, *(tags[tag] for tag in order)]) for name, tags in rows),
    ]
    path.write_text("\n".join(text))
    return path


def test_a_training_learns_the_tags_and_keeps_their_names(tagged_config, tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="ppcls_light")
    config = load_config(tagged_config, ["Global.epochs=3"])
    jobs.train(config)
    output = tmp_path / "output"
    assert checkpoint.load(str(output / "latest")).states["class_names"] == list(TAGS)
    rows = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    scored = [row for row in rows if row["split"] == "eval"]
    assert list(scored[-1]["values"])[:2] == ["MultiLabelLoss", "loss"]
    assert {"mAP", "ma", "instance_f1"} <= set(scored[-1]["values"])
    assert max(row["values"]["mAP"] for row in scored) > 0.9  # two thirds and one third by chance
    best = checkpoint.load(str(output / "best_model")).states
    assert best["best"] == max(row["values"]["mAP"] for row in scored)
    trained = [f"Global.pretrained_model={output}/best_model"]
    again = jobs.evaluate(load_config(tagged_config, trained), predictions=str(tmp_path / "rows.jsonl"))
    assert again["mAP"] == pytest.approx(best["best"], abs=1e-6)
    first = json.loads((tmp_path / "rows.jsonl").read_text().splitlines()[2])
    assert (first["file_name"][-6:], first["label"], first["unknown"]) == ("02.png", [0, 1], [])


def test_a_table_is_numbered_by_the_names_of_the_training(tagged_config, tagged_photos):
    table = write_table(tagged_photos / "val.csv", tagged_photos / "val_tags.txt", TAGS[::-1])
    paths = [f"DataLoader.{split}.dataset.cls_label_path={table}" for split in ("Train", "Eval")]
    names = ClassNames(TAGS, "the training")
    mapped = load_config(tagged_config, paths)
    numbers = split_images(load_config(tagged_config), "Eval", names)[0].labels
    for images, found in (split_images(mapped, "Train"), split_images(mapped, "Eval", names)):
        assert found.names == TAGS
        assert np.array_equal(images.labels, numbers)
    unmapped = load_config(tagged_config, [*paths, "Infer.PostProcess.class_id_map_file=null"])
    images, found = split_images(unmapped, "Train")
    assert found.names == TAGS[::-1]
    assert np.array_equal(images.labels, numbers[:, ::-1])
    with pytest.raises(ConfigError, match=r"cannot be numbered.*class_id_map_file"):
        split_images(unmapped, "Eval")
    missing = load_config(tagged_config, [*paths, "Global.pretrained_model=nowhere/best_model"])
    with pytest.raises(WeightsError, match="no weights file nowhere/best_model"):
        jobs.evaluate(missing, report=str(tagged_photos / "report"))
    assert not (tagged_photos / "report").exists()


def test_a_number_of_tags_that_is_not_class_num_is_named_with_the_fix(tagged_config, tagged_photos):
    lists = tagged_photos / "train_tags.txt"
    lists.write_text("train/00.png\tbright,striped,old\n")
    config = load_config(tagged_config, ["Infer.PostProcess.class_id_map_file=null"])
    with pytest.raises(ConfigError, match=r"3 tags \(bright, old, striped\), but Arch.class_num is 2; use"):
        split_images(config, "Train")


UNKNOWN = "train/00.png\t-1,0\ntrain/01.png\t1,-1\n"
EVERYTHING = [
    "Global.epochs=2",
    "Global.update_freq=2",
    "Global.eval_during_train=false",
    "EMA={decay: 0.9}",
    "Loss.Train=[{MultiLabelLoss: {weight: 1, weight_ratio: true, size_sum: true}}]",
    "DataLoader.Train.dataset.batch_transform_ops=[{OpSampler: {MixupOperator: {alpha: 0.2, prob: 0.5}, "
    "MixupCutmixHybrid: {cutmix_alpha: 1.0, prob: 0.5}}}]",
]


def test_a_resumed_training_is_the_undisturbed_one(tagged_config, tagged_photos, tmp_path, stop_after):
    with open(tagged_photos / "train_tags.txt", "a") as lists:
        lists.write(UNKNOWN)
    whole, halves = (f"Global.output_dir={tmp_path / name}" for name in ("whole", "halves"))
    trainer(tagged_config, *EVERYTHING, whole).fit()
    stop_after(trainer(tagged_config, *EVERYTHING, halves), 5)
    trainer(tagged_config, *EVERYTHING, halves, "Global.checkpoints=auto").fit()
    expected, actual = (checkpoint.load(tmp_path / name / "latest") for name in ("whole", "halves"))
    assert expected.states["step"] == actual.states["step"] == 8
    for weights, others in ((expected.weights, actual.weights), (expected.trained, actual.trained)):
        assert all(np.array_equal(weights[key], others[key]) for key in weights)


def first_step(run):
    """Return the first batch, and the losses of a step with it."""
    run.model.train()
    batch = next(run.reader.loader.epoch(0))
    return batch, run.train_step(batch)[-1]


def test_rare_tags_weigh_by_the_shares_of_the_training_list(tagged_config, tagged_photos):
    with open(tagged_photos / "train_tags.txt", "a") as lists:
        lists.write(UNKNOWN)
    run = trainer(tagged_config, "Loss.Train=[{MultiLabelLoss: {weight: 1, weight_ratio: true}}]")
    run.model.train()
    batch = next(run.reader.loader.epoch(0))
    logits, _, losses = run.train_step(batch)
    shares = np.array(
        [18 / 27, 8 / 27]
    )  # 9 bright and 8 striped of 26, and of those beside them that are known
    has = batch.labels == 1
    weights = np.where(has, np.exp(1 - shares), np.exp(shares)) * (batch.labels >= 0)
    entropies = np.log1p(np.exp(np.where(has, -logits.numpy(), logits.numpy())))
    assert batch.labels.dtype == np.float32
    assert float(losses["loss"]) == pytest.approx((weights * entropies).mean(), rel=1e-5)


@pytest.mark.parametrize(
    "overrides",
    [["Global.to_static=true"], ["AMP={level: O2, dtype: bfloat16}"], ["AMP={use_promote: true}"]],
)
def test_compiled_graphs_and_mixed_precision_learn_the_same(tagged_config, overrides):
    (_, plain), (_, other) = (first_step(trainer(tagged_config, *given)) for given in ([], overrides))
    assert float(other["loss"]) == pytest.approx(float(plain["loss"]), rel=1e-4)


def test_the_shares_of_an_evaluation_are_those_of_its_list(tagged_config):
    config = load_config(tagged_config, ["Loss.Eval=[{MultiLabelLoss: {weight: 1, weight_ratio: true}}]"])
    run, logits = Trainer(config, CPU), {}
    result = evaluate(
        run.model,
        run.eval_reader,
        config,
        CPU,
        on_batch=lambda places, rows: logits.update(zip(places, rows)),
    )
    tags = run.eval_reader.images.labels
    rows, shares = np.stack([logits[place] for place in range(11)]), np.array([7 / 11, 3 / 11])
    entropies = np.log1p(np.exp(np.where(tags == 1, -rows, rows)))
    weights = np.where(tags == 1, np.exp(1 - shares), np.exp(shares))
    assert result["loss"] == pytest.approx((weights * entropies).mean(), rel=1e-5)


def test_quantized_and_pruned_networks_learn_tags(tagged_config, tmp_path):
    run = trainer(tagged_config, "Global.epochs=1", "Global.eval_during_train=false")
    run.fit()
    trained = f"Global.pretrained_model={tmp_path}/output/latest"
    for slim in ("Slim.quant={name: pact}", "Slim.prune={name: fpgm, pruned_ratio: 0.3}"):
        assert float(first_step(trainer(tagged_config, trained, slim))[1]["loss"]) > 0


def test_the_rate_is_searched_against_the_loss_of_guessing(tagged_config):
    summed = "Loss.Train=[{MultiLabelLoss: {weight: 1, size_sum: true}}]"
    test = range_test(load_config(tagged_config, [summed]), CPU, steps=20)
    assert test.chance == pytest.approx(2 * np.log(2))
    assert len(test.losses) > 0


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("DataLoader.Train.sampler.balanced=true", "sampler.balanced: an image has any number of tags"),
        ("DataLoader.Train.dataset.unlabelled=photos", "unlabelled: not with MultiLabelDataset"),
        ("DataLoader.Train.dataset.cls_label_path=null", "reads the tags of its images from a list"),
        (
            "DataLoader.Train.dataset.name=ImageNetDataset",
            "use MultiLabelDataset, or -o Global.use_multilabel=false",
        ),
        ("Loss.Train=[{CELoss: {weight: 1, class_weights: balanced}}]", "use MultiLabelLoss"),
        ("Metric.Eval=[{TopkAcc: {}}]", "use ATTRMetric or MultiLabelMAP"),
        ("Metric.Train=[{MultiLabelMAP: {}}]", "write it under Eval"),
        ("Global.use_multilabel=false", "-o Global.use_multilabel=true"),
        (
            "Loss.Train=[{DistillationGTCELoss: {weight: 1, model_names: [A]}}]",
            "use DistillationMultiLabelLoss",
        ),
        (
            "Loss.Train=[{DistillationKLDivLoss: {weight: 1, model_name_pairs: [[A, B]]}}]",
            "use DistillationDMLLoss: {act: sigmoid}",
        ),
    ],
)
def test_what_is_for_one_class_per_image_is_refused_with_its_fix(tagged_config, override, told):
    with pytest.raises(ConfigError) as error:
        load_config(tagged_config, [override])
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_no_classifier_is_fitted_for_tags(tagged_config, tmp_path):
    with pytest.raises(ConfigError, match="fitted for one class per image"):
        jobs.fit_teacher(load_config(tagged_config), str(tmp_path / "teacher"))


def test_probabilities_of_a_graph_become_the_logits_of_its_tags():
    logits = np.array([[-2.0, 0.5], [3.0, -0.1]])
    found = 1 / (1 + np.exp(-logits))
    np.testing.assert_allclose(as_logits(found, 2, "T", multilabel=True)(found), logits, rtol=1e-6)
    assert as_logits(logits, 2, "T", multilabel=True)(logits) is logits


def test_tags_that_no_image_has_or_all_have_are_warned_of(tagged_config, tagged_photos, caplog):
    (tagged_photos / "train_tags.txt").write_text("train/00.png\t1,0\ntrain/01.png\t1,0\n" * 2)
    trainer(tagged_config)
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    for told in (
        "DataLoader.Train has no image of 1 of the 2 tags (label 1 'striped')",
        "DataLoader.Train has no image without 1 of the 2 tags (label 0 'bright')",
        "DataLoader.Eval has 3 images of tags that DataLoader.Train never shows (label 1 'striped')",
    ):
        assert any(message.startswith(told) for message in warned), (told, warned)


def test_data_are_checked_by_combinations_of_tags(tagged_config, tagged_photos):
    with open(tagged_photos / "train_tags.txt", "a") as lists:
        lists.write(UNKNOWN)
    splits = splits_of_config(load_config(tagged_config))
    named = {"no tag", "bright", "bright, striped", "bright (not known)", "bright, striped (not known)"}
    assert set(splits.class_names) == named
    by_name = dict(zip(splits.class_names, splits.counts().tolist()))
    assert by_name["bright, striped"] == [8, 3]
    with pytest.raises(ConfigError, match="lists of tags are not written anew"):
        require_files(splits)


def test_python_trains_and_reads_the_run(tagged_config, tmp_path, capsys):
    run = ppcls_light.train(load_config(tagged_config, ["Global.epochs=1", "Global.print_batch_step=100"]))
    assert "best mAP 0." in repr(run)
    assert run.config.multilabel


def test_the_tools_train_and_evaluate(run_tool, tagged_config, tmp_path, capsys):
    settings = ["-c", tagged_config, "-o", "Global.epochs=1"]
    run_tool("train", *settings, "--dry-run")
    assert "dry run: everything works" in capsys.readouterr().out
    run_tool("train", *settings)
    trained = f"Global.pretrained_model={tmp_path}/output/best_model"
    run_tool("eval", "-c", tagged_config, "-o", trained)
    line = capsys.readouterr().out.splitlines()[-1]
    assert "[Eval][Epoch 0][Avg]MultiLabelLoss: " in line
    assert ", mAP: 0." in line


def test_the_page_has_a_config_that_loads(root):
    page = (root / "docs/multilabel.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    config = load_config(yaml.safe_load(block))
    assert config.multilabel
    assert config.Metric.best == "mAP"


def test_a_brief_console_shows_the_metric_that_picks(tagged_config, caplog):
    caplog.set_level(BRIEF, logger="ppcls_light")
    trainer(tagged_config, "Global.epochs=1").fit()
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == BRIEF]
    assert re.fullmatch(r"epoch 1 of 1: train loss [0-9.]+; val loss [0-9.]+, mAP [0-9.]+%", line)
