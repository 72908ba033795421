"""The whole way of a folder of photos: what it leaves and says, that it repeats to the bit, and how it goes on."""

import os
import re
import shlex
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import yaml

from ppcls_light import Predictor, jobs
from ppcls_light.commands import train
from ppcls_light.commands.dispatch import command_parser
from ppcls_light.config import load_config
from ppcls_light.engine.recorder import Recorder
from ppcls_light.engine.time_budget import Costs
from ppcls_light.errors import ConfigError, DataError, ExportError, UserError, WeightsError
from ppcls_light.models import create_model
from ppcls_light.photos import choose, train_photos
from ppcls_light.photos.recipe import Lists
from ppcls_light.weights import read_weights, write_weights

from .conftest import SMALL, write_photos


def silent(line):
    pass


def run_pasted(line):
    """Run the command `train` as a shell would that gets this line."""
    words = shlex.split(line, comments=True)
    train.main(command_parser("train", "ppcls-light train").parse_args(words[words.index("train") + 1 :]))


def assert_same_bits(one, other):
    first, second = read_weights(one), read_weights(other)
    assert first.keys() == second.keys()
    for key, value in first.items():
        np.testing.assert_array_equal(np.asarray(value), np.asarray(second[key]), err_msg=key)


def test_all_is_in_the_output_folder_and_the_photos_are_as_they_were(whole):
    assert {path: path.read_bytes() for path in whole.folder.rglob("*") if path.is_file()} == whole.before
    assert whole.relative == os.path.join("output", "my 'fotos' ü")
    there = {str(path.relative_to(whole.out)) for path in whole.out.rglob("*")}
    assert there >= {
        *("photos.yaml", "best_model.pdparams", "train.log", "check/index.html", "report/report.html"),
        *("inference/inference.yml", "lists/train_list.txt", "lists/val_list.txt", "lists/test_list.txt"),
    }
    assert len((whole.out / "lists/dropped.csv").read_text().splitlines()) == 1 + 2


def test_the_lines_say_what_was_found_chosen_and_made(whole):
    lines = whole.text.splitlines()
    for pattern in (
        r"NOTE: starting from RANDOM weights.*:",
        r"  .*PPCLS_LIGHT_OFFLINE is set.*--weights FILE",
        "32 photos in 3 classes",
        "  left out: 2 photos that cannot be read; .*dropped.csv has the reasons",
        r"2\d to learn, 3 to choose the best epoch, 3 held out to score",
        r"training: PPLCNet_x0_25 at 32 pixels, 2 epochs of 2\d photos in batches of 4; .*photos\.yaml has it all",
        r"epoch 1 of 2: train loss \d\.\d{3}, top-1 \d+\.\d%; val loss \d\.\d{3}, top-1 \d+\.\d%; \d\.\d minutes left",
        r"epoch 2 of 2: train loss .*%",
        r"network +PPLCNet_x0_25 at 32 pixels, from RANDOM weights: .*",
        r"top-1 +\d+\.\d% of the 3 photos held out \(95 % interval: \d+% to \d+%\)",
    ):
        assert any(re.fullmatch(pattern, line) for line in lines), pattern
    assert "INFO" not in whole.text
    # The file has the lines of every training instead.
    log = (whole.out / "train.log").read_text()
    assert "[Train][Epoch 2/2][Avg]" in log
    assert "epoch 2 of 2" not in log


def test_the_score_and_the_first_command_are_of_photos_held_out(in_place):
    held = (in_place.out / "lists/test_list.txt").read_text().splitlines()
    words = next(shlex.split(line) for line in in_place.text.splitlines() if " predict " in line)
    model, photo = words[words.index("predict") + 1 :]
    assert Path(photo).samefile(in_place.folder / held[0].rsplit(" ", 1)[0])
    rows = Predictor(model).predict([in_place.folder / line.rsplit(" ", 1)[0] for line in held])
    right = sum(row["class_ids"][0] == int(line.rsplit(" ", 1)[1]) for row, line in zip(rows, held))
    assert f"{right / len(held):.1%} of the {len(held)} photos held out" in in_place.text
    assert rows[0]["label_names"][0] in ("red", "green ones", "blue")


def test_the_config_alone_gives_the_same_weights(in_place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # its paths hold from any folder
    sections = yaml.safe_load((in_place.out / "photos.yaml").read_text())
    assert "_base_" not in sections
    assert "minutes" not in sections["Global"]
    overrides = [f"Global.output_dir={tmp_path}/again"]
    jobs.train(load_config(in_place.out / "photos.yaml", overrides))
    for name in ("best_model", "latest"):
        assert_same_bits(tmp_path / "again" / f"{name}.pdparams", in_place.out / f"{name}.pdparams")


@pytest.mark.slow
def test_a_stopped_training_goes_on_by_the_command_that_it_names(in_place, tmp_path, monkeypatch):
    lines, end_of_epoch = [], Recorder.end_of_epoch

    def interrupt(self, epochs):
        end_of_epoch(self, epochs)
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "end_of_epoch", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train_photos(in_place.folder.name, out=tmp_path / "a b", say=lines.append, **SMALL)
    assert not (tmp_path / "a b/inference").exists()
    text = "\n".join(lines)
    assert f"stopped; the training so far is saved in {tmp_path / 'a b'}. To go on:\n" in text
    with pytest.raises(ConfigError, match=r"holds a run; go on with it by --resume, .*--overwrite"):
        train_photos(in_place.folder.name, out=tmp_path / "a b", say=silent, **SMALL)
    with pytest.raises(ConfigError, match=r"--resume goes on as .*photos\.yaml says; leave --epochs out"):
        train_photos(in_place.folder.name, out=tmp_path / "a b", say=silent, resume=True, epochs=3)
    with pytest.raises(ConfigError, match=r"is of the photos in .*; give that folder"):
        train_photos(str(tmp_path), out=tmp_path / "a b", say=silent, resume=True)
    os.rename(tmp_path / "a b/photos.yaml", tmp_path / "away")
    with pytest.raises(
        ConfigError, match=r"without a photos\.yaml.* -c '.*config\.yaml' -o Global\.checkpoints=auto"
    ):
        train_photos(in_place.folder.name, out=tmp_path / "a b", say=silent, resume=True)
    os.rename(tmp_path / "away", tmp_path / "a b/photos.yaml")
    run_pasted(text.splitlines()[-1])
    assert_same_bits(tmp_path / "a b/best_model.pdparams", in_place.out / "best_model.pdparams")
    assert (tmp_path / "a b/report/report.html").is_file()
    # What was trained stays when the export cannot be written; --resume does the rest alone.
    before = (tmp_path / "a b/latest.pdparams").stat().st_mtime_ns
    os.rename(tmp_path / "a b/inference", tmp_path / "kept")
    (tmp_path / "a b/inference").write_text("")
    with pytest.raises(
        UserError, match=r"the training is saved in .*; when that is mended: .*--resume"
    ) as error:
        run_pasted(text.splitlines()[-1])
    assert isinstance(error.value, ExportError)
    os.remove(tmp_path / "a b/inference")
    run_pasted(text.splitlines()[-1])
    assert (tmp_path / "a b/inference/inference.yml").is_file()
    assert (tmp_path / "a b/latest.pdparams").stat().st_mtime_ns == before


def test_a_copy_goes_on_in_its_own_folder_and_leaves_the_first_run_alone(in_place, tmp_path):
    shutil.copytree(in_place.out, tmp_path / "copy")
    (tmp_path / "copy/inference/inference.yml").unlink()
    before = {path: path.stat().st_mtime_ns for path in in_place.out.rglob("*") if path.name != ".lock"}
    lines = []
    train_photos(in_place.folder.name, out=tmp_path / "copy", say=lines.append, resume=True)
    now = {path: path.stat().st_mtime_ns for path in in_place.out.rglob("*") if path.name != ".lock"}
    assert now == before
    assert (tmp_path / "copy/inference/inference.yml").is_file()
    assert str(in_place.out) not in (tmp_path / "copy/photos.yaml").read_text()
    assert str(in_place.out) not in "\n".join(lines)
    os.rename(tmp_path / "copy/lists/test_list.txt", tmp_path / "away")
    with pytest.raises(DataError, match=r"test_list\.txt: cannot be read.* --resume"):
        train_photos(in_place.folder.name, out=tmp_path / "copy", say=silent, resume=True)
    shutil.rmtree(tmp_path / "copy/lists")
    with pytest.raises(ConfigError, match=r"lists is gone, .*--overwrite"):
        train_photos(in_place.folder.name, out=tmp_path / "copy", say=silent, resume=True)


def test_a_second_start_in_the_folder_changes_nothing_of_the_first(tmp_path, monkeypatch):
    """The first is still choosing: its division is the one that it trains and scores with."""
    monkeypatch.chdir(tmp_path)
    write_photos(tmp_path / "p", {"a": 6, "b": 6})
    measured, refused = choose.choose, []

    def meanwhile(*arguments):
        before = Path("o/lists/train_list.txt").read_bytes()
        with pytest.raises(ConfigError, match=r"another run .* is writing to"):
            second()
        refused.append(Path("o/lists/train_list.txt").read_bytes() == before)
        return measured(*arguments)

    def second():
        monkeypatch.setattr("ppcls_light.photos.job.choose", measured)
        train_photos("p", out="o", say=silent, scratch=True, seed=1, **SMALL)

    monkeypatch.setattr("ppcls_light.photos.job.choose", meanwhile)
    train_photos("p", out="o", say=silent, scratch=True, **{**SMALL, "epochs": 1})
    assert refused == [True]


@pytest.mark.slow
def test_weights_of_a_file_and_a_run_that_moves(tmp_path, monkeypatch):
    """6 photos: no class has one to choose by, and the newest weights are scored."""
    monkeypatch.chdir(tmp_path)
    write_photos(tmp_path / "few", {"a": 3, "b": 3})
    write_weights("first.pdparams", create_model("PPLCNet_x0_25", class_num=7).state_dict())
    lines = []
    settings = {**SMALL, "epochs": 1, "weights": "first.pdparams"}
    out = train_photos("few", say=lines.append, **settings)
    assert "4 to learn, 2 held out to score" in lines
    assert load_config(f"{out}/photos.yaml").Arch.pretrained == str(tmp_path / "first.pdparams")
    assert not os.path.exists(f"{out}/best_model.pdparams")
    assert any("from the weights" in line and "first.pdparams" in line for line in lines)
    trained = read_weights(f"{out}/latest.pdparams")
    before = {name: Path(out, name).read_bytes() for name in ("latest.pdparams", "lists/train_list.txt")}
    again = {**settings, "seed": 1, "weights": f"{out}/latest"}  # which moves, too
    train_photos("few", say=silent, overwrite=True, **again)
    previous = Path(out, "previous_1")
    assert {name: (previous / name).read_bytes() for name in before} == before
    assert not list(Path(out).rglob("previous_2"))
    for name in ("photos.yaml", "config.yaml"):
        moved = load_config(previous / name)
        assert moved.Global.output_dir == str(tmp_path / previous)
        assert moved.reader("Train").dataset.cls_label_path == str(
            tmp_path / previous / "lists/train_list.txt"
        )
        assert moved.Infer.PostProcess.class_id_map_file == str(tmp_path / previous / "lists/labels.txt")
    assert load_config(f"{out}/photos.yaml").Arch.pretrained == str(tmp_path / previous / "latest")
    assert read_weights(f"{out}/latest.pdparams").keys() == trained.keys()


def test_settings_that_cannot_be_are_one_line_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_photos(tmp_path / "p", {"a": 4, "b": 4})
    for settings, kind, message in (
        ({"minutes": 0}, ConfigError, "--minutes 0 is not above 0"),
        ({"minutes": float("nan")}, ConfigError, "--minutes nan is not above 0"),
        ({"epochs": 0}, ConfigError, "--epochs 0 is below 1"),
        ({"size": 8}, ConfigError, "--size 8 is below 32"),
        ({"seed": -1}, ConfigError, "--seed -1 is below 0"),
        ({"network": "resnet"}, ConfigError, "unknown model 'resnet'"),
        ({"scratch": True, "weights": "x"}, ConfigError, "give one of them"),
        ({"minutes": "5"}, ConfigError, "--minutes '5' is no number"),
        ({"minutes": None}, ConfigError, "--minutes None is no number"),
        ({"epochs": True}, ConfigError, "--epochs True is no whole number"),
        ({"size": 32.5}, ConfigError, "--size 32.5 is no whole number"),
        ({"split": (0.8, 0.1, 0.1)}, ConfigError, "three shares are needed"),
        ({"weights": 5}, ConfigError, "--weights 5 is no text"),
        ({"weights": ""}, ConfigError, "--weights is empty"),
        ({"out": ""}, ConfigError, "--out is empty"),
        ({"split": "nan/0.1/0.1"}, ConfigError, "--split 'nan/0.1/0.1' is not up to three shares"),
        ({"split": "0.5/0.5"}, ConfigError, "three shares are needed"),
        ({"out": "p/output"}, ConfigError, "is in the folder of the photos"),
    ):
        with pytest.raises(kind, match=re.escape(message)):
            train_photos("p", say=silent, **settings)
    for folder in ("q", ""):
        with pytest.raises(DataError, match="is not there; give a folder"):
            train_photos(folder, say=silent)
    with monkeypatch.context() as patch:
        patch.setenv("PADDLE_TRAINERS_NUM", "2")
        with pytest.raises(ConfigError, match=r"trained by one process; .* lists p --split 0\.8/0\.1/0\.1"):
            train_photos("p", say=silent)
    assert os.listdir() == ["p"]
    with pytest.raises(WeightsError, match=r"nowhere\.pdparams"):
        train_photos("p", weights=Path("nowhere.pdparams"), say=silent)
    with pytest.raises(ConfigError, match="--batch-size 7 exceeds the 6 photos to learn"):
        train_photos("p", scratch=True, batch_size=7, say=silent)


def test_the_minutes_choose_among_measured_networks(tmp_path, monkeypatch):
    """The clock is that of a table; what is measured are the very configs that could be taken."""
    folder = write_photos(tmp_path / "p", {"a": 50, "b": 50})
    seconds = {96: 3.0, 64: 1.0}  # a batch of 20: 4 of 80 photos in an epoch
    measured = []

    def measure(config, runtime):
        size = config.Global.image_shape[-1]
        measured.append((config.Arch.name, size, config.Global.minutes))
        return 5, Costs(seconds[size], 0.0, 0.0)

    monkeypatch.setattr(choose, "measure", measure)
    lists = Lists(str(folder), "train_list.txt", "val_list.txt", True, "labels.txt", 2, 80)

    def chosen(minutes):
        measured.clear()
        wishes = choose.Wishes(minutes, scratch=True, batch_size=20).checked()
        start = choose.start_of(wishes, silent)
        return choose.choose(wishes, start, lists, str(tmp_path), lambda: 60 * minutes, silent)

    plenty = chosen(20.0)  # 100 epochs of 12 s
    assert (plenty.network, plenty.size, plenty.epochs) == ("FasterNet_T0", 96, 100)
    assert measured == [("FasterNet_T0", 96, 20.0)]
    short = chosen(5.0)  # 25 of 12 s, 75 of 4 s
    assert (short.network, short.size, short.epochs) == ("FasterNet_T0", 64, 75)
    assert [size for _, size, _ in measured] == [96, 64]
    with pytest.raises(
        ConfigError, match=r"--minutes 0\.05 is too short: .* needs 0\.067 .*; give --minutes 0\.13"
    ):
        chosen(0.05)


def test_without_matplotlib_the_page_is_missed_before_and_told_how_to_get_after(in_place, monkeypatch):
    def missing(wanted_by):
        raise UserError(f"{wanted_by} needs matplotlib; install it")

    lines = []
    monkeypatch.setattr("ppcls_light.photos.job.check_matplotlib", missing)
    train_photos(in_place.folder.name, resume=True, say=lines.append)
    assert lines[0] == "NOTE: there will be no page; the page needs matplotlib; install it"
    page = next(line for line in lines if line.startswith("page "))
    assert re.fullmatch(
        r"page +none; the page needs matplotlib; install it, and then: .* train .* --resume", page
    )
