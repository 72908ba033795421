"""The four jobs one after another: what they log, what they leave, and that they agree on every image."""

import dataclasses
import json
import os
import re

import numpy as np
import pytest
import yaml

from ppcls_light import Config, Predictor, jobs
from ppcls_light.config import load_config
from ppcls_light.errors import ConfigError, DataError, WeightsError
from ppcls_light.weights import read_weights

STAMP = r"\[\d{4}/\d\d/\d\d \d\d:\d\d:\d\d\] ppcls INFO: "
VALUES = r"(?:\w+: \d+\.\d{5}, )*\w+: \d+\.\d{5}"


@pytest.fixture
def trained(config_file):
    """Overrides that name the weights of a finished short training run."""
    jobs.train(load_config(config_file, ["Global.epochs=2"]))
    return ["Global.checkpoints=auto"]


def test_eval_infer_export_and_serving_agree_on_every_image(config_file, tmp_path, photos, trained, capsys):
    config = load_config(
        config_file, [*trained, f"Infer.save_dir={tmp_path}/rows", "Infer.PostProcess.topk=3"]
    )
    jobs.evaluate(config, predictions=str(tmp_path / "eval.jsonl"))
    inferred = jobs.infer(config)
    report = jobs.export(config)
    assert "| operator |" not in capsys.readouterr().out
    scored = [json.loads(line) for line in (tmp_path / "eval.jsonl").read_text().splitlines()]
    served = Predictor(report.folder).predict([row["file_name"] for row in scored])
    assert json.loads((tmp_path / "rows.json").read_text()) == inferred
    assert [row["file_name"] for row in scored] == [row["file_name"] for row in inferred]
    assert len(scored) == 11
    for rows in zip(scored, inferred, served):
        assert len({row["class_ids"][0] for row in rows}) == 1
        by_class = [dict(zip(row["class_ids"], row["scores"])) for row in rows]
        table = np.array([[scores[label] for label in range(3)] for scores in by_class])
        assert np.ptp(table, axis=0).max() <= 2e-5  # rows are rounded to 5 decimals
    assert served[0]["label_names"] == [
        ("dark", "bright", "striped")[label] for label in served[0]["class_ids"]
    ]
    assert report.source == "given"
    assert report.images == 11


def test_a_score_of_the_learned_images_is_said_to_be_one(config_file, photos, tmp_path, trained):
    def warnings(*options):
        jobs.evaluate(load_config(config_file, [*trained, *options]))
        return (
            (tmp_path / "output/eval.log")
            .read_text()
            .count("DataLoader.Eval has the images of DataLoader.Train")
        )

    assert warnings() == 0
    assert warnings(f"DataLoader.Eval.dataset.cls_label_path={photos}/train_list.txt") == 1


def test_log_lines_are_paddleclas_lines(config_file, tmp_path, capsys, trained):
    jobs.evaluate(load_config(config_file, trained))
    jobs.export(load_config(config_file, trained), operators=True)
    lines = capsys.readouterr().out.splitlines()
    for pattern in (
        STAMP
        + r"\[Train\]\[Epoch 1/2\]\[Iter: 0/6\]lr\(LinearWarmup\): 0\.00000000, top1: \d\.\d{5}, top2: \d\.\d{5}, "
        r"CELoss: \d\.\d{5}, loss: \d\.\d{5}, batch_cost: \d+\.\d{5}s, reader_cost: \d+\.\d{5}, "
        r"ips: \d+\.\d{5} samples/s, eta: \d+:\d\d:\d\d, data wait: \d+%",
        STAMP + r"\[Train\]\[Epoch 1/2\]\[Avg\]" + VALUES,
        STAMP + r"\[Eval\]\[Epoch 1\]\[Iter: 0/3\]" + VALUES + r", batch_cost: \d+\.\d{5}s, reader_cost: "
        r"\d+\.\d{5}, ips: \d+\.\d{5} images/sec",
        STAMP
        + r"\[Eval\]\[Epoch 1\]\[Avg\]CELoss: \d+\.\d{5}, loss: \d+\.\d{5}, top1: \d\.\d{5}, top2: \d\.\d{5}",
        STAMP + r"\[Eval\]\[Epoch 2\]\[best metric: \d\.\d+\]",
        STAMP + re.escape(f"Already save model in {tmp_path}/output/best_model"),
        STAMP + r"\[Eval\]\[Epoch 0\]\[Avg\]" + VALUES,
        STAMP + re.escape(f"Finish load pretrained model from {tmp_path}/output/best_model"),
        STAMP
        + re.escape(
            f'Export succeeded! The inference model exported has been saved in "{tmp_path}/inference/inference".'
        ),
        re.escape("| operator | as trained | exported |"),
    ):
        assert any(re.fullmatch(pattern, line) for line in lines), pattern
    log = (tmp_path / "output/train.log").read_text().splitlines()
    assert [line for line in log if "[Train]" in line] == [line for line in lines if "[Train]" in line]


def test_training_leaves_paddleclas_files(tmp_path, trained):
    names = {path.name for path in (tmp_path / "output").iterdir()}
    checkpoints = {f"{name}{end}" for name in ("best_model", "latest", "epoch_1", "epoch_2")
                   for end in (".pdparams", ".pdopt", ".pdstates")}  # fmt: skip
    assert names == {*checkpoints, "train.log", "config.yaml", "metrics.jsonl", ".lock"}


def test_folders_of_class_folders_need_no_list(config_file, photos, tmp_path):
    root = tmp_path / "by_class"
    for split in ("train", "val"):
        for line in (photos / f"{split}_list.txt").read_text().splitlines():
            name, label = line.split()
            folder = root / split / f"class_{label}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name.split("/")[1]).write_bytes((photos / name).read_bytes())
    overrides = ["Global.epochs=1", "Infer.PostProcess.class_id_map_file=null"]
    for section, split in (("Train", "train"), ("Eval", "val")):
        overrides += [f"DataLoader.{section}.dataset.cls_label_path=null",
                      f"DataLoader.{section}.dataset.image_root={root}/{split}"]  # fmt: skip
    jobs.train(load_config(config_file, overrides))
    jobs.export(load_config(config_file, [*overrides, "Global.checkpoints=auto"]))
    assert list(Predictor(tmp_path / "inference").bundle.class_names) == ["class_0", "class_1", "class_2"]


def test_fine_tuning_replaces_the_head_only_when_asked(config_file, tmp_path, trained, caplog):
    weights = tmp_path / "output/best_model.pdparams"
    other = ["Arch.class_num=5", "Global.epochs=1", f"Global.output_dir={tmp_path}/tuned",
             "Infer.PostProcess.class_id_map_file=null"]  # fmt: skip
    with pytest.raises(WeightsError, match=r"weights have 3 classes, Arch.class_num is 5.*reset_head=true"):
        jobs.train(load_config(config_file, [*other, f"Global.pretrained_model={weights}"]))
    jobs.train(
        load_config(config_file, [*other, f"Global.pretrained_model={weights}", "Global.reset_head=true"])
    )
    jobs.train(load_config(config_file, [*other, f"Arch.pretrained={weights}", "Global.overwrite=true"]))
    for log in ("tuned/train.log", "tuned/previous_1/train.log"):
        assert (tmp_path / log).read_text().count("starts anew") == 1


@pytest.mark.parametrize("timer_only", [True, False])
def test_the_profiler_stops_after_its_range(config_file, tmp_path, capsys, monkeypatch, timer_only):
    monkeypatch.chdir(tmp_path)
    options = f"batch_range=[1,3];timer_only={timer_only};profile_path={tmp_path}/trace"
    with pytest.raises(SystemExit) as stop:
        jobs.train(load_config(config_file), profiler_options=options)
    assert stop.value.code == 0
    assert "ips" in capsys.readouterr().out
    assert (tmp_path / "trace").exists() != timer_only
    assert not (tmp_path / "profiler_log").exists()
    assert not (tmp_path / "output/latest.pdparams").exists()


def test_results_are_of_the_trained_weights_even_when_the_config_names_those_it_began_with(
    config_file, tmp_path, trained
):
    start = tmp_path / "output/best_model"
    jobs.train(
        load_config(
            config_file,
            [f"Global.pretrained_model={start}", "Global.reset_head=true", "Global.epochs=1",
             f"Global.output_dir={tmp_path}/tuned"],
        )
    )  # fmt: skip
    tuned = tmp_path / "tuned/config.yaml"
    log = tmp_path / "tuned/eval.log"
    jobs.evaluate(load_config(tuned, ["Global.checkpoints=auto"]))
    assert any(line.endswith(f"from {tmp_path}/tuned/best_model") for line in log.read_text().splitlines())
    jobs.evaluate(load_config(tuned, [f"Global.pretrained_model={tmp_path}/tuned/epoch_1"]))
    assert f"from {tmp_path}/tuned/epoch_1" in log.read_text()
    both = tmp_path / "both.yaml"
    both.write_text(tuned.read_text().replace("checkpoints: null", "checkpoints: auto"))
    with pytest.raises(ConfigError, match=r"both given.*-o Global.checkpoints=null"):
        jobs.evaluate(load_config(both))
    jobs.evaluate(load_config(both, [f"Global.pretrained_model={tmp_path}/tuned/latest"]))
    assert f"from {tmp_path}/tuned/latest" in log.read_text()


@pytest.mark.parametrize("job", [jobs.evaluate, jobs.infer, jobs.export])
@pytest.mark.parametrize("key", ["Global.reset_head=true -o Global.pretrained_model", "Arch.pretrained"])
def test_a_new_head_is_never_scored_classified_with_or_exported(config_file, tmp_path, trained, job, key):
    *flags, key = key.split(" -o ")
    config = load_config(
        config_file,
        [
            *flags,
            f"{key}={tmp_path}/output/best_model",
            "Arch.class_num=5",
            "Infer.PostProcess.class_id_map_file=null",
        ],
    )
    with pytest.raises(WeightsError, match=r"weights have 3 classes, Arch.class_num is 5"):
        job(config)
    assert not (tmp_path / "inference").exists()


def test_a_dry_run_tries_the_resume_and_changes_nothing(config_file, tmp_path, trained, capsys):
    before = {path: path.read_bytes() for path in (tmp_path / "output").iterdir()}
    jobs.dry_run(load_config(config_file, [*trained, "Global.epochs=2"]))
    assert f"Finish load checkpoints from {tmp_path}/output/" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in (tmp_path / "output").iterdir()} == before
    with pytest.raises(ConfigError, match=r"Global\.resume_schedule=new"):
        jobs.dry_run(load_config(config_file, [*trained, "Global.epochs=9"]))


def test_a_profile_that_the_run_is_too_short_for_is_said(config_file, capsys):
    jobs.train(load_config(config_file, ["Global.epochs=1"]), profiler_options="batch_range=[2,40]")
    assert "the run had 6 steps" in capsys.readouterr().out


def test_infer_list_takes_paths_and_labelled_lists(config_file, photos, trained):
    (photos / "some words 7.png").write_bytes((photos / "val/00.png").read_bytes())
    (photos / "list.txt").write_text("val/00.png 0\nval/01.png\nsome words 7.png\n")
    config = load_config(
        config_file, [*trained, f"Infer.infer_imgs={photos}", f"Infer.infer_list={photos}/list.txt"]
    )
    rows = jobs.infer(config)
    expected = ["val/00.png", "val/01.png", "some words 7.png"]
    assert [row["file_name"] for row in rows] == [f"{photos}/{name}" for name in expected]
    assert not any("error" in row for row in rows)


def test_files_that_infer_leaves_out_are_named(config_file, photos, trained, capsys):
    (photos / "val/notes.txt").write_text("no image")
    (photos / "val/00.png").rename(photos / "val/00")
    rows = jobs.infer(load_config(config_file, trained))
    assert len(rows) == 11
    assert f"{photos}/val: left out 1 file that is no image (.txt; notes.txt)" in capsys.readouterr().out


def test_a_file_name_of_broken_bytes_is_a_row_like_any_other(config_file, photos, tmp_path, trained):
    name = os.fsdecode(b"bad\xff.png")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / name).write_bytes((photos / "val/00.png").read_bytes())
    config = load_config(
        config_file, [*trained, f"Infer.infer_imgs={tmp_path}/odd", f"Infer.save_dir={tmp_path}/rows"]
    )
    rows = jobs.infer(config)
    assert json.loads((tmp_path / "rows.json").read_text(encoding="utf-8")) == rows
    assert rows[0]["file_name"] == f"{tmp_path}/odd/{name}"


def test_a_dict_and_a_config_built_in_python_do_what_the_file_does(config_file, tmp_path, photos):
    """The two of them, trained for an epoch, have the same weights bit for bit; eval and export take them, too."""
    sections = yaml.safe_load(config_file.read_text())
    sections["Global"].update(epochs=1, output_dir=tmp_path / "from_dict")
    jobs.train(sections)
    read = load_config(config_file, ["Global.epochs=1", f"Global.output_dir={tmp_path}/from_config"])
    built = Config(**{field.name: getattr(read, field.name) for field in dataclasses.fields(Config)})
    assert built.where("Global.epochs") == ""
    jobs.train(built)
    jobs.train(load_config(config_file, ["Global.epochs=1", f"Global.output_dir={tmp_path}/from_file"]))
    weights = [read_weights(tmp_path / f"from_{kind}/latest.pdparams") for kind in ("dict", "config", "file")]
    for other in weights[1:]:
        assert other.keys() == weights[0].keys()
        assert all(np.array_equal(value, other[key]) for key, value in weights[0].items())
    sections["Global"]["checkpoints"] = "auto"
    built.Global.checkpoints = "auto"
    assert jobs.evaluate(sections) == jobs.evaluate(built)
    rows = jobs.infer(sections)
    jobs.export(built)
    served = Predictor(tmp_path / "inference").predict([row["file_name"] for row in rows])
    assert [row["class_ids"] for row in served] == [row["class_ids"] for row in rows]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "Global.epochs: expected a whole number >= 1, got 0; for example epochs: 10"),
        ({"epoch": 3}, "unknown key Global.epoch; did you mean 'epochs'?"),
        ({"class_num": 4}, "Global.class_num 4 is not Arch.class_num 3; keep Arch.class_num"),
    ],
)
def test_errors_of_a_dict_name_the_key_alone(config_file, change, message):
    sections = yaml.safe_load(config_file.read_text())
    sections["Global"].update(change)
    with pytest.raises(ConfigError) as caught:
        jobs.train(sections)
    assert str(caught.value) == message


def test_errors_of_what_a_config_refers_to_name_the_key_alone(config_file, tmp_path):
    read = load_config(config_file, [f"Global.output_dir={tmp_path}/here"])
    built = dataclasses.replace(read)
    built.DataLoader.Train.dataset.cls_label_path = f"{tmp_path}/none.txt"
    with pytest.raises(DataError, match=f"^DataLoader.Train.dataset: {tmp_path}/none.txt: "):
        jobs.train(built)
    built.Global.epochs = "many"
    with pytest.raises(
        ConfigError, match=r"^Global.epochs: expected a whole number, got 'many'; for example"
    ):
        jobs.train(built)


def test_an_export_has_the_size_that_images_have(config_file, tmp_path, trained, capsys):
    jobs.export(load_config(config_file, [*trained, "Global.image_shape=[3, 64, 48]"]))
    assert (
        "Global.image_shape is [3, 64, 48], and the transforms give images of [3, 32, 32]"
        in capsys.readouterr().out
    )
    assert list(Predictor(tmp_path / "inference").bundle.image_shape) == [3, 32, 32]
