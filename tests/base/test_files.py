"""Atomic files: the old content or the new, whatever happens in between."""

import json
import os
import socket
import subprocess
import sys

import pytest

from ppcls_light.base.files import (
    atomic_path,
    open_plain,
    read_plain,
    read_utf8,
    require_writable,
    results,
    set_aside,
    temporary_name,
    write_text,
)
from ppcls_light.errors import DataError, UserError


def test_a_file_is_replaced_whole_and_folders_are_made(tmp_path):
    path = tmp_path / "a/b/list.txt"
    write_text(path, "old\n")
    write_text(path, "new — 新\n")
    assert path.read_bytes() == "new — 新\n".encode()
    assert [entry.name for entry in path.parent.iterdir()] == ["list.txt"]


def test_an_error_while_writing_keeps_the_old_file(tmp_path):
    path = tmp_path / "list.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:  # noqa: PT012 - both belong together
        with open(temporary, "w") as file:
            file.write("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["list.txt"]


def orphan(name, process):
    """Return the temporary name of `name` as another process of this machine would have it."""
    return temporary_name(name).replace(f"-{os.getpid()}.", f"-{process}.")


def test_what_a_killed_process_left_is_removed_by_the_next_one(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    gone = [tmp_path / orphan(name, ended.pid) for name in ("list.txt", "other.json", "")]
    for path in gone[:2]:
        path.write_text("half")
    (gone[2] / "inside").mkdir(parents=True)
    elsewhere = temporary_name("list.txt").split(".")
    elsewhere[-2] = f"00000000-{ended.pid}"
    kept = [orphan("a", os.getppid()), ".list.txt.tmp", ".hidden", "x.tmp", ".".join(elsewhere)]
    for name in kept:
        (tmp_path / name).write_text("")
    write_text(tmp_path / "list.txt", "whole")
    assert sorted(os.listdir(tmp_path)) == sorted([*kept, "list.txt"])


def test_results_of_a_killed_process_are_removed(tmp_path):
    code = (
        "import os, sys\nfrom ppcls_light.base.files import results\n"
        "with results(sys.argv[1]) as folder:\n"
        "    open(os.path.join(folder, 'a.txt'), 'w').close()\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert len(os.listdir(tmp_path)) == 1
    with results(tmp_path) as folder:
        write_text(os.path.join(folder, "b.txt"), "")
    assert os.listdir(tmp_path) == ["b.txt"]


def test_a_place_that_cannot_be_written_is_the_callers_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot write .*file/list\.txt"):
        write_text(tmp_path / "file/list.txt", "", DataError)


def test_a_pipe_or_device_is_not_replaced_by_a_file(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(DataError, match=r"pipe: it is no ordinary file; give another name"):
        write_text(path, "", DataError)
    assert path.is_fifo()
    assert len(list(tmp_path.iterdir())) == 1


def test_text_that_utf_8_cannot_hold_is_escaped(tmp_path):
    write_text(tmp_path / "rows.json", json.dumps(["\u56fe", "\udcff"], ensure_ascii=False))
    assert (tmp_path / "rows.json").read_bytes() == '["\u56fe", "\\udcff"]'.encode()


def test_what_cannot_be_written_is_said_before_the_work(tmp_path):
    (tmp_path / "taken").write_text("a file, not a folder")
    with pytest.raises(UserError, match=r"cannot write .*taken/summary\.json: .*; choose another folder"):
        require_writable(tmp_path / "taken/summary.json")
    require_writable(tmp_path / "new/summary.json")
    with pytest.raises(UserError, match="new: it is no ordinary file"):
        require_writable(tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []


def test_what_is_set_aside_gets_a_number_of_its_own(tmp_path):
    for content in ("one", "two"):
        (tmp_path / "a").write_text(content)
        (tmp_path / "folder").mkdir()
        set_aside(tmp_path, ["a", "folder"])
    (tmp_path / "previous_1/folder").rmdir()
    assert (tmp_path / "previous_1/a").read_text() == "one"
    assert (tmp_path / "previous_2/a").read_text() == "two"
    assert sorted(os.listdir(tmp_path)) == ["previous_1", "previous_2"]
    with pytest.raises(DataError, match=r"cannot move .*missing out of the way: No such file"):
        set_aside(tmp_path, ["missing"], DataError)


def test_a_file_of_other_content_is_kept_on_request(tmp_path, caplog):
    path = tmp_path / "rows.jsonl"
    for text in ("one", "one", "two"):
        write_text(path, text, keep=True)
    assert path.read_text() == "two"
    assert (tmp_path / "previous_1/rows.jsonl").read_text() == "one"
    assert sorted(os.listdir(tmp_path)) == ["previous_1", "rows.jsonl"]
    assert f"rows.jsonl of something else moved to {tmp_path}/previous_1" in caplog.text
    with pytest.raises(RuntimeError), atomic_path(path, keep=True):
        raise RuntimeError
    assert path.read_text() == "two"


def test_results_appear_together_and_replace_only_what_says_the_same(tmp_path):
    def write(numbers, picture, more=""):
        with results(tmp_path) as scratch:
            write_text(os.path.join(scratch, "numbers.csv"), numbers)
            write_text(os.path.join(scratch, "drawn.png"), picture)
            assert not more

    (tmp_path / "notes.txt").write_text("foreign")
    write("1", "red")
    write("1", "blue")
    assert sorted(os.listdir(tmp_path)) == ["drawn.png", "notes.txt", "numbers.csv"]
    assert (tmp_path / "drawn.png").read_text() == "blue"
    write("2", "green")
    kept = {
        name: (tmp_path / "previous_1" / name).read_text() for name in os.listdir(tmp_path / "previous_1")
    }
    assert kept == {"numbers.csv": "1", "drawn.png": "blue"}
    with pytest.raises(AssertionError):
        write("3", "black", more="an error after the first files")
    assert (tmp_path / "numbers.csv").read_text() == "2"
    assert sorted(os.listdir(tmp_path)) == ["drawn.png", "notes.txt", "numbers.csv", "previous_1"]


def test_a_result_that_is_made_no_more_is_set_aside_with_the_others(tmp_path):
    def write(*names):
        with results(tmp_path, optional=("extra.csv",)) as scratch:
            for name in names:
                write_text(os.path.join(scratch, name), "same")

    write("numbers.csv", "extra.csv")
    write("numbers.csv", "extra.csv")
    assert sorted(os.listdir(tmp_path)) == ["extra.csv", "numbers.csv"]
    write("numbers.csv")
    assert sorted(os.listdir(tmp_path)) == ["numbers.csv", "previous_1"]
    assert sorted(os.listdir(tmp_path / "previous_1")) == ["extra.csv", "numbers.csv"]
    write("numbers.csv")
    assert sorted(os.listdir(tmp_path)) == ["numbers.csv", "previous_1"]


@pytest.fixture
def special(tmp_path, monkeypatch):
    """{kind: path} of what is no ordinary file: opening or reading it may wait, or never end."""
    paths = {"pipe": tmp_path / "pipe", "device": tmp_path / "zeros", "socket": tmp_path / "socket"}
    os.mkfifo(paths["pipe"])
    paths["device"].symlink_to("/dev/zero")
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
    return paths


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="special files of POSIX")
def test_what_is_no_ordinary_file_is_not_opened(special, tmp_path):
    for kind, path in special.items():
        with pytest.raises(DataError) as error:
            read_plain(path)
        assert str(error.value) == f"{path}: cannot be read: it is a {kind}, not an ordinary file"
        with pytest.raises(OSError, match="not an ordinary file"):
            open_plain(path)
    with pytest.raises(DataError, match="Is a directory"):
        read_utf8(tmp_path)


def test_a_file_of_many_bytes_is_not_read(tmp_path):
    path = tmp_path / "sparse"
    with open(path, "wb") as file:
        file.truncate(60 << 30)
    with pytest.raises(DataError, match=r"sparse: has 64,424,509,440 bytes"):
        read_utf8(path)
    path.write_bytes(b"12345")
    assert read_plain(path, 5) == b"12345"
    with pytest.raises(DataError, match="has 5 bytes, and 4 are the limit"):
        read_plain(path, 4)
