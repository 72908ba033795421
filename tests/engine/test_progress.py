"""The progress bar on a real terminal, and nothing of it elsewhere."""

import os
import re
import select
import sys

import pytest

from ppcls_light.engine.log import LOGGER, ON_BAR, StepTimer, progress, setup_logging

pty = pytest.importorskip("pty", reason="needs a pseudo terminal")


class Terminal:
    """A pseudo terminal of 100 columns that the log goes to after `log()`."""

    def __init__(self, monkeypatch):
        self._monkeypatch = monkeypatch
        self._master, slave = pty.openpty()
        self.stream = os.fdopen(slave, "w", encoding="utf-8")
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", "100")

    def log(self, path=None):
        # Here and not in the fixture: pytest sets its own stdout before the test is called.
        self._monkeypatch.setattr(sys, "stdout", self.stream)
        setup_logging(path)

    def sent(self):
        """Return what came since the last call."""
        data = b""
        while select.select([self._master], [], [], 0.2)[0]:
            data += os.read(self._master, 1 << 16)
        return data.decode().replace("\r\n", "\n")

    def close(self):
        self.stream.close()
        os.close(self._master)


@pytest.fixture
def terminal(monkeypatch):
    terminal = Terminal(monkeypatch)
    yield terminal
    terminal.close()


def screen(sent):
    """Return what stands on the screen after `sent`, the way a terminal takes \\r and the erasing of a line."""
    lines = []
    for line in sent.split("\n"):
        shown = ""
        for part in re.split("(\r|\x1b\\[K)", line):
            if part in ("\r", "\x1b[K"):
                shown = ""
            else:
                shown += part
        lines.append(shown)
    return lines


def loop(steps):
    timer = StepTimer()
    with progress() as show:
        for step in range(steps):
            timer.data_ready()
            timer.step_done(4)
            show("Epoch 1/2", step + 1, steps, {"loss": 1.5}, timer, steps - step)
            LOGGER.info("step %d", step, extra=ON_BAR)
        LOGGER.info("an average")
        yield
    yield


def test_a_bar_takes_the_place_of_the_steps_on_a_terminal(terminal, tmp_path):
    terminal.log(str(tmp_path / "train.log"))
    run = loop(5)
    next(run)
    *above, last = screen(terminal.sent())
    assert [line.split("INFO: ")[-1] for line in above] == ["an average"]
    assert re.match(r"Epoch 1/2 \[#{24}\] 5/5 [\d.]+ images/s, eta 0:00:00, data wait \d+%, ", last)
    assert len(last) < 100
    next(run)
    assert screen(terminal.sent())[-1] == ""
    log = (tmp_path / "train.log").read_text()
    assert [line.split("INFO: ")[-1] for line in log.splitlines()] == [f"step {i}" for i in range(5)] + [
        "an average"
    ]
    assert not set(log) & set("\r\x1b#")


def test_a_narrow_terminal_gets_a_line_that_fits(terminal, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    terminal.log()
    run = loop(2)
    next(run)
    assert len(screen(terminal.sent())[-1]) == 29
    list(run)


def test_a_bar_that_an_error_ends_leaves_no_trace(terminal):
    terminal.log()
    run = loop(3)
    next(run)
    with pytest.raises(ValueError):
        run.throw(ValueError)
    assert screen(terminal.sent())[-1] == ""


def test_plain_lines_where_a_line_cannot_be_redrawn(terminal, monkeypatch, capsys):
    expected = ["step 0", "step 1", "step 2", "an average"]
    monkeypatch.setenv("TERM", "dumb")
    terminal.log()
    list(loop(3))
    assert [line.split("INFO: ")[-1] for line in terminal.sent().splitlines()] == expected
    monkeypatch.undo()
    setup_logging()  # pytest's stdout is no terminal
    list(loop(3))
    assert [line.split("INFO: ")[-1] for line in capsys.readouterr().out.splitlines()] == expected


def test_only_the_ranks_asked_for_log(capsys, tmp_path):
    for rank, ranks in ((0, [0]), (1, [0]), (1, [0, 1]), (0, [1])):
        setup_logging(str(tmp_path / "train.log"), rank, ranks)
        LOGGER.info("rank %d of %s", rank, ranks)
        LOGGER.error("failed %d", rank)
    captured = capsys.readouterr()
    assert [line.split("INFO: ")[1] for line in captured.out.splitlines() if "INFO" in line] == [
        "rank 0 of [0]",
        "rank 1 of [0, 1]",
    ]
    assert captured.err.count("failed") == 2
    assert "failed 1" not in (tmp_path / "train.log").read_text()
