"""metrics.jsonl over crashes, resumes and full disks."""

import json
from pathlib import Path

import pytest

from ppcls_light.engine.history import History, read_history


def write(path, *rows, epoch=0, evaluated=True):
    history = History(str(path), epoch, evaluated)
    for split, done in rows:
        history.append(split, done, int(done * 10), {"loss": done}, lr=0.1)
    history.close()


def kept(path):
    return [(row["split"], row["epoch"]) for row in map(json.loads, path.read_text().splitlines())]


FIRST = [
    ("train", 0.5),
    ("train_avg", 1.0),
    ("eval", 1.0),
    ("train", 1.1),
    ("train", 1.5),
    ("train_avg", 2.0),
]


@pytest.mark.parametrize(
    ("epoch", "evaluated", "count"),
    [(1.5, True, 5), (1.2, True, 4), (1.0, True, 3), (1.0, False, 2), (9, True, 6)],
)
def test_a_resumed_run_goes_on_where_its_checkpoint_is(tmp_path, epoch, evaluated, count):
    path = tmp_path / "metrics.jsonl"
    write(path, *FIRST)
    write(path, ("train", epoch + 0.1), epoch=epoch, evaluated=evaluated)
    assert kept(path) == [*FIRST[:count], ("train", epoch + 0.1)]
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_run_from_the_beginning_keeps_the_one_before_aside(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write(path, *FIRST)
    write(path, ("train", 0.1))
    assert kept(path) == [("train", 0.1)]
    assert kept(tmp_path / "metrics.jsonl.old") == FIRST


def test_a_line_that_a_crash_cut_off_is_no_row(tmp_path, caplog):
    path = tmp_path / "metrics.jsonl"
    write(path, *FIRST[:3])
    path.write_bytes(path.read_bytes() + b'{"split": "train", "epoch": 1.1, "val')
    assert len(read_history(path)) == 3
    assert caplog.text == ""
    write(path, ("train", 1.1), epoch=1.05)
    assert kept(path) == FIRST[:4]


UNUSABLE = [
    b"[" * 200_000,
    *(b'{"epoch": %s, "values": {}}' % epoch for epoch in (b"NaN", b"Infinity", b"true", b"9" * 400)),
]


@pytest.mark.parametrize(
    "line", [b"not json", b"[1]", b'{"epoch": 1}', b'{"values": {}}', b"\xff\x00", b"", *UNUSABLE]
)
def test_a_damaged_line_in_the_middle_is_named_and_left_out(tmp_path, caplog, line):
    path = tmp_path / "metrics.jsonl"
    write(path, *FIRST[:2])
    first, second = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([first, line, second]))
    assert len(read_history(path)) == 2
    assert "metrics.jsonl:2: left out a damaged line" in caplog.text


def test_every_line_is_json_whatever_was_measured(tmp_path):
    history = History(str(tmp_path / "metrics.jsonl"))
    history.append("train", 0.5, 5, {"loss": float("inf"), "top1": float("nan"), "top5": 1.0}, lr=None)
    history.close()

    def refuse(constant):
        raise AssertionError(constant)

    row = json.loads((tmp_path / "metrics.jsonl").read_text(), parse_constant=refuse)
    assert row["values"] == {"loss": None, "top1": None, "top5": 1.0}


def test_a_disk_that_is_full_or_gone_is_one_warning(tmp_path, caplog):
    (tmp_path / "metrics.jsonl").mkdir()
    write(tmp_path / "metrics.jsonl", *FIRST, epoch=9)
    assert caplog.text.count("Is a directory; the run goes on without") == 1
    if not Path("/dev/full").exists():
        return
    history = History(str(tmp_path / "other.jsonl"))
    history._file = open("/dev/full", "w", buffering=1)  # noqa: SIM115 - stands for a disk that fills up
    for _ in range(3):
        history.append("train", 0.1, 1, {})
    history.close()
    assert caplog.text.count("No space left on device; the run goes on without") == 1
