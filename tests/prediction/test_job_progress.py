import io
from types import SimpleNamespace

import numpy as np
import pytest

from ppcls_light.config.postprocess import Topk
from ppcls_light.errors import DataError
from ppcls_light.prediction import job
from ppcls_light.prediction.postprocess import PostProcessor


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("stream", "lines"), [(Terminal(), 12), (io.StringIO(), 1)])
def test_a_line_now_and_then(monkeypatch, stream, lines):
    """The rate and the time to go are of this run; the number of images is asked for once."""
    now, asked = [100.0], []
    monkeypatch.setattr(job.time, "monotonic", lambda: now[0])
    told = job.Progress(lambda: asked.append(1) or 10_000, 1000, stream)
    for done in range(1001, 5001):
        now[0] += 1 / 64
        told.note(done)
    found = stream.getvalue().splitlines()
    assert len(found) == lines
    assert found[-1] == "4,840 of 10,000 images, 64.0 images/s, 0:01:21 to go"
    assert len(asked) == 1


def test_images_that_fail_are_no_speed(monkeypatch):
    now, stream = [0.0], Terminal()
    monkeypatch.setattr(job.time, "monotonic", lambda: now[0])
    told = job.Progress(lambda: 5000, 1000, stream)
    for seconds, done, failed in ((10, 1200, 0), (20, 1400, 100), (30, 1600, 600)):
        now[0] = seconds
        told.note(done, failed)
    assert stream.getvalue().splitlines() == [
        "1,200 of 5,000 images, 20.0 images/s, 0:03:10 to go",
        "1,400 of 5,000 images, 100 failed, 15.0 images/s, 0:03:00 to go",
        "1,600 of 5,000 images, 600 failed, 0:02:50 to go",
    ]


def test_quiet(capsys):
    told = job.Progress(lambda: 10, 0, None)
    told.note(1)
    assert capsys.readouterr() == ("", "")


def _predictor(probs):
    """Return what stands for a Predictor whose answer to every image is `probs`, of two best classes."""
    return SimpleNamespace(
        preprocess=lambda name: np.zeros((3, 8, 8), "float32"),
        run=lambda images: np.array([probs], "float32"),
        rows=PostProcessor(Topk(topk=2)),
        class_names=None,
    )


@pytest.mark.parametrize(
    ("before", "now", "same"),
    [
        ({3: 0.9, 1: 0.05}, [0.03, 0.06, 0.03, 0.88], True),
        ({0: 0.46831, 1: 0.46832}, [0.46832, 0.46831, 0.06337, 0], True),
        ({0: 0.5, 2: 0.2}, [0.5, 0.21, 0.19, 0.1], True),  # another one is the second now
        ({0: 0.9, 1: 0.05}, [0.05, 0.9, 0.05, 0], False),
        ({0: 0.9, 1: 0.05}, [0.7, 0.25, 0.05, 0], False),
        ({0: 0.9}, [0.9, 0.05, 0.05, 0], False),  # of one best class
        ({0: 0.9, 4: 0.05}, [0.9, 0.05, 0.05, 0], False),  # of more classes
        ({0: float("nan"), 1: 0.05}, [0.9, 0.05, 0.05, 0], False),
    ],
)
def test_the_last_row_must_come_out_again(before, now, same):
    row = {
        "file_name": "a.jpg",
        "class_ids": list(before),
        "scores": list(before.values()),
        "label_names": [],
    }
    file = SimpleNamespace(path="rows.csv", last=row, names={})
    if same:
        job._require_same_answer(_predictor(now), file)
    else:
        with pytest.raises(DataError, match=r"^rows\.csv: another model .* a\.jpg was changed"):
            job._require_same_answer(_predictor(now), file)


def test_an_image_that_is_gone_or_no_row_at_all_says_nothing():
    def gone(name):
        raise DataError(f"{name}: no such file")

    predictor = SimpleNamespace(preprocess=gone, run=None, rows=SimpleNamespace(shown=None))
    row = {"file_name": "a.jpg", "class_ids": [0], "scores": [1.0], "label_names": []}
    job._require_same_answer(predictor, SimpleNamespace(path="rows.csv", last=row, names={}))
    job._require_same_answer(predictor, SimpleNamespace(path="rows.csv", last=None))
