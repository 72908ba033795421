"""What users get wrong most often: one line that names the place and holds the fix, exit code 2, no traceback."""

import json
import os
import pickle
import re
import runpy
import sys

import numpy as np
import paddle
import pytest

from ppcls_light import create_model
from ppcls_light.config import dump_config, load_config
from ppcls_light.weights import write_weights


@pytest.fixture
def tool(root, config_file, monkeypatch, capsys):
    """Return a function that runs tools/NAME.py in this process: (exit code, lines on stderr)."""

    def run(name, *overrides, config=config_file, flags=()):
        arguments = [f"tools/{name}.py", "-c", str(config), *flags]
        for override in overrides:
            arguments += ["-o", override]
        monkeypatch.setattr(sys, "argv", arguments)
        try:
            runpy.run_path(str(root / "tools" / f"{name}.py"), run_name="__main__")
            code = 0
        except SystemExit as stop:
            code = stop.code
        return code, capsys.readouterr().err.splitlines()

    return run


@pytest.fixture
def weights(tmp_path):
    """A weights file of the network of `config_file`."""
    model = create_model("PPLCNet_x0_25", class_num=3, stride_list=[1, 2, 2, 2, 2])
    path = tmp_path / "weights.pdparams"
    write_weights(path, {key: value.numpy() for key, value in model.state_dict().items()})
    return path


def assert_one_line(outcome, *parts):
    code, lines = outcome
    assert code == 2, lines
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    for part in parts:
        assert re.search(part, lines[0]), f"{part!r} is not in: {lines[0]}"


def test_bad_list_line(tool, photos):
    (photos / "train_list.txt").write_text("train/00.png 0\ntrain/01.png\n")
    assert_one_line(tool("train"), r"train_list\.txt:2: ", "label")


def test_label_out_of_range(tool, photos):
    (photos / "train_list.txt").write_text("train/00.png 1\ntrain/01.png 3\n")
    assert_one_line(
        tool("train"), r"train_list\.txt:2: label 3 is outside 0\.\.2", "Labels start at 0", "class_num"
    )


def test_missing_image(tool, photos):
    (photos / "val/04.png").unlink()
    assert_one_line(tool("train"), r"val_list\.txt:5: ", r"val/04\.png")


def test_corrupt_image(tool, photos, weights):
    (photos / "val/04.png").write_bytes(b"\x89PNG not really")
    assert_one_line(tool("eval", f"Global.pretrained_model={weights}"), r"val/04\.png: ")


def test_config_typo(tool, config_file):
    text = config_file.read_text().replace("warmup_epoch", "warmup_epochs")
    line = next(number for number, row in enumerate(text.splitlines(), 1) if "warmup_epochs" in row)
    config_file.write_text(text)
    assert_one_line(
        tool("train"), rf"config\.yaml:{line}: unknown key Optimizer\.lr\.warmup_epochs", "'warmup_epoch'"
    )


def test_override_typo(tool):
    assert_one_line(
        tool("train", "Global.epoch=3"), r"-o Global\.epoch=3: unknown key Global\.epoch", "'epochs'"
    )


def test_wrong_arch(tool):
    assert_one_line(
        tool("train", "Arch.name=PPLCNet_x0_26"), r"Arch", "PPLCNet_x0_26", "did you mean 'PPLCNet_x0_25'"
    )


def test_wrong_checkpoint(tool, tmp_path):
    assert_one_line(
        tool("train", f"Global.checkpoints={tmp_path}/output/lates"),
        "output/lates",
        "Global.pretrained_model",
    )


def test_weights_of_another_network(tool, weights):
    outcome = tool("eval", f"Global.pretrained_model={weights}", "Arch={name: FasterNet_T0, class_num: 3}")
    assert_one_line(outcome, r"weights\.pdparams", "missing", "Arch.name")


def test_wrong_class_count(tool, weights, photos):
    lines = (photos / "labels.txt").read_text() + "3 other\n"
    (photos / "labels.txt").write_text(lines)
    outcome = tool("eval", f"Global.pretrained_model={weights}", "Arch.class_num=4")
    assert_one_line(outcome, "weights have 3 classes, Arch.class_num is 4", "Global.reset_head=true")


def test_missing_weights_at_export(tool, tmp_path):
    assert_one_line(tool("export_model"), "no weights", "Global.pretrained_model=")
    assert not (tmp_path / "inference").exists()


def test_partly_loaded_weights_at_export(tool, tmp_path, weights):
    model = create_model("PPLCNet_x0_25", class_num=3, stride_list=[1, 2, 2, 2, 2])
    state = {key: value.numpy() for key, value in model.state_dict().items()}
    del state["conv1.conv.weight"]
    write_weights(weights, state)
    assert_one_line(
        tool("export_model", f"Global.pretrained_model={weights}"), "1 missing", "conv1.conv.weight"
    )
    assert not (tmp_path / "inference").exists()


@pytest.mark.skipif(paddle.device.is_compiled_with_cuda(), reason="this Paddle has the device")
def test_device_not_built(tool):
    assert_one_line(
        tool("train", "Global.device=gpu"), "Global.device: gpu", "Global.device=cpu", "paddlepaddle-gpu"
    )


def test_eval_without_weights_is_refused(tool):
    assert_one_line(tool("eval"), "no weights", "Global.pretrained_model=")


def test_label_map_of_another_data_set(tool, weights, photos):
    (photos / "labels.txt").write_text("0 cat\n1 dog\n")
    outcome = tool("infer", f"Global.pretrained_model={weights}")
    assert_one_line(outcome, r"labels\.txt names 2 classes", "class_num is 3")


@pytest.mark.parametrize("ops", ["[]", "[{CropImage: {size: 32}}]", "[DecodeImage, DecodeImage]"])
@pytest.mark.parametrize("split", ["Train", "Eval"])
def test_transforms_that_do_not_begin_with_decoding(tool, split, ops):
    path = f"DataLoader.{split}.dataset.transform_ops"
    assert_one_line(tool("train", f"{path}={ops}"), path, "DecodeImage has to be the first op, once")


@pytest.mark.parametrize("name", ["infer", "export_model"])
def test_random_transforms_where_images_are_classified(tool, weights, name, tmp_path):
    ops = "Infer.transforms=[DecodeImage, {RandCropImage: {size: 32}}, {NormalizeImage: {order: ''}}]"
    outcome = tool(name, f"Global.pretrained_model={weights}", ops)
    assert_one_line(outcome, "RandCropImage is random", r"Infer\.transforms")
    assert not (tmp_path / "inference").exists()


def test_evaluation_that_would_leave_images_out(tool):
    outcome = tool("train", "DataLoader.Eval.sampler.drop_last=true")
    assert_one_line(outcome, r"DataLoader\.Eval\.sampler: drop_last", "drop_last: false")


def test_evaluation_without_a_metric(tool):
    assert_one_line(tool("train", "Metric.Eval=[]"), r"Metric: Eval needs a metric", "TopkAcc")


def test_a_batch_larger_than_the_data(tool):
    outcome = tool("train", "DataLoader.Train.sampler.batch_size=99")
    assert_one_line(outcome, r"DataLoader\.Train\.sampler: 26 images", "batch_size")


def test_the_label_map_is_blamed_in_one_place(tool):
    outcome = tool("train", "Arch.class_num=5")
    assert_one_line(outcome, r"config\.yaml:\d+: Infer\.PostProcess\.class_id_map_file: .*names 3 classes")
    assert "DataLoader" not in outcome[1][0]


@pytest.mark.parametrize("name", ["train", "eval", "infer", "export_model"])
def test_an_output_dir_that_is_a_file(tool, weights, tmp_path, name):
    (tmp_path / "taken").write_text("")
    outcome = tool(name, f"Global.output_dir={tmp_path}/taken", f"Global.pretrained_model={weights}")
    assert_one_line(outcome, "Global.output_dir: .*taken: cannot be written", "choose another")


def test_flags_that_a_dry_run_could_only_ignore(tool):
    for name, flags in (
        ("train", ["-p", "batch_range=[1,2]"]),
        ("eval", ["--predictions", "rows"]),
        ("export_model", ["--max-drop", "0"]),
    ):
        code, lines = tool(name, flags=["--dry-run", *flags])
        assert code == 2
        assert "leave one of them out" in lines[-1]


def test_nothing_to_classify(tool, weights, tmp_path):
    (tmp_path / "empty").mkdir()
    outcome = tool("infer", f"Global.pretrained_model={weights}", f"Infer.infer_imgs={tmp_path}/empty")
    assert_one_line(outcome, "empty")


def test_a_failed_file_is_a_row_and_the_others_keep_their_results(tool, weights, photos, tmp_path):
    (photos / "val/10.png").write_bytes(b"")
    save = f"Infer.save_dir={tmp_path}/rows"
    code, _ = tool("infer", f"Global.pretrained_model={weights}", save)
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert code == 0
    assert [row["file_name"].rsplit("/", 1)[1] for row in rows] == [f"{index:02d}.png" for index in range(11)]
    assert ["error" in row for row in rows] == [False] * 10 + [True]


def test_overrides_are_never_evaluated(tool, tmp_path):
    outcome = tool("train", f"Global.epochs=__import__('pathlib').Path('{tmp_path}/owned').touch()")
    assert_one_line(outcome, r"Global\.epochs: expected a whole number", "epochs: 10")
    assert not (tmp_path / "owned").exists()


def test_a_crafted_checkpoint_runs_nothing(tool, tmp_path):
    class Harm:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    (tmp_path / "crafted.pdparams").write_bytes(pickle.dumps({"fc.weight": Harm()}))
    assert_one_line(
        tool("eval", f"Global.pretrained_model={tmp_path}/crafted.pdparams"), "crafted", "posix.mkdir"
    )
    assert not (tmp_path / "owned").exists()


def test_print_config_and_dry_run(tool, config_file, tmp_path, capsys, monkeypatch, root):
    code, _ = tool("train", flags=["--dry-run"])
    assert code == 0
    assert not (tmp_path / "output").exists()
    monkeypatch.setattr(
        sys, "argv", ["train.py", "-c", str(config_file), "--print-config", "-o", "Global.seed=7"]
    )
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(root / "tools/train.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert stop.value.code == 0
    resolved = tmp_path / "resolved.yaml"
    resolved.write_text(printed)
    assert load_config(resolved).Global.seed == 7
    assert dump_config(load_config(resolved)) == printed


def test_several_pairs_after_one_o(root, config_file, monkeypatch, capsys):
    monkeypatch.setattr(
        sys,
        "argv",
        ["train.py", "-c", str(config_file), "-o", "Global.seed=7", "Global.epochs=2", "--print-config"],
    )
    with pytest.raises(SystemExit):
        runpy.run_path(str(root / "tools/train.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert "seed: 7\n" in printed
    assert "epochs: 2\n" in printed


def test_weights_fixture_fits(weights):
    """Guards the tests above: their weights are right except for what each test breaks."""
    model = create_model("PPLCNet_x0_25", class_num=3, stride_list=[1, 2, 2, 2, 2], pretrained=str(weights))
    assert np.isfinite(model(paddle.zeros([1, 3, 32, 32])).numpy()).all()
