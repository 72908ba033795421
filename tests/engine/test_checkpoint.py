"""Checkpoint sets: complete or unseen, whatever moment the process dies at."""

import contextlib
import os
import pickle

import numpy as np
import pytest

from ppcls_light.engine import checkpoint
from ppcls_light.errors import WeightsError
from ppcls_light.weights import dump_plain_pickle


def save(prefix, value, ema=False):
    weights = {"fc.weight": np.full((2, 3), value, "float32")}
    raw = {"fc.weight": np.full((2, 3), value, "float32")} if ema else None
    checkpoint.save(prefix, weights, {"fc.weight.velocity_0": np.full(3, value)}, states(value), raw)


def states(step, **others):
    return {"step": step, "epoch": 0, "position": 0, "schedule": {}, "scaler": {}, **others}


def value_of(found):
    values = {*np.unique(found.weights["fc.weight"]), *np.unique(found.optimizer["fc.weight.velocity_0"])}
    values |= {*np.unique(found.trained["fc.weight"])}
    assert values == {found.states["step"]}, "the files are not of one save"
    return found.states["step"]


@pytest.mark.parametrize(
    ("ema_before", "ema_after"), [(False, False), (True, True), (False, True), (True, False)]
)
@pytest.mark.parametrize("dies_at", range(12))
def test_a_crash_at_any_write_leaves_one_whole_set(tmp_path, monkeypatch, dies_at, ema_before, ema_after):
    prefix = str(tmp_path / "latest")
    save(prefix, 1, ema_before)
    calls = {"count": 0}
    real = os.replace

    def replace(source, target):
        if calls["count"] == dies_at:
            raise SystemExit("killed")
        calls["count"] += 1
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        try:
            save(prefix, 2, ema_after)
            finished = True
        except SystemExit:
            finished = False
    left = sorted(path.name for path in tmp_path.iterdir())
    found = checkpoint.find_latest(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == left  # another run may be writing there
    assert value_of(found) == (2 if finished else value_of(found))
    assert value_of(checkpoint.load(prefix)) == value_of(found)
    assert (found.raw is not None) == (ema_before if found.states["step"] == 1 else ema_after)
    checkpoint.finish_renames(tmp_path)
    assert not (tmp_path / "latest.pdstates.new").exists()
    assert value_of(checkpoint.load(prefix)) == value_of(found)
    save(prefix, 3)
    assert not (tmp_path / "latest.pdema").exists()
    assert value_of(checkpoint.load(prefix)) == 3


def test_a_second_crash_does_not_mix_with_the_set_of_the_first(tmp_path, monkeypatch):
    prefix, real = str(tmp_path / "latest"), os.replace
    save(prefix, 1)

    def dies_after(count):
        left = [count]

        def replace(source, target):
            if not left[0]:
                raise SystemExit
            left[0] -= 1
            real(source, target)

        return replace

    with monkeypatch.context() as patch, contextlib.suppress(SystemExit):
        patch.setattr(os, "replace", dies_after(3))  # the three files of set 2 are there as `.new`
        save(prefix, 2)
    with monkeypatch.context() as patch, contextlib.suppress(SystemExit):
        patch.setattr(os, "replace", dies_after(4))  # set 2 is finished, set 3 has its first file
        save(prefix, 3)
    assert value_of(checkpoint.load(prefix)) == 2


def test_a_save_that_fails_gives_its_room_back(tmp_path):
    prefix = str(tmp_path / "latest")
    save(prefix, 1)
    (tmp_path / "latest.pdopt.new").mkdir()  # stands for a disk that is full from there on
    with pytest.raises(WeightsError, match=r"cannot write .*pdopt\.new"):
        save(prefix, 2)
    assert not (tmp_path / "latest.pdparams.new").exists()
    assert value_of(checkpoint.load(prefix)) == 1


def test_a_folder_in_the_place_of_a_file_is_one_line(tmp_path):
    (tmp_path / "latest.pdparams").mkdir()
    with pytest.raises(WeightsError, match=r"cannot write .*latest\.pdparams: Is a directory"):
        save(str(tmp_path / "latest"), 1)
    assert value_of(checkpoint.load(str(tmp_path / "latest"))) == 1  # complete, under `*.new`
    with pytest.raises(WeightsError, match=r"cannot write .*latest\.pdparams: Is a directory"):
        checkpoint.finish_renames(tmp_path)


def test_both_outcomes_of_a_crash_occur(tmp_path, monkeypatch):
    """Guards the test above: early deaths keep the old set, late ones the new."""
    outcomes = []
    for dies_at in range(7):
        prefix = str(tmp_path / str(dies_at) / "latest")
        os.makedirs(os.path.dirname(prefix))
        save(prefix, 1)
        left = [dies_at]
        real = os.replace

        def replace(source, target, left=left, real=real):
            if left[0] == 0:
                raise SystemExit
            left[0] -= 1
            real(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", replace)
            with contextlib.suppress(SystemExit):
                save(prefix, 2)
        outcomes.append(value_of(checkpoint.load(prefix)))
    assert outcomes == sorted(outcomes)
    assert set(outcomes) == {1, 2}


@pytest.mark.parametrize("suffix", checkpoint.SUFFIXES)
def test_a_damaged_file_is_found_and_named_and_the_older_set_used(tmp_path, suffix, caplog):
    save(str(tmp_path / "epoch_1"), 1, ema=True)
    save(str(tmp_path / "latest"), 2, ema=True)
    path = tmp_path / f"latest{suffix}"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(WeightsError, match="latest"):
        checkpoint.load(str(tmp_path / "latest"))
    caplog.clear()
    assert value_of(checkpoint.find_latest(tmp_path)) == 1
    (line,) = caplog.messages
    assert line.startswith("passed over: ")
    assert "latest" in line


def test_a_set_without_the_weights_in_training_is_not_resumed(tmp_path):
    save(str(tmp_path / "latest"), 2, ema=True)
    (tmp_path / "latest.pdema").unlink()
    with pytest.raises(WeightsError, match=r"latest.pdema is damaged or from another save"):
        checkpoint.load(str(tmp_path / "latest"))


def test_the_most_steps_win_and_nothing_is_nothing(tmp_path):
    assert checkpoint.find_latest(tmp_path / "missing") is None
    assert checkpoint.find_latest(tmp_path) is None
    save(str(tmp_path / "epoch_1"), 5)
    save(str(tmp_path / "best_model"), 3)
    assert value_of(checkpoint.find_latest(tmp_path)) == 5


def test_missing_and_foreign_sets_say_what_to_do(tmp_path):
    with pytest.raises(WeightsError, match=r"no .*nope.pdparams.*none in"):
        checkpoint.load(str(tmp_path / "nope"))
    save(str(tmp_path / "latest"), 1)
    with pytest.raises(WeightsError, match=r"nope.*give one of: .*latest"):
        checkpoint.load(str(tmp_path / "nope"))
    with pytest.raises(WeightsError, match=r"is a folder; give one of: .*latest"):
        checkpoint.load(str(tmp_path))


@pytest.mark.parametrize(
    "content",
    [3, {}, {"epoch": 3, "metric": 0.5}, {**states(1), "sha256": [1]}, {**states(1, epoch="3"), "sha256": {}},
     {**states(1, schedule=None), "sha256": {}}],
)  # fmt: skip
def test_states_that_are_not_ours_are_one_line(tmp_path, content):
    save(str(tmp_path / "latest"), 1)
    dump_plain_pickle(content, str(tmp_path / "latest.pdstates"))
    with pytest.raises(WeightsError, match=r"not written by ppcls_light.*Global.pretrained_model="):
        checkpoint.load(str(tmp_path / "latest"))
    assert checkpoint.find_latest(tmp_path) is None


def test_an_optimizer_state_that_is_no_named_arrays_is_one_line(tmp_path):
    checkpoint.save(str(tmp_path / "latest"), {"w": np.zeros(2)}, [{"w": 3}], states(1))
    with pytest.raises(WeightsError, match="no named arrays"):
        checkpoint.load(str(tmp_path / "latest"))


def test_of_equal_steps_the_evaluated_set_is_resumed(tmp_path):
    for name, evaluated in (("epoch_1", False), ("latest", True), ("z", False)):
        checkpoint.save(str(tmp_path / name), {"w": np.zeros(2)}, {}, states(6, evaluated=evaluated))
    assert checkpoint.find_latest(tmp_path).prefix == str(tmp_path / "latest")


def test_no_flipped_bit_of_the_states_goes_unseen(tmp_path):
    """The states hold the checksums of the other files, and are sealed with their own."""
    prefix = str(tmp_path / "latest")
    save(prefix, 7)
    path, rng = tmp_path / "latest.pdstates", np.random.default_rng(0)
    whole = path.read_bytes()
    assert pickle.loads(whole)["step"] == 7  # other readers of pickles do not look behind it
    for bit in rng.choice(8 * len(whole), 400, replace=False):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(WeightsError, match=r"latest\.pdstates|latest: "):
            checkpoint.load(prefix)
    path.write_bytes(whole[:-73])  # the seal alone is gone
    with pytest.raises(WeightsError, match="it was cut"):
        checkpoint.load(prefix)
