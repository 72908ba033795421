"""Runs in one output folder: none replaces another, and going on stays on its way."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
import yaml

from ppcls_light import jobs
from ppcls_light.config import load_config
from ppcls_light.engine import checkpoint, output_folder
from ppcls_light.engine.distributed import Runtime
from ppcls_light.engine.trainer import Trainer
from ppcls_light.errors import ConfigError, UserError
from ppcls_light.report.curves import read_runs
from ppcls_light.weights import dump_plain_pickle, read_weights

CPU = Runtime("cpu")
HOLD = """
import sys
from ppcls_light.engine.lock import sole_run
with sole_run(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""
WAYS = r"-o Global\.checkpoints=auto.*-o Global\.output_dir=FOLDER.*-o Global\.overwrite=true"


def train(config_file, *overrides):
    jobs.train(load_config(config_file, ["Global.epochs=1", *overrides]))


def contents(folder):
    """Return {relative path: (bytes, time of the last change)} of all files below `folder` but the lock."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def bytes_of(folder):
    return {name: content for name, (content, _) in contents(folder).items()}


@pytest.fixture
def output(tmp_path, config_file):
    """The folder of a finished run of one epoch."""
    train(config_file)
    return tmp_path / "output"


def test_a_second_run_is_refused_and_leaves_the_folder_as_it_was(config_file, tmp_path, output):
    before = contents(output)
    with pytest.raises(ConfigError, match=WAYS):
        train(config_file, "Global.seed=1")
    assert contents(output) == before
    with pytest.raises(ConfigError, match=WAYS):
        Trainer(load_config(config_file, ["Global.seed=1"]), CPU).fit()
    assert contents(output) == before
    # From elsewhere it would be another run, too.
    train(config_file, f"Global.output_dir={tmp_path}/other")
    resumes = [f"Global.checkpoints={tmp_path}/other/latest", "Global.epochs=2", "Global.resume_schedule=new"]
    with pytest.raises(ConfigError, match=WAYS):
        train(config_file, *resumes)
    assert contents(output) == before
    jobs.dry_run(load_config(config_file, ["Global.seed=1"]))
    assert contents(output) == before


@pytest.mark.parametrize(
    "name",
    ["best_model.pdparams", "latest.pdstates", "epoch_3.pdparams", "latest.pdparams.new", "best_model.pdstates.new",
     "best_model_student.pdparams"],
)  # fmt: skip
def test_any_part_of_a_run_is_a_run(config_file, tmp_path, name):
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / name).write_bytes(b"something")
    with pytest.raises(ConfigError, match=rf"output holds a run \({name.split('.')[0]}\)"):
        train(config_file)
    assert [path.name for path in (tmp_path / "output").iterdir()] == [name]  # not even a lock file


def test_other_files_are_no_run(config_file, tmp_path):
    (tmp_path / "output").mkdir()
    for name in ("PPLCNet_x0_25_pretrained.pdparams", "my_latest.pdparams", "notes.txt", "best_model.onnx"):
        (tmp_path / "output" / name).write_bytes(b"something")
    train(config_file)
    assert (tmp_path / "output/notes.txt").read_bytes() == b"something"


def test_overwrite_moves_the_whole_run_and_nothing_else(config_file, tmp_path, output, capsys):
    own = ("eval.log", "curves.png", "vdl/records.log", "tensorboard/events", "wandb/run", "wandb_run.txt")
    for name in (*own, "notes.txt", "inference/inference.json"):
        (output / name).parent.mkdir(exist_ok=True)
        (output / name).write_text(name)
    before = bytes_of(output)
    train(config_file, "Global.overwrite=true", "Global.seed=1")
    moved = bytes_of(output / "previous_1")
    config = moved["config.yaml"].decode()
    moved["config.yaml"] = config.replace(
        f"output_dir: {output}/previous_1\n", f"output_dir: {output}\n"
    ).encode()
    stay = {".lock", "notes.txt", "inference/inference.json"}
    assert moved == {name: content for name, content in before.items() if name not in stay}
    assert (output / "notes.txt").read_text() == "notes.txt"
    assert (output / "inference/inference.json").exists()
    line = rf"the run that was in {output} is in {output}/previous_1 now"
    assert len(re.findall(line, capsys.readouterr().out)) == 1
    log = (output / "train.log").read_text()
    assert line in log
    assert log.index("CPU operators") < log.index(line)  # with the lines from before there was room
    second = bytes_of(output)["best_model.pdparams"]
    train(config_file, "Global.overwrite=true", "Global.seed=2")
    assert bytes_of(output / "previous_1") == {**moved, "config.yaml": config.encode()}
    assert bytes_of(output / "previous_2")["best_model.pdparams"] == second


def test_a_run_that_moved_evaluates_and_goes_on_by_itself(config_file, output, capsys):
    train(config_file, "Global.overwrite=true")
    now = bytes_of(output)["best_model.pdparams"]
    capsys.readouterr()
    jobs.evaluate(load_config(output / "previous_1/config.yaml", ["Global.checkpoints=auto"]))
    assert f"load pretrained model from {output}/previous_1/best_model" in capsys.readouterr().out
    longer = ["Global.epochs=2", "Global.resume_schedule=new", "Global.checkpoints=auto"]
    jobs.train(load_config(output / "previous_1/config.yaml", longer))
    assert checkpoint.load(output / "previous_1/latest").states["epoch"] == 2
    assert bytes_of(output)["best_model.pdparams"] == now


def test_every_file_of_a_run_is_known(config_file, tmp_path):
    loggers = []
    for name, package in (("visualdl", "visualdl"), ("tensorboard", "tensorboardX")):
        try:
            __import__(package)
        except ImportError:
            continue
        loggers.append(name)
    everything = ["Global.save_steps=2", "EMA.decay=0.9", f"Global.loggers=[{','.join(loggers)}]"]
    train(config_file, *everything)
    jobs.evaluate(load_config(config_file, ["Global.checkpoints=auto"]))
    jobs.infer(load_config(config_file, ["Global.checkpoints=auto"]))
    jobs.export(load_config(config_file, ["Global.checkpoints=auto"]))
    settings = load_config(config_file, ["Global.overwrite=true"]).Global
    output_folder.make_room(settings)
    assert sorted(os.listdir(tmp_path / "output")) == [".lock", "previous_1"]


def test_overwrite_is_about_one_start_not_about_the_run(config_file, tmp_path, output):
    train(config_file, "Global.overwrite=true")
    written = yaml.safe_load((output / "config.yaml").read_text())
    assert written["Global"]["overwrite"] is False
    with pytest.raises(ConfigError, match=WAYS):
        jobs.train(load_config(output / "config.yaml"))
    longer = [
        "Global.epochs=2",
        "Global.resume_schedule=new",
        "Global.checkpoints=auto",
        "Global.overwrite=true",
    ]
    train(config_file, *longer)
    assert sorted(path.name for path in output.glob("previous_*")) == ["previous_1"]
    assert checkpoint.load(output / "latest").states["epoch"] == 2


def test_nothing_is_moved_for_a_run_that_does_not_begin(config_file, photos, output):
    before = bytes_of(output)
    (photos / "train_list.txt").write_text("nothing/here.png 7\n")
    with pytest.raises(UserError):
        train(config_file, "Global.overwrite=true")
    assert bytes_of(output) == before


@pytest.mark.parametrize("key", ["Global.pretrained_model", "Arch.pretrained"])
def test_a_run_may_start_from_the_weights_that_it_moves(config_file, tmp_path, output, key):
    start = read_weights(output / "best_model")
    rate = "Optimizer.lr={name: ConstLR, learning_rate: 1e-12}"
    with pytest.raises(ConfigError, match=WAYS):
        train(config_file, f"{key}={output}/best_model")
    train(config_file, f"{key}={output}/best_model", "Global.overwrite=true", rate)
    trained = {name: value for name, value in read_weights(output / "latest").items() if "bn" not in name}
    assert all(np.allclose(value, start[name], atol=1e-6) for name, value in trained.items())
    config = load_config(output / "config.yaml")
    section, field = key.split(".")
    assert getattr(getattr(config, section), field) == f"{output}/previous_1/best_model"
    # Who goes on with the first command, whose path now means another model, gets what the checkpoint holds.
    (output / "best_model.pdparams").unlink()
    train(config_file, f"{key}={output}/best_model", rate, "Global.checkpoints=auto")


def test_a_teacher_in_the_same_folder_is_found(config_file, tmp_path, output):
    content = yaml.safe_load(config_file.read_text())
    arch = content["Arch"]
    content["Arch"] = {
        "name": "DistillationModel",
        "models": [{"Teacher": dict(arch)}, {"Student": dict(arch)}],
        "freeze_params_list": [True, False],
        "pretrained_list": [f"{output}/best_model.pdparams", None],
    }
    content["Loss"]["Train"] = [
        {"DistillationCELoss": {"weight": 1.0, "model_name_pairs": [["Student", "Teacher"]]}}
    ]
    content["Metric"]["Train"] = content["Metric"]["Eval"]
    taught = tmp_path / "taught.yaml"
    taught.write_text(yaml.safe_dump(content, sort_keys=False))
    train(taught, "Global.overwrite=true")
    kept = load_config(output / "config.yaml").Arch.pretrained_list[0]
    assert kept == f"{output}/previous_1/best_model.pdparams"
    longer = ["Global.epochs=2", "Global.checkpoints=auto", "Global.resume_schedule=new"]
    train(taught, *longer)  # the path in this file is a student's checkpoint by now
    train(taught, "Global.overwrite=true", f"Arch.pretrained_list=['{kept}', null]")
    assert (output / "previous_2/best_model_student.pdparams").is_file()


def test_going_back_to_an_epoch_keeps_what_was_ahead(config_file, output, capsys):
    four = ["Global.epochs=4", "Global.resume_schedule=new"]
    train(config_file, *four, "Global.checkpoints=auto")
    best = checkpoint.load(output / "latest").states["best"]
    ahead = {name: content for name, content in bytes_of(output).items() if "epoch_1" not in name}
    rows = read_runs([output])[0].rows
    train(config_file, *four, f"Global.checkpoints={output}/epoch_1", "Optimizer.lr.learning_rate=0.01")
    kept = [folder for folder in (output, output / "previous_1") if (folder / "best_model.pdparams").exists()]
    moved = bytes_of(output / "previous_1")
    for name in ("latest", "epoch_3"):
        for suffix in (".pdparams", ".pdopt", ".pdstates"):
            assert moved[name + suffix] == ahead[name + suffix]
    assert read_runs([output / "previous_1"])[0].rows == rows
    bests = {checkpoint.load(folder / "best_model").states["best"] for folder in kept}
    assert best in bests
    assert f"checkpoints ahead of {output}/epoch_1" in capsys.readouterr().out
    # The way that was left is not gone on with.
    assert checkpoint.find_latest(output).states["schedule"]["lr"]["learning_rate"] == 0.01


def test_going_on_from_the_newest_moves_nothing(config_file, output):
    longer = ["Global.epochs=2", "Global.resume_schedule=new"]
    train(config_file, *longer, f"Global.checkpoints={output}/../output/latest.pdparams")
    assert not list(output.glob("previous_*"))


@pytest.mark.parametrize("kind", ["damaged", "weights alone", "PaddleClas'"])
def test_auto_does_not_start_anew_over_what_it_cannot_read(config_file, output, kind):
    for path in output.glob("*.pd*"):
        if kind == "damaged" and path.suffix == ".pdopt":
            path.write_bytes(path.read_bytes()[:-5])
        if kind == "weights alone" and path.name != "best_model.pdparams":
            path.unlink()
        if kind == "PaddleClas'" and path.suffix == ".pdstates":
            dump_plain_pickle({"epoch": 3, "metric": 0.5}, str(path))
    before = bytes_of(output)
    with pytest.raises(
        ConfigError, match=r"no checkpoint can be resumed.*Global\.overwrite=true.*pretrained_model="
    ):
        train(config_file, "Global.checkpoints=auto")
    assert bytes_of(output) == before
    train(config_file, "Global.checkpoints=auto", "Global.overwrite=true")
    moved = bytes_of(output / "previous_1")
    assert all(moved[name] == content for name, content in before.items() if ".pd" in name)


def test_a_first_save_that_was_cut_off_is_nothing_to_auto(config_file, tmp_path):
    (tmp_path / "output").mkdir()
    (tmp_path / "output/latest.pdparams.new").write_bytes(b"half")
    train(config_file, "Global.checkpoints=auto")
    assert not list((tmp_path / "output").glob("previous_*"))


def test_a_crash_between_the_renames_loses_nothing(config_file, output, monkeypatch):
    before = {name: content for name, content in bytes_of(output).items() if name != ".lock"}
    settings = load_config(config_file, ["Global.overwrite=true"]).Global
    rename = os.rename
    for dies_at in range(len(before)):
        left = [dies_at]

        def die(source, target, left=left):
            if not left[0]:
                raise SystemExit
            left[0] -= 1
            rename(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(os, "rename", die)
            with pytest.raises(SystemExit):
                output_folder.make_room(settings)
        found = {}
        for path, content in bytes_of(output).items():
            found.setdefault(os.path.basename(path), []).append(content)
        assert {name: [content] for name, content in before.items()} == {
            name: content for name, content in found.items() if name != ".lock"
        }
        with pytest.raises(ConfigError, match="holds a run"):  # until the last file has gone
            output_folder.require_room(load_config(config_file).Global)
        for folder in output.glob("previous_*"):
            for path in folder.iterdir():
                rename(path, output / path.name)
            folder.rmdir()


def test_a_file_that_cannot_be_moved_is_one_line(config_file, output, monkeypatch):
    def refuse(source, target):
        raise PermissionError(13, "Permission denied", source)

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(ConfigError, match=r"cannot move .*config\.yaml out of the way: Permission denied"):
        train(config_file, "Global.overwrite=true")


def test_a_start_beside_a_run_that_writes_touches_none_of_its_files(root, config_file, output):
    pytest.importorskip("fcntl", reason="there are no such locks on this system")
    # As in the middle of a save: complete, not yet renamed.
    for path in list(output.glob("latest.*")):
        path.rename(f"{path}.new")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(output)], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        holder.stdout.readline()
        before = contents(output)
        for way in (
            "Global.checkpoints=auto",
            "Global.overwrite=true",
            f"Global.checkpoints={output}/latest",
        ):
            with pytest.raises(ConfigError, match=r"another run .*is writing to"):
                train(config_file, way)
        jobs.dry_run(load_config(config_file, ["Global.epochs=1", "Global.checkpoints=auto"]))
        longer = ["Global.epochs=2", "Global.resume_schedule=new"]
        train(config_file, *longer, f"Global.checkpoints={output}/latest", f"Global.output_dir={output}/../b")
        assert contents(output) == before
    finally:
        holder.kill()
        holder.communicate()
    train(config_file, "Global.checkpoints=auto")
    assert not list(output.glob("*.new"))


def test_a_moved_config_keeps_what_is_no_path(config_file, tmp_path, monkeypatch):
    """`order: ''` is where the run is when that is the working directory."""
    monkeypatch.chdir(tmp_path)
    here = ["Global.output_dir=.", "Global.epochs=1"]
    jobs.train(load_config(config_file, here))
    before = load_config("config.yaml")
    jobs.train(load_config(config_file, [*here, "Global.overwrite=true"]))
    moved = load_config("previous_1/config.yaml")
    assert moved.Global.output_dir == os.path.join(".", "previous_1")
    assert moved.DataLoader == before.DataLoader
    jobs.evaluate(load_config("previous_1/config.yaml", ["Global.checkpoints=auto"]))
