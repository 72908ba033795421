import io

import pytest

from ppcls_light.inference import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("stream", "lines"), [(Terminal(), 12), (io.StringIO(), 1)])
def test_a_line_now_and_then(monkeypatch, stream, lines):
    """The rate and the time to go are of this run; the number of images is asked for once."""
    now, asked = [100.0], []
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    told = progress.Progress(lambda: asked.append(1) or 10_000, 1000, stream)
    for done in range(1001, 5001):
        now[0] += 1 / 64
        told.note(done)
    found = stream.getvalue().splitlines()
    assert len(found) == lines
    assert found[-1] == "4,840 of 10,000 images, 64.0 images/s, 0:01:21 to go"
    assert len(asked) == 1


def test_quiet(capsys):
    told = progress.Progress(lambda: 10, 0, None)
    told.note(1)
    assert capsys.readouterr() == ("", "")
