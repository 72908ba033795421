"""A folder of photos in Python: the whole way, its settings, and what an interrupt leaves."""

import os
import signal

import pytest

from ppcls_light import load, train
from ppcls_light.engine.recorder import Recorder
from ppcls_light.errors import ConfigError
from ppcls_light.run.settings import of_python
from tests.photos.conftest import SMALL, write_photos


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of 30 photos in the working directory; there are no published weights."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PPCLS_LIGHT_HOME", str(tmp_path / "weights"))
    return write_photos(tmp_path / "fruits", {"red": 10, "green": 10, "blue": 10})


@pytest.mark.slow
def test_an_interrupted_run_of_photos_goes_the_rest_of_the_way(folder, monkeypatch):
    lines, end_of_epoch = [], Recorder.end_of_epoch

    def interrupt(self, epochs):
        end_of_epoch(self, epochs)
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "end_of_epoch", interrupt)
        run = train(folder.name, say=lines.append, **SMALL)
    assert run.stopped
    assert os.path.realpath(run.folder) == os.path.realpath("output/fruits")
    assert any(line.startswith("stopped; the training so far is saved in") for line in lines)
    assert not os.path.exists("output/fruits/inference")
    done = run.resume()
    assert done.finished
    assert done.curves["epoch"] == [1, 2]
    assert os.path.isfile("output/fruits/report/report.html")
    image = folder / "red/00.png"
    exported, trained = load("output/fruits/inference", topk=3), load(done, topk=3)
    (one,), (other,) = exported.predict(image), trained.predict(image)
    assert one["label_names"] == other["label_names"]
    assert one["scores"] == pytest.approx(other["scores"], abs=2e-5)


def test_settings_of_photos_are_their_own(folder):
    with pytest.raises(ConfigError, match=r"there is no setting 'sizes'; did you mean 'size'\?"):
        train(folder, sizes=32)
    with pytest.raises(ConfigError, match="there is no setting 'out'"):
        train(folder, out="elsewhere")
    with pytest.raises(ConfigError, match=r"Global\.epochs=2: photos have settings by name alone"):
        train(folder, "Global.epochs=2")
    assert not os.path.exists("output")


def test_an_error_names_the_settings_of_python(folder):
    (folder.parent / "output/fruits").mkdir(parents=True)
    (folder.parent / "output/fruits/latest.pdparams").write_bytes(b"")
    with pytest.raises(ConfigError) as caught:
        train(folder)
    said = str(caught.value)
    assert 'resume=True, train elsewhere by output_dir="FOLDER", or have it moved' in said
    assert said.endswith("by overwrite=True")
    with pytest.raises(ConfigError, match=r"^minutes=0 is not above 0"):
        train(folder, minutes=0)


@pytest.mark.parametrize(
    ("option", "setting"),
    [
        ("leave --batch-size out", "leave batch_size out"),
        ("give --minutes 2.7, a smaller --network", "give minutes=2.7, a smaller network"),
        (
            "when that is mended: ppcls-light train a --resume",
            "when that is mended: ppcls-light train a --resume",
        ),
    ],
)
def test_a_message_without_a_command_is_put_into_python(option, setting):
    assert of_python(option) == setting
