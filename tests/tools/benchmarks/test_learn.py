"""tools/benchmarks/learn.py: its recipe, rows, table and pictures, and this project's side of its trainings."""

import csv
import importlib.util
import math
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ppcls_light.config import load_config
from ppcls_light.engine.distributed import start
from ppcls_light.engine.trainer import Trainer
from ppcls_light.errors import DataError, UserError
from tools.benchmarks import learn, learn_steps, other_python
from tools.benchmarks import learn_report as report
from tools.benchmarks.learn_recipe import Recipe, Task

MOMENTUM = Recipe("Momentum", 0.02, 3e-5, None, epochs=2, batch=4, pixels=32)
needs_torch = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("torch", "timm", "torchvision"))),
    reason="needs torch and timm in this interpreter",
)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder of 8 training and 4 test images of 2 classes."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for split, count in (("train", 4), ("test", 2)):
        for name in ("cat", "dog"):
            (folder / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 255, (32, 32, 3), dtype="uint8")
                Image.fromarray(pixels).save(folder / split / name / f"{index}.png")
    return folder


@pytest.fixture
def task(images, tmp_path):
    """A function that returns the Task of a model and a recipe on `images`."""

    def make(model="PPLCNet_x0_25", recipe=MOMENTUM):
        data = learn.read_data(images)
        lists = {}
        for split, lines in (("train", data.train), ("test", data.test)):
            lists[split] = str(tmp_path / f"{split}.txt")
            Path(lists[split]).write_text("".join(lines))
        return Task(model, recipe, 3, 1, data.classes, data.root, out=str(tmp_path), **lists)

    return make


@pytest.fixture
def python(tmp_path):
    """An interpreter that knows its versions and cannot train."""
    if sys.platform == "win32":
        pytest.skip("no shell")
    file = tmp_path / "python"
    file.write_text(
        '#!/bin/sh\n[ "$2" = versions ] && echo torch 9.9, timm 8.8 && exit\necho no; echo lost; exit 1\n'
    )
    file.chmod(0o755)
    return file


@pytest.fixture
def tool(run_tool, images, monkeypatch):
    """A function that runs the tool on `images` with arguments."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # which the tool sets

    def run(*arguments, data=images):
        run_tool("benchmarks/learn", *arguments, "--data", data)

    return run


def row(model, side, seed, top1, losses=(2.0, 1.0), **others):
    described = {
        "recipe": "a recipe",
        "images": "8 + 4",
        "versions": "1",
        "threads": 2,
        "machine": "A machine",
    }
    curves = {"training loss by epoch": list(losses), "top-1 by epoch": [top1 / 2, top1]}
    return {"model": model, "side": side, "seed": seed, "top-1": top1, **described, **curves, **others}


def both(model, ours, theirs):
    sides = zip(report.SIDES, (ours, theirs))
    return [row(model, side, seed, top1) for side, numbers in sides for seed, top1 in enumerate(numbers)]


@pytest.mark.parametrize(("epochs", "warmup"), [(1, 0), (2, 1), (4, 1), (12, 2)])
def test_a_recipe_of_any_length_has_a_cosine_after_its_warm_up(task, epochs, warmup):
    config = load_config(task(recipe=MOMENTUM._replace(epochs=epochs)).config())
    assert config.Optimizer.lr.warmup_epoch == warmup
    assert config.Global.epochs == epochs


def test_a_task_survives_its_file(task):
    for recipe in (MOMENTUM, MOMENTUM._replace(optimizer="AdamW", weight_decay=0.05, clip=5.0)):
        one = task(recipe=recipe)
        assert Task.read(one.write()) == one
        assert load_config(one.config()).Optimizer.clip_grad == recipe.clip
        assert f"{recipe.optimizer} 0.02" in str(recipe)


def test_data_is_a_folder_or_a_zip_of_one(images, tmp_path):
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for path in images.rglob("*.png"):
            archive.write(path, path.relative_to(images))
    with learn.open_data(str(tmp_path / "images.zip")) as zipped, learn.open_data(str(images)) as plain:
        assert zipped[1:] == plain[1:]
        assert zipped.train[-1] == "train/dog/3.png 1\n"
        assert (Path(zipped.root) / "train/dog/3.png").is_file()
    assert not Path(zipped.root).exists()


def test_runs_survive_their_file(tmp_path):
    rows = both("FasterNet_T0", [50.0, 51.0], [49.5, 52.25])
    report.write_runs(tmp_path / "runs.csv", rows)
    read = report.read_runs(tmp_path / "runs.csv")
    assert [report.key(one) for one in read] == [report.key(one) for one in rows]
    assert [one["top-1 by epoch"] for one in read] == [one["top-1 by epoch"] for one in rows]
    assert report.runs_table(read) == report.runs_table(rows)
    assert report.read_runs(tmp_path / "none.csv") == []


@pytest.mark.parametrize("text", ["a,b\n1,2\n", f"{','.join(report.RUN_COLUMNS)}\nFasterNet_T0,x\n"])
def test_another_csv_is_refused(tmp_path, text):
    (tmp_path / "runs.csv").write_text(text)
    with pytest.raises(DataError, match=r"runs\.csv is no CSV of tools/benchmarks/learn\.py"):
        report.read_runs(tmp_path / "runs.csv")


def test_the_table_has_mean_deviation_and_what_is_beyond_the_spread():
    rows = [*both("near", [50.0, 52.0], [51.0, 53.0]), *both("far", [50.0, 51.0], [52.0, 53.0])]
    table = report.runs_table([*rows, row("alone", report.OURS, 0, 40.0)])
    assert "| near | a recipe | 2 and 2 | 51.00 ± 1.41 | 52.00 ± 1.41 | -1.00 | 1.0000 ± 0.0000 |" in table
    assert "alone" not in table
    assert table.endswith("every run of one side above all of the other: far (top-1)\n")
    assert "| 50.00 | 51.00 | -1.00 |" in report.runs_table(both("one", [50.0], [51.0]))


def test_differences_of_losses_are_relative_to_the_other_side():
    losses = report.Losses([2.0, 1.1], [2.0, 1.0], [2.0, 1.25], [2.5, 1.0])
    assert report.largest_differences(losses) == pytest.approx((0.1, 0.2, 0.25))


def test_the_pictures_have_a_line_per_training(tmp_path):
    pytest.importorskip("matplotlib", reason="draws")
    figure = report.draw_runs([*both("near", [50.0, 52.0], [51.0, 53.0]), *both("one", [50.0], [51.0])])
    assert [len(axes.lines) for axes in figure.axes] == [4 + 2, 4, 2, 2]  # two are the legend's
    assert list(figure.axes[1].lines[2].get_ydata()) == [25.5, 51.0]
    steps = report.draw_steps({"near": report.Losses([2.0, 1.1], [2.0, 1.0], [2.0, 1.25], [2.5, 1.0])})
    np.testing.assert_allclose(steps.axes[1].lines[0].get_ydata(), [math.nan, 0.1])
    report.save(steps, str(tmp_path / "steps"))
    assert (tmp_path / "steps.png").read_bytes()[:4] == b"\x89PNG"


def test_finished_trainings_are_not_run_again(tool, python, tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="draws")
    import paddle

    recipe = str(Recipe("AdamW", 0.001, 0.05, 5.0, epochs=2, batch=4, pixels=32))
    rows = both("FasterNet_T0", [50.0, 52.0], [51.0, 53.0])
    for one in rows:
        one["recipe"] = recipe
        one["versions"] = (
            f"Paddle {paddle.__version__}" if one["side"] == report.OURS else "torch 9.9, timm 8.8"
        )
    report.write_runs(tmp_path / "runs.csv", rows)
    before = (tmp_path / "runs.csv").read_bytes()
    arguments = (
        "FasterNet_T0",
        "--epochs",
        2,
        "--batch",
        4,
        "--size",
        32,
        "--threads",
        1,
        "--python",
        python,
    )
    tool(*arguments, "--seeds", 0, 1, "--out", tmp_path)
    assert "| 2 and 2 | 51.00 ± 1.41 | 52.00 ± 1.41 | -1.00 |" in capsys.readouterr().out
    assert (tmp_path / "runs.csv").read_bytes() == before
    assert (tmp_path / "runs.png").is_file()


def test_a_training_here_is_a_row_and_a_failed_one_of_the_peer_is_a_line(tool, python, tmp_path, capsys):
    """tools/train.py trains on the tiny images; the peer's interpreter then fails."""
    pytest.importorskip("matplotlib", reason="draws")
    arguments = ("lcnet_035", "--epochs", 1, "--batch", 4, "--size", 32, "--threads", 1, "--python", python)
    with pytest.raises(SystemExit) as stop:
        tool(*arguments, "--out", tmp_path)
    assert stop.value.code == 2
    assert f"error: {python} cannot train lcnet_035: lost" in capsys.readouterr().err.splitlines()
    (one,) = report.read_runs(tmp_path / "runs.csv")
    assert report.key(one)[:3] == ("lcnet_035", report.OURS, "0")
    assert one["top-1"] in (0, 25, 50, 75, 100)  # of 4 images
    assert len(one["training loss by epoch"]) == 1


def test_guided_by_its_own_weights_a_training_repeats_itself(task, tmp_path):
    """And by those of a peer whose updates are 99 % of ours, each update is found to be off by 1 / 99."""
    one, runtime = task(), start("cpu")
    config = load_config(one.config(eval_during_train=False), ["DataLoader.Train.loader.num_workers=0"])
    learn_steps.write_batches(config, runtime, tmp_path)
    assert np.load(tmp_path / "images_3.npy").shape == (4, 3, 32, 32)
    assert not (tmp_path / "images_4.npy").exists()
    trainer = Trainer(config, runtime)
    # The loop of `learn_steps.train`, with the state of every step saved.
    states, losses = [], []
    for batch in learn_steps.batches_without_dropout(trainer):
        states.append({key: value.numpy() for key, value in trainer.model.state_dict().items()})
        losses.append(float(trainer.train_step(batch)[-1]["loss"]))
    states.append({key: value.numpy() for key, value in trainer.model.state_dict().items()})
    for step, state in enumerate(states):
        np.savez(tmp_path / f"weights_{step}.npz", **state)
    assert learn_steps.train(Trainer(config, runtime)) == losses
    guided = learn_steps.train_guided(Trainer(config, runtime), tmp_path)
    assert guided == (losses, [0.0] * 3, 0.0)  # the first step's rate is 0
    for step in range(1, 5):
        np.savez(
            tmp_path / f"weights_{step}.npz",
            **{
                key: states[step - 1][key] + 0.99 * (states[step][key] - states[step - 1][key])
                for key in states[0]
            },
        )
    _, (first, *_), statistics = learn_steps.train_guided(Trainer(config, runtime), tmp_path)
    assert first == pytest.approx(1 / 99, rel=1e-3)
    assert statistics > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["FasterNet_T0", "--steps", "6"], "--steps 6: give a multiple of 4"),
        (["FasterNet_T0", "--steps", "8", "--seeds", "1"], "--seeds is for --epochs"),
        (["FasterNet_T0"], "one of the arguments --steps --epochs is required"),
        (["MicroNet_M0", "--steps", "8"], "MicroNet_M0 needs --peer-repo"),
        (["FasterNet_T0", "--steps", "8", "--peer-repo", "x"], "--peer-repo is for MicroNet_*; leave it out"),
        (["Other", "--steps", "8"], "Other has no peer in PyTorch; there are lcnet_*"),
        (["FasterNet_T0", "--steps", "8", "--batch", "5"], "--steps 8 takes 10 training images; there are 8"),
    ],
)
def test_errors_are_one_line(tool, python, tmp_path, capsys, arguments, message):
    pytest.importorskip("matplotlib", reason="draws")
    with pytest.raises(SystemExit) as stop:
        tool(*arguments, "--python", python, "--out", tmp_path / "out")
    assert stop.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "No such file or directory"), ("text", "no ZIP"), ("zip", "is not a folder")],
)
def test_data_of_another_kind_is_one_line(tool, python, tmp_path, capsys, content, message):
    pytest.importorskip("matplotlib", reason="draws")
    path = tmp_path / "images.zip"
    if content == "text":
        path.write_text(content)
    elif content:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("other/a.txt", "")
    with pytest.raises(SystemExit) as stop:
        tool("FasterNet_T0", "--steps", 8, "--python", python, "--out", tmp_path / "out", data=path)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_an_interpreter_that_is_not_there_is_named():
    with pytest.raises(
        UserError, match=r"--python no/python: No such file or directory; name an interpreter"
    ):
        other_python.run_python(["no/python", "script"], "cannot train")


@needs_torch
def test_both_sides_agree_at_every_step(tool, tmp_path, capsys):
    """From the same weights PyTorch's loss and update are ours to rounding, where BatchNorm and Momentum are all."""
    arguments = ("FasterNet_T0", "--optimizer", "Momentum", "--batch", 2, "--size", 64, "--threads", 1)
    tool(*arguments, "--steps", 8, "--python", sys.executable, "--out", tmp_path)
    with open(tmp_path / "steps.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    for one in rows:
        assert float(one[report.GUIDED]) == pytest.approx(float(one[report.TORCH]), rel=1e-5)
    cells = capsys.readouterr().out.splitlines()[2].split("|")
    assert float(cells[7]) < 1e-3  # the update


@needs_torch
def test_pytorch_trains_for_epochs(tool, tmp_path):
    arguments = ("lcnet_035", "--epochs", 1, "--batch", 4, "--size", 32, "--threads", 1)
    tool(*arguments, "--python", sys.executable, "--out", tmp_path)
    assert [one["side"] for one in report.read_runs(tmp_path / "runs.csv")] == list(report.SIDES)
