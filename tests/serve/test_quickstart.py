"""The server that the quickstart starts, asks and ends."""

import shlex
import shutil
import socket
import urllib.parse

import pytest

from ppcls_light.errors import DeviceError
from ppcls_light.prediction import Predictor
from tools import quickstart

pytest.importorskip("fastapi", reason="the server needs the extra `serving`")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    quickstart.FOLDER.mkdir(parents=True)


def answers(address):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", urllib.parse.urlsplit(address).port)) == 0


def test_the_answer_is_the_models_and_no_server_stays(model, photo, capfd):
    photos = [photo(channel) for channel in range(3)]
    with quickstart.serving(model) as address:
        rows = quickstart.ask(address, photos)
        assert answers(address)
    assert not answers(address)
    expected = Predictor(model, topk=1).predict(photos)
    assert [row["label_names"] for row in rows] == [row["label_names"] for row in expected]
    assert [row["file_name"] for row in rows] == [path.name for path in photos]
    shell = shlex.split(capfd.readouterr().out.split("$ ")[1].splitlines()[0])
    assert shell[-4:] == ["serve", str(model), "--port", "0"]
    assert shutil.which(shell[0])  # the line can be pasted

    with (
        pytest.raises(KeyboardInterrupt),
        quickstart.serving(model) as address,
    ):  # as Ctrl-C between two steps
        raise KeyboardInterrupt
    assert not answers(address)


def test_a_server_that_does_not_start_is_said_with_its_log(tmp_path):
    expected = r"exit code 2; its log .*server\.log ends with: .*no such folder"
    with pytest.raises(DeviceError, match=expected), quickstart.serving(tmp_path / "nothing"):
        pass


def test_a_step_that_fails_ends_it_with_what_the_step_said(tmp_path, capfd):
    with pytest.raises(SystemExit, match=r"the command above failed, exit code 2"):
        quickstart.run("train", "-c", tmp_path / "nothing.yaml")
    assert "nothing.yaml: no such config file" in capfd.readouterr().out
