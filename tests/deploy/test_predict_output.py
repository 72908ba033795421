"""predict_cls.py with rows kept in a file: ended in every way, and gone on with."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ppcls_light.prediction import Predictor
from ppcls_light.prediction.columns import CLASSES, Columns
from ppcls_light.prediction.rows import RowFile

SCRIPT = Path(__file__).parents[2] / "deploy" / "python" / "predict_cls.py"
IMAGES = 300  # their rows fill a pipe that nobody reads, so that a run stands still half-way
F_SETPIPE_SZ = 1031  # of Linux's <fcntl.h>; Python's `fcntl` has it from 3.10
PIPE_BYTES = 4096


@pytest.fixture
def many(images, tmp_path):
    """A folder with `IMAGES` images, which are three, and one that is none."""
    folder = tmp_path / "many"
    folder.mkdir()
    sources = [images / "a.jpg", images / "b.JPG", images / "sub" / "c.bmp"]
    for number in range(IMAGES):
        source = sources[number % 3]
        os.symlink(source, folder / f"{number:04}{source.suffix}")
    (folder / "0005_broken.jpg").write_bytes(b"no picture")
    return folder


@pytest.fixture
def start(model, many, tmp_path):
    """Start predict_cls.py on `many` with output rows.jsonl and further arguments."""
    started = []

    def start(*arguments):
        command = [
            *(sys.executable, str(SCRIPT), "--output", "rows.jsonl", *arguments),
            *(
                "-o",
                f"Global.inference_model_dir={model}",
                f"Global.infer_imgs={many}",
                "Global.batch_size=2",
            ),
        ]
        started.append(
            subprocess.Popen(command, cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        )
        fcntl.fcntl(started[-1].stdout, F_SETPIPE_SZ, PIPE_BYTES)
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def stand_still(process, tmp_path):
    """Wait until `process` has begun and waits for its rows to be read; return the rows that it has written."""
    assert process.stdout.readline(), process.stderr.read()
    partial, before = tmp_path / "rows.jsonl.partial", -1
    while partial.stat().st_size != before:
        before = partial.stat().st_size
        time.sleep(0.5)
    rows = partial.read_text().splitlines()
    assert 0 < len(rows) < IMAGES
    return rows


def children(process):
    return Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()


def check_rows(tmp_path, model, many):
    """Every image has its row, once, in order, with what a Predictor says of it."""
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [row["file_name"] for row in rows] == [str(many / name) for name in sorted(os.listdir(many))]
    assert [row["file_name"] for row in rows if "error" in row] == [str(many / "0005_broken.jpg")]
    assert "not an image" in rows[6]["error"]
    three = Predictor(model).predict([many / "0000.jpg", many / "0001.JPG", many / "0002.bmp"])
    for row in rows:
        if "error" not in row:
            expected = three[int(Path(row["file_name"]).stem) % 3]
            assert (row["class_ids"], row["label_names"]) == (expected["class_ids"], expected["label_names"])
            assert row["scores"] == pytest.approx(expected["scores"], abs=2e-5)
    assert not (tmp_path / "rows.jsonl.partial").exists()


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "2"])
def test_killed_and_resumed(start, model, many, tmp_path, workers):
    process = start("--workers", workers)
    written = stand_still(process, tmp_path)
    helpers = children(process) if os.path.exists("/proc/self/task") else []
    process.kill()
    process.communicate()
    with open(tmp_path / "rows.jsonl.partial", "ab") as file:
        file.write(b'{"class_ids": [1')
    again = start("--workers", workers, "--resume")
    out, err = again.communicate()
    assert again.returncode == 1, err
    assert len(out.splitlines()) == IMAGES + 1 - len(written) - (len(written) < 7)
    assert f"1 of {IMAGES + 1} images could not be classified" in err
    check_rows(tmp_path, model, many)
    deadline = time.monotonic() + 30
    while any(os.path.exists(f"/proc/{helper}") for helper in helpers):
        assert time.monotonic() < deadline, "a killed run left its processes behind"
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ended_by_a_signal_and_resumed(start, model, many, tmp_path, number):
    process = start("--workers", "1" if number == signal.SIGINT else "0")
    stand_still(process, tmp_path)
    process.send_signal(number)
    _, err = process.communicate()
    assert process.returncode == 128 + number
    lines = [line for line in err.splitlines() if "0005_broken.jpg" not in line]
    kept = len((tmp_path / "rows.jsonl.partial").read_text().splitlines())
    assert lines == [
        f"ended by {number.name}: {kept} rows are in rows.jsonl.partial; --resume goes on from them"
    ]
    assert not (tmp_path / "rows.jsonl").exists()
    again = start("--resume")
    again.communicate()
    assert again.returncode == 1
    check_rows(tmp_path, model, many)


def test_a_reader_that_goes_is_no_error(start, tmp_path):
    process = start()
    stand_still(process, tmp_path)
    process.stdout.close()
    err = process.stderr.read()
    assert process.wait() == 141
    assert [line for line in err.splitlines() if "0005_broken.jpg" not in line] == []
    assert (tmp_path / "rows.jsonl.partial").exists()


def predict_cls(model, images, tmp_path, *arguments):
    command = [sys.executable, str(SCRIPT), "-o", f"Global.inference_model_dir={model}"]
    command += [f"Global.infer_imgs={images}", *arguments]
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)


def test_failed_files_are_rows_and_count_again(model, images, tmp_path):
    (images / "b_broken.png").write_bytes(b"")
    done = predict_cls(model, images, tmp_path, "--output", "out/rows.csv", "--quiet")
    assert done.returncode == 1, done.stderr
    table = (tmp_path / "out" / "rows.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in table[1:]] == [
        str(images / name) for name in ("a.jpg", "b.JPG", "b_broken.png", "sub/c.bmp")
    ]
    assert "b_broken.png: the file is empty (0 bytes)" in table[3]
    again = predict_cls(model, images, tmp_path, "Global.output=out/rows.csv", "--resume")
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr.splitlines() == ["1 of 4 images could not be classified"]
    (images / "sub" / "d.jpg").write_bytes((images / "a.jpg").read_bytes())
    more = predict_cls(model, images, tmp_path, "--output", "out/rows.csv", "--resume")
    assert [line.split(":")[0] for line in more.stdout.splitlines()] == ["d.jpg"]
    assert (tmp_path / "out" / "rows.csv").read_text().splitlines()[:5] == table


@pytest.mark.parametrize("output", ["rows.jsonl", "rows.csv"])
def test_rows_with_other_class_names_are_not_gone_on_from(model, images, tmp_path, output):
    first = str(images / "a.jpg")
    with RowFile(str(tmp_path / output), Columns(CLASSES, 2)) as rows:
        rows.skip_done(iter([first]))
        rows.write(
            {"file_name": first, "class_ids": [1, 0], "scores": [0.6, 0.4], "label_names": ["cat", "dog"]}
        )
    written = (tmp_path / f"{output}.partial").read_bytes()
    again = predict_cls(model, images, tmp_path, "--output", output, "--resume")
    (line,) = again.stderr.splitlines()
    assert (again.returncode, again.stdout) == (2, "")
    assert "class 1 is 'cat' in the rows that are there, and 'rings' now" in line
    assert (tmp_path / f"{output}.partial").read_bytes() == written


@pytest.mark.parametrize("output", ["rows.jsonl", "rows.csv"])
def test_rows_of_another_model_are_not_gone_on_from(model, images, tmp_path, output):
    done = predict_cls(model, images, tmp_path, "--output", output, "--quiet")
    assert done.returncode == 0, done.stderr
    with RowFile(str(tmp_path / output), Columns(CLASSES, 2), resume=True) as rows:
        rows.skip_done(iter([str(images / name) for name in ("a.jpg", "b.JPG", "sub/c.bmp")]))
        last = rows.last
    assert (os.path.basename(last["file_name"]), len(last["scores"])) == ("c.bmp", 2)
    before, _, after = (tmp_path / output).read_text().rpartition(str(max(last["scores"])))
    (tmp_path / output).write_text(changed := f"{before}0.01{after}")
    again = predict_cls(model, images, tmp_path, "--output", output, "--resume")
    (line,) = again.stderr.splitlines()
    assert (again.returncode, again.stdout) == (2, "")
    assert f"{output}: another model or other settings wrote the rows" in line
    assert (tmp_path / output).read_text() == changed
    assert not (tmp_path / f"{output}.partial").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--resume"], "--resume goes on from the rows of an output; add --output rows.jsonl"),
        (["--output", "rows.txt"], "the name ends in neither .jsonl nor .csv"),
        (["--output", "/proc/rows.csv"], "cannot write /proc/rows.csv"),
        (["--workers", "-1"], "Global.workers"),
        (["--workers", "1000"], "Global.workers=1000: this machine is too small for more than"),
    ],
)
def test_what_cannot_be_is_one_line(model, images, tmp_path, arguments, message):
    done = predict_cls(model, images, tmp_path, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
