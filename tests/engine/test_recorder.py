"""Numbers of a run: in metrics.jsonl and the sinks; early stop."""

import json
import re
import sys
import types

import numpy as np
import pytest

from ppcls_light.config import load_config
from ppcls_light.data import read_image
from ppcls_light.engine import checkpoint, sinks
from ppcls_light.engine.distributed import Runtime
from ppcls_light.engine.log import setup_logging
from ppcls_light.engine.recorder import denormalise, peak_memories
from ppcls_light.engine.trainer import Trainer
from ppcls_light.errors import ConfigError

CPU = Runtime("cpu")


def trainer(config_file, *overrides):
    return Trainer(load_config(config_file, overrides), CPU)


def rows(output_dir):
    return [json.loads(line) for line in (output_dir / "metrics.jsonl").read_text().splitlines()]


def test_the_rows_are_the_lines_of_the_log(config_file, tmp_path):
    setup_logging(str(tmp_path / "train.log"))
    trainer(config_file, "Global.epochs=2", "Global.print_mem_info=true").fit()
    log = (tmp_path / "train.log").read_text()
    kept = rows(tmp_path / "output")
    places = [(row["split"], row["epoch"], row["step"]) for row in kept]
    assert places == [
        ("train", 1 / 6, 1), ("train", 4 / 6, 4), ("train_avg", 1, 6), ("eval", 1, 6),
        ("train", 1 + 1 / 6, 7), ("train", 1 + 4 / 6, 10), ("train_avg", 2, 12), ("eval", 2, 12),
    ]  # fmt: skip

    def numbers(marks):
        lines = [line for line in log.splitlines() if all(mark in line for mark in marks)]
        found = [dict(re.findall(r"(top\d|CELoss|loss): ([\d.]+)", line)) for line in lines]
        return [{name: float(text) for name, text in values.items()} for values in found]

    marks = {
        "train": ("[Train]", "[Iter"),
        "train_avg": ("[Train]", "[Avg]"),
        "eval": ("[Eval]", "[Avg]"),
    }
    for split in marks:
        own = [row["values"] for row in kept if row["split"] == split]
        assert len(own) == 2 * (2 if split == "train" else 1)
        assert own == [pytest.approx(values, abs=1e-5) for values in numbers(marks[split])]
    lrs = [float(text) for text in re.findall(r"lr\(\w+\): ([\d.]+)", log)]
    assert [row["lr"] for row in kept if row["split"] == "train"] == pytest.approx(lrs, abs=1e-8)
    speeds = [float(text) for text in re.findall(r"ips: ([\d.]+) samples/s", log)]
    assert [row["images_per_second"] for row in kept if row["split"] == "train"] == pytest.approx(
        speeds, abs=1e-3
    )
    assert all(0 <= row["data_wait"] <= 1 for row in kept if row["split"] != "train_avg")
    if peak_memories("cpu"):
        assert len(re.findall(r"max_rss: [\d.]+ MB", log)) == 4
        assert kept[0]["memory_mb"]["max_rss"] > 50


@pytest.mark.parametrize("steps", [8, 12], ids=["in mid-epoch", "after an epoch's last step"])
def test_a_resumed_run_leaves_the_rows_of_an_uninterrupted_one(config_file, tmp_path, steps, stop_after):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    settings = ["Global.epochs=3", "Global.print_batch_step=1"]
    trainer(config_file, *settings, f"Global.output_dir={whole}").fit()
    stop_after(trainer(config_file, *settings, f"Global.output_dir={parts}"), steps)
    # A crash: the run got further than the checkpoint that it goes on from, and was cut off inside a line.
    later = "".join(json.dumps(row) + "\n" for row in rows(whole) if steps < row["step"] < steps + 5)
    with open(parts / "metrics.jsonl", "a") as file:
        file.write(later + later[:30])
    trainer(config_file, *settings, f"Global.output_dir={parts}", "Global.checkpoints=auto").fit()

    def places(folder):
        return [(row["split"], row["epoch"], row["step"], row["lr"]) for row in rows(folder)]

    assert places(parts) == places(whole)
    evaluations = [
        [row["values"] for row in rows(folder) if row["split"] == "eval"] for folder in (whole, parts)
    ]
    assert evaluations[0] == evaluations[1]


def test_an_evaluation_that_comes_again_has_one_row(config_file, tmp_path):
    run = trainer(config_file, "Global.epochs=1")
    evaluate = run.evaluate

    def crash():
        evaluate()
        raise SystemExit  # after its row, before its checkpoint

    run.evaluate = crash
    with pytest.raises(SystemExit):
        run.fit()
    assert [row["split"] for row in rows(tmp_path / "output")][-2:] == ["train_avg", "eval"]
    trainer(config_file, "Global.epochs=1", "Global.checkpoints=auto").fit()
    assert [row["split"] for row in rows(tmp_path / "output")][-2:] == ["train_avg", "eval"]


def test_a_dry_run_and_other_ranks_write_nothing(config_file, tmp_path):
    trainer(config_file).evaluate(max_batches=1)
    assert not (tmp_path / "output").exists()


def scored(run, *metrics):
    """Let the evaluations of `run` find `metrics` one after the other."""
    left = list(metrics)
    run.evaluate = lambda: {"top1": left.pop(0)}
    return run


def test_early_stop_counts_over_a_resume(config_file, tmp_path, stop_after):
    settings = ["Global.epochs=9", "Global.early_stop=3"]
    setup_logging(str(tmp_path / "train.log"))
    whole = scored(
        trainer(config_file, *settings, f"Global.output_dir={tmp_path}/whole"), 0.5, 0.4, 0.6, 0.6, 0.5, 0.6
    )
    whole.fit()
    assert whole.position.epoch == 6
    assert (
        "Global.early_stop: 3 evaluations in a row were no better than 0.6; stopping after epoch 6 of 9"
        in (tmp_path / "train.log").read_text()
    )
    # As good is not better, but it is as good a best model as PaddleClas keeps.
    assert checkpoint.load(str(tmp_path / "whole/best_model")).states["epoch"] == 6

    first = scored(
        trainer(config_file, *settings, f"Global.output_dir={tmp_path}/parts"), 0.5, 0.4, 0.6, 0.6, 0.5
    )
    stop_after(first, 6 * 5 + 2)
    resumed = [*settings, f"Global.output_dir={tmp_path}/parts", "Global.checkpoints=auto"]
    second = scored(trainer(config_file, *resumed), 0.6)
    second.fit()
    assert (second.position.epoch, second.evaluations_since_best) == (6, 3)
    trainer(config_file, *resumed).fit()
    assert (tmp_path / "train.log").read_text().count("stopping after epoch 6 of 9") == 3
    # More patience goes on.
    longer = scored(trainer(config_file, *resumed, "Global.early_stop=4"), 0.1)
    longer.fit()
    assert longer.position.epoch == 7


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (["Global.early_stop=2", "Global.eval_during_train=false"], "early_stop counts evaluations.*null"),
        (["Global.early_stop=0"], "early_stop"),
        (["Global.loggers=[visualdl, mlflow]"], "Global.loggers.1"),
        (["Global.log_ranks=all"], 'log_ranks: numbers .* got "all"'),
        (["Global.log_histograms=true"], "use_visualdl: true"),
    ],
)
def test_a_wrong_setting_is_one_line(config_file, override, message):
    with pytest.raises(ConfigError, match=message):
        load_config(config_file, override)


@pytest.mark.parametrize("ranks", [("0", [0]), ("'0,1'", [0, 1]), ("1", [1]), ('"0, 2"', [0, 2])])
def test_log_ranks_are_numbers(config_file, ranks):
    assert load_config(config_file, [f"Global.log_ranks={ranks[0]}"]).Global.logging_ranks() == ranks[1]


@pytest.mark.parametrize("order", ["''", "chw"])
def test_the_pictures_of_a_batch_are_the_photos(config_file, photos, order):
    ops = "[{DecodeImage: null}, %s{NormalizeImage: {scale: 1.0/255.0, mean: [0.4, 0.5, 0.6], order: %s}}]"
    ops %= "{ToCHWImage: null}, " if order == "chw" else "", order
    run = trainer(config_file, f"DataLoader.Train.dataset.transform_ops={ops}")
    batch = next(iter(run.reader.loader.epoch(0)))
    pictures = denormalise(batch.images, run.config.DataLoader.Train.dataset.transform_ops)
    for index, picture in zip(batch.indices, pictures):
        assert np.array_equal(picture, read_image(run.reader.images.path(int(index))))


@pytest.mark.parametrize(
    ("package", "setting", "extra"),
    [("visualdl", "Global.use_visualdl=true", "visual"), ("visualdl", "Global.loggers=[visualdl]", "visual"),
     ("tensorboardX", "Global.loggers=[tensorboard]", "tensorboard"), ("wandb", "Global.loggers=[wandb]", "wandb")],
)  # fmt: skip
def test_a_missing_package_is_one_line_before_training(config_file, monkeypatch, package, setting, extra):
    monkeypatch.setitem(sys.modules, package, None)
    key = setting.split("=")[0]
    with pytest.raises(
        ConfigError, match=rf"^{key}.* needs the package {package}: pip install 'ppcls_light\[{extra}\]'"
    ):
        trainer(config_file, setting)


def test_visualdl_has_everything_and_goes_on_after_a_crash(config_file, tmp_path, stop_after):
    visualdl = pytest.importorskip("visualdl", reason="needs the extra visual")
    settings = ["Global.use_visualdl=true", "Global.log_histograms=true", "Global.epochs=2"]
    stop_after(trainer(config_file, *settings), 8)
    (log,) = (tmp_path / "output/vdl").glob("vdlrecords.*")
    with visualdl.LogWriter(logdir=str(log.parent), file_name=log.name) as crashed:
        crashed.add_scalar("train/loss", 99.0, 10)  # of a step that the checkpoint does not have
    log.write_bytes(log.read_bytes() + b"\x30\0\0\0\0\0\0\0half a record")
    trainer(config_file, *settings, "Global.checkpoints=auto").fit()
    assert list((tmp_path / "output/vdl").glob("vdlrecords.*")) == [log]

    reader = visualdl.LogReader(file_path=str(log))
    for split in ("train", "train_avg", "eval"):
        own = [row for row in rows(tmp_path / "output") if row["split"] == split]
        for name in own[0]["values"]:
            points = reader.get_data("scalar", f"{split}/{name}")
            assert [point.id for point in points] == [row["step"] for row in own]
            values = [row["values"][name] for row in own]
            assert [point.value for point in points] == pytest.approx(values, rel=1e-6)
    assert len(reader.get_data("scalar", "train/lr")) == 4
    assert [point.id for point in reader.get_data("histogram", "conv1.conv.weight")] == [6, 12]
    first, _of_the_resumed_run = reader.get_data("image", "train/first_batch")
    assert first.image.encoded_image_string.startswith(b"\x89PNG")
    (graph,) = (tmp_path / "output/vdl").glob("vdlgraph.*")
    nodes = {node["name"]: node for node in json.loads(graph.read_text())["nodes"]}
    leaves = [node for node in nodes.values() if node["is_leaf_node"]]
    convolutions = [node for node in leaves if "conv2d" in node["type"]]
    # PP-LCNet: the stem, 13 depthwise and 13 pointwise, 2 x 2 of the SE blocks, the last one.
    assert len(convolutions) == 32
    assert sum(not node["output_nodes"] for node in leaves if "conv2d" in node["type"]) == 0


def test_a_network_that_cannot_be_drawn_is_one_warning(config_file, tmp_path, monkeypatch, caplog):
    pytest.importorskip("visualdl", reason="needs the extra visual")

    def fail(model, image_shape):
        raise RuntimeError("first line\nlast line")

    monkeypatch.setattr(sinks, "describe_graph", fail)
    trainer(config_file, "Global.use_visualdl=true", "Global.epochs=1").fit()
    assert caplog.text.count("VisualDL gets no graph of this network: last line") == 1


def test_tensorboard_has_everything_and_forgets_what_a_crash_took_back(config_file, tmp_path, stop_after):
    pytest.importorskip("tensorboardX", reason="needs the extra tensorboard")
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    settings = ["Global.loggers=[tensorboard]", "Global.log_histograms=true", "Global.epochs=2"]
    stop_after(trainer(config_file, *settings), 8)
    from tensorboardX import SummaryWriter

    with SummaryWriter(str(tmp_path / "output/tensorboard"), filename_suffix=".1") as crashed:
        crashed.add_scalar("train/loss", 99.0, 10)
    trainer(config_file, *settings, "Global.checkpoints=auto").fit()
    everything = {"histograms": 0}
    events = accumulator.EventAccumulator(str(tmp_path / "output/tensorboard"), size_guidance=everything)
    events.Reload()
    own = [row for row in rows(tmp_path / "output") if row["split"] == "train"]
    assert [point.step for point in events.Scalars("train/loss")] == [row["step"] for row in own]
    assert [point.value for point in events.Scalars("train/loss")] == pytest.approx(
        [row["values"]["loss"] for row in own], rel=1e-6
    )
    assert [point.step for point in events.Scalars("eval/top1")] == [6, 12]
    assert events.Images("train/first_batch")[0].width == 64  # 2 x 2 images of 32 pixels
    assert [point.step for point in events.Histograms("conv1.conv.weight")] == [6, 12]


@pytest.fixture
def wandb(monkeypatch):
    """A stand-in for wandb that keeps what it is called with; nothing leaves the machine."""

    class Run:
        def __init__(self, **settings):
            self.settings, self.rows, self.finished = settings, [], False

        def define_metric(self, name, step_metric=None):
            pass

        def log(self, row):
            self.rows.append(row)

        def finish(self):
            self.finished = True

    module = types.ModuleType("wandb")
    module.runs = []
    module.Error = type("Error", (Exception,), {})
    module.Settings = dict
    module.Image = lambda image: image.shape
    module.Histogram = lambda np_histogram: len(np_histogram[0])
    module.init = lambda **settings: module.runs.append(Run(**settings)) or module.runs[-1]
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


def test_wandb_gets_every_row_and_a_resumed_run_is_the_same_run(config_file, tmp_path, wandb, stop_after):
    settings = ["Global.loggers=[wandb]", "Global.log_histograms=true", "Global.epochs=2"]
    stop_after(trainer(config_file, *settings), 8)
    trainer(config_file, *settings, "Global.checkpoints=auto").fit()
    trainer(config_file, *settings, "Global.overwrite=true").fit()
    first, second, other = wandb.runs
    assert first.settings["id"] == second.settings["id"] != other.settings["id"]
    assert first.settings["dir"] == str(tmp_path / "output")
    assert first.settings["config"]["Global"]["epochs"] == 2
    assert all(run.finished for run in wandb.runs)
    own = rows(tmp_path / "output")
    logged = [row for row in other.rows if any("/loss" in name for name in row)]
    assert [row["step"] for row in logged] == [row["step"] for row in own]
    assert [row["eval/top1"] for row in logged if "eval/top1" in row] == [
        row["values"]["top1"] for row in own if row["split"] == "eval"
    ]
    assert other.rows[0]["train/first_batch"] == [(32, 32, 3)] * 4


def test_wandb_that_refuses_is_one_line(config_file, wandb):
    def refuse(**settings):
        raise wandb.Error("No API key configured. Use `wandb login` to log in.\nmore")

    wandb.init = refuse
    with pytest.raises(
        ConfigError, match=r"wandb: No API key .* log in; run `wandb login`, or set WANDB_MODE=offline"
    ):
        trainer(config_file, "Global.loggers=[wandb]").fit()
