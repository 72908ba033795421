import contextlib
import csv
import itertools
import json
import os
import resource
import subprocess
import sys

import pytest

from ppcls_light.errors import ConfigError, DataError, UserError
from ppcls_light.prediction.columns import CLASSES, Columns
from ppcls_light.prediction.rows import Parts, RowFile

NAMES = ["a.jpg", 'with "quotes", commas.jpg', "two\nlines.jpg", "照片.jpg", "bytes\udcff.jpg", "z.jpg"]


def row_of(index, name):
    if index % 3 == 1:
        return {"file_name": name, "error": f"{name}: damaged image: no end"}
    return {
        "class_ids": [index, 1],
        "scores": [0.75, 0.25],
        "file_name": name,
        "label_names": [f"class {index}", "one, or 1"],
    }


ROWS = [row_of(index, name) for index, name in enumerate(NAMES)]


def write(path, rows, names=NAMES, resume=False, finish=True):
    """Write those of `rows` that are missing; return how many were there already."""
    with RowFile(str(path), Columns(CLASSES, 2), resume) as file:
        left = iter(names)
        file.skip_done(left)
        done = file.done
        for _, row in zip(left, rows[done:]):
            file.write(row)
        if finish:
            file.finish()
    return done


def test_jsonl_reads_back(tmp_path):
    path = tmp_path / "rows.jsonl"
    write(path, ROWS)
    assert [json.loads(line) for line in path.read_text().splitlines()] == ROWS
    assert os.listdir(tmp_path) == ["rows.jsonl"]


def test_csv_is_a_table(tmp_path):
    path = tmp_path / "rows.csv"
    write(path, ROWS)
    with open(path, newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["file_name"] for row in table] == [name.replace("\udcff", "\\udcff") for name in NAMES]
    first = ("class_id_1", "score_1", "label_name_1", "class_id_2", "score_2", "label_name_2")
    assert [table[0][key] for key in first] == ["0", "0.75", "class 0", "1", "0.25", "one, or 1"]
    assert table[1]["error"].endswith("damaged image: no end")
    assert {table[1][key] for key in first} == {""}


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_a_file_cut_anywhere_is_completed_to_the_same_bytes(tmp_path, suffix):
    whole = tmp_path / f"whole{suffix}"
    write(whole, ROWS)
    content = whole.read_bytes()
    path = tmp_path / f"rows{suffix}"
    partial = tmp_path / f"rows{suffix}.partial"
    found = []
    for length in [*range(0, len(content), 3), len(content)]:
        partial.write_bytes(content[:length])
        found.append(write(path, ROWS, resume=True))
        assert path.read_bytes() == content
        assert not partial.exists()
        path.unlink()
    assert sorted(found) == found
    assert set(found) == set(range(len(ROWS) + 1))


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_the_last_line_may_be_garbage_and_no_other(tmp_path, suffix):
    path, partial = tmp_path / f"rows{suffix}", tmp_path / f"rows{suffix}.partial"
    write(path, ROWS, finish=False)
    content = partial.read_bytes()
    partial.write_bytes(content + b"\0" * 40 + b'"\n')
    assert write(path, ROWS, resume=True) == len(ROWS)
    assert path.read_bytes() == content
    partial.write_bytes(b"\0\0\n" + content)
    with pytest.raises(DataError, match=r"partial:1: no row that this command wrote.*delete the file"):
        write(path, ROWS, resume=True)


@pytest.mark.parametrize("scores", ["[1" + "0" * 400 + "]", "[[0.5]]", '["x"]'])
def test_scores_that_are_no_numbers_are_no_row(tmp_path, scores):
    path, partial = tmp_path / "rows.jsonl", tmp_path / "rows.jsonl.partial"
    first = f'{{"class_ids": [0], "scores": {scores}, "file_name": "a.jpg", "label_names": []}}\n'
    partial.write_text(first + json.dumps(ROWS[1]) + "\n")
    with pytest.raises(DataError, match=r"partial:1: no row that this command wrote"):
        write(path, ROWS, resume=True)


def test_done_and_failed_count_the_rows_of_earlier_runs(tmp_path):
    path = str(tmp_path / "rows.csv")
    write(path, ROWS[:3], NAMES[:3], finish=False)
    with RowFile(path, Columns(CLASSES, 2), resume=True) as file:
        left = iter(NAMES)
        file.skip_done(left)
        assert (file.done, file.failed, list(left)) == (3, 1, NAMES[3:])


def test_a_finished_file_is_gone_on_from_and_stays_until_the_end(tmp_path):
    path = tmp_path / "rows.jsonl"
    write(path, ROWS[:4], NAMES[:4])
    before = path.read_bytes()
    assert write(path, ROWS, resume=True, finish=False) == 4
    assert path.read_bytes() == before
    assert write(path, ROWS, resume=True) == len(ROWS)
    assert len(path.read_text().splitlines()) == len(ROWS)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a.jpg", "new.jpg", *NAMES[1:]], r"partial:2: row 2 is of with.*but now that image is new\.jpg"),
        (NAMES[:2], r"row 3 is of two.*but now there is no such image"),
        (
            [f"photos/{name}" for name in NAMES],
            r"row 1 is of a\.jpg.*that image is photos/a\.jpg.*another folder",
        ),
    ],
)
def test_rows_of_other_images_are_refused(tmp_path, names, message):
    path = tmp_path / "rows.jsonl"
    write(path, ROWS, finish=False)
    with pytest.raises(DataError, match=f"(?s){message}"):
        write(path, ROWS, names, resume=True)


def test_a_finished_file_of_other_images_leaves_no_copy(tmp_path):
    path = tmp_path / "rows.jsonl"
    write(path, ROWS)
    before = path.read_bytes()
    with pytest.raises(DataError, match="the images are not the same"):
        write(path, ROWS, ["other.jpg"], resume=True)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["rows.jsonl"]


def test_a_run_that_made_no_row_leaves_no_file(tmp_path):
    with RowFile(str(tmp_path / "rows.csv"), Columns(CLASSES, 2)):
        pass
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("line", ['{"file_name": 5}', '{"file_name": null}', "[1, 2]", "[" * 100_000])
def test_a_line_that_is_no_row_is_named(tmp_path, line):
    path = tmp_path / "rows.jsonl"
    write(path, ROWS[:3], NAMES[:3], finish=False)
    partial = tmp_path / "rows.jsonl.partial"
    first, *rest = partial.read_text().splitlines()
    partial.write_text("\n".join([first, line, *rest, ""]))
    with pytest.raises(DataError, match=r"rows\.jsonl\.partial:2: no row"):
        write(path, ROWS, resume=True)


@pytest.mark.parametrize("taken", ["rows.jsonl", "rows.jsonl.partial"])
def test_a_folder_in_the_place_of_the_output_is_refused_before_the_work(tmp_path, taken):
    (tmp_path / taken).mkdir()
    with pytest.raises(ConfigError, match=f"{taken}: it is no ordinary file"):
        write(tmp_path / "rows.jsonl", ROWS)


def test_a_name_that_is_too_long_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot write .*too long"):
        write(tmp_path / f"{'x' * 249}.jsonl", ROWS)


def test_a_fresh_run_does_not_throw_away_an_ended_one(tmp_path):
    path = tmp_path / "rows.jsonl"
    write(path, ROWS, finish=False)
    with pytest.raises(ConfigError, match=r"rows\.jsonl\.partial: rows of a run that was ended.*--resume"):
        write(path, ROWS)
    (tmp_path / "rows.jsonl.partial").unlink()
    path.write_text("an older file")
    write(path, ROWS)
    assert len(path.read_text().splitlines()) == len(ROWS)


def test_other_columns_are_refused(tmp_path):
    path = tmp_path / "rows.csv"
    write(path, ROWS, finish=False)
    with (
        pytest.raises(DataError, match="with these settings"),
        RowFile(str(path), Columns(CLASSES, 5), resume=True) as file,
    ):
        file.skip_done(iter(NAMES))


def test_two_runs_do_not_write_to_one_file(tmp_path):
    pytest.importorskip("fcntl", reason="there are no such locks on this system")
    path = str(tmp_path / "rows.jsonl")
    with RowFile(path, Columns(CLASSES, 2)), pytest.raises(ConfigError, match="another run is writing"):
        RowFile(path, Columns(CLASSES, 2), resume=True)


@pytest.mark.parametrize("name", ["rows", "rows.json", "rows.partial"])
def test_the_name_says_the_format(tmp_path, name):
    with pytest.raises(ConfigError, match=r"neither \.jsonl nor \.csv"):
        RowFile(str(tmp_path / name), Columns(CLASSES, 2))


def test_a_full_disk_is_one_line_and_the_rest_can_follow(tmp_path):
    path = tmp_path / "rows.jsonl"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with contextlib.ExitStack() as ends:
        ends.callback(resource.setrlimit, resource.RLIMIT_FSIZE, before)
        resource.setrlimit(resource.RLIMIT_FSIZE, (400, before[1]))
        with pytest.raises(UserError, match=r"cannot write .*rows\.jsonl\.partial: .*--resume"):
            write(path, ROWS)
    assert (tmp_path / "rows.jsonl.partial").stat().st_size == 400
    assert 0 < write(path, ROWS, resume=True) < len(ROWS)
    assert [json.loads(line) for line in path.read_text().splitlines()] == ROWS


MANY = """
import itertools, resource, sys
from ppcls_light.prediction import Predictor
from ppcls_light.prediction.columns import CLASSES, Columns
from ppcls_light.prediction.rows import RowFile

def names(count):
    return (f"photos/{number // 5000:04}/no_such_photo_{number:09}.jpg" for number in range(count))

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

predictor = Predictor(sys.argv[1], batch_size=8)
for start, count in ((0, 5_000), (5_000, 80_000)):
    with RowFile(sys.argv[2], Columns(CLASSES, 2), resume=True) as file:
        left = names(count)
        file.skip_done(left)
        assert file.done == start
        for row in predictor.iter_predict(left):
            file.write(row)
    print(peak())
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_images(exported, root, tmp_path):
    path = tmp_path / "rows.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", MANY, str(exported), str(path)],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    early, late = map(float, done.stdout.split())
    # The paths alone of 75,000 images would take 9 MB.
    assert late - early < 4
    with open(f"{path}.partial") as lines:
        numbers = (int(json.loads(line)["file_name"][-13:-4]) for line in lines)
        assert all(number == position for number, position in zip(numbers, itertools.count()))


def test_a_finished_file_of_other_rows_is_set_aside(tmp_path):
    path = tmp_path / "rows.jsonl"
    for count in (3, 1):
        with RowFile(str(path), Columns(CLASSES, 1)) as file:
            file.skip_done(iter([]))
            for index in range(count):
                file.write({"file_name": f"{index}.jpg", "error": "no image"})
            file.finish()
    assert len(path.read_text().splitlines()) == 1
    assert len((tmp_path / "previous_1/rows.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("columns", "row", "cells"),
    [
        (
            Columns(CLASSES, None),
            {
                "class_ids": [0, 2],
                "scores": [0.5, 0.9],
                "file_name": "a.jpg",
                "label_names": ["a", 'b "c", d'],
            },
            ["[0, 2]", "[0.5, 0.9]", '["a", "b \\"c\\", d"]'],
        ),
        (
            Columns(("attributes", "output"), None),
            {"attributes": "Color: (red, prob: 0.75), Type unknown", "output": [1, 0], "file_name": "a.jpg"},
            ['"Color: (red, prob: 0.75), Type unknown"', "[1, 0]"],
        ),
        (Columns(("scores",), None), {"scores": [5.25], "file_name": "a.jpg"}, ["[5.25]"]),
    ],
)
@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_other_kinds_of_answers_come_back_when_a_run_goes_on(tmp_path, columns, row, cells, suffix):
    path = tmp_path / f"rows{suffix}"
    with RowFile(str(path), columns) as file:
        file.skip_done(iter(["a.jpg"]))
        file.write(row)
        file.write({"file_name": "b.jpg", "error": "b.jpg: damaged"})
        file.finish()
    if suffix == ".csv":
        with open(path, newline="") as text:
            table = list(csv.reader(text))
        assert table[0] == ["file_name", "error", *columns.keys]
        assert table[1:] == [["a.jpg", "", *cells], ["b.jpg", "b.jpg: damaged", *[""] * len(cells)]]
    with RowFile(str(path), columns, resume=True) as file:
        file.skip_done(iter(["a.jpg", "b.jpg"]))
        assert (file.done, file.failed, file.last) == (2, 1, row)


def test_parts_have_the_columns_of_the_kind_of_answer(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    tags = {"class_ids": [0, 2], "scores": [0.5, 0.75], "file_name": "a.jpg", "label_names": ["a", "c"]}
    none = {"class_ids": [], "scores": [], "file_name": "b.jpg", "label_names": []}
    car = {"attributes": "Color unknown, Type unknown", "output": [0, 1], "file_name": "a.jpg"}
    failed = {"file_name": "b.jpg", "error": "b.jpg: damaged"}
    for name, keys, rows in (
        ("tags", CLASSES, (tags, none)),
        ("cars", ("attributes", "output"), (car, failed)),
        ("scores", ("scores",), ({"scores": [5.25], "file_name": "a.jpg"}, failed)),
    ):
        (tmp_path / name).mkdir()
        Parts(str(tmp_path / name), "parquet", size=2, count=2, keys=keys).write(0, rows)
        table = parquet.read_table(tmp_path / name / "part-00000.parquet")
        assert table.column_names == ["id", "file_name", *keys, "error"]
        for number, (found, row) in enumerate(zip(table.to_pylist(), rows)):
            assert found["id"] == number
            wanted = {**dict.fromkeys((*keys, "error")), **row}
            if isinstance(wanted.get("attributes"), str):
                wanted["attributes"] = [wanted["attributes"]]
            assert {key: found[key] for key in wanted} == wanted
