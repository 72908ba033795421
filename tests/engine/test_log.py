"""Places of log lines, and the run where they cannot be written."""

import logging

import pytest

from ppcls_light.engine.log import LOGGER, log_to, setup_logging
from ppcls_light.errors import ConfigError


@pytest.mark.parametrize("folder", ["file", "file/below", "x" * 300])
def test_an_output_dir_that_cannot_be_written_is_one_line(tmp_path, folder):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"Global.output_dir: .*: cannot be written: .*; choose another"):
        setup_logging(str(tmp_path / folder / "train.log"))


def test_a_log_that_fails_is_named_once_and_the_others_go_on(capsys):
    setup_logging()
    full = open("/dev/full", "w", buffering=1)  # noqa: SIM115 - closed by the handler's owner below
    handler = type(LOGGER.handlers[0])(full)
    LOGGER.addHandler(handler)
    LOGGER.info("first")
    LOGGER.info("second")
    captured = capsys.readouterr()
    assert captured.err == ""
    lines = captured.out.splitlines()
    assert [line.split(": ", 1)[1][:22] for line in lines] == ["first", "cannot log to /dev/ful", "second"]
    with pytest.raises(OSError):
        full.close()


def test_the_file_has_every_line_also_when_another_process_logs(tmp_path, capsys):
    setup_logging(str(tmp_path / "train.log"), rank=0, ranks=(1,))
    LOGGER.info("a line")
    LOGGER.warning("a warning")
    assert (tmp_path / "train.log").read_text().count("\n") == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1


def test_an_error_in_a_message_is_not_taken_for_a_full_disk(capsys):
    setup_logging()
    raising, logging.raiseExceptions = logging.raiseExceptions, True
    LOGGER.info("%d", "text")
    logging.raiseExceptions = raising
    assert "TypeError" in capsys.readouterr().err


def test_a_file_name_of_broken_bytes_is_logged_escaped(tmp_path, capsys):
    setup_logging(str(tmp_path / "train.log"))
    LOGGER.info("caf\u00e9 %s", "\udcff")
    assert (tmp_path / "train.log").read_text(encoding="utf-8").endswith("caf\u00e9 \\udcff\n")


def test_kept_lines_come_first_in_the_file_of_their_run_only(tmp_path):
    setup_logging(keep=True)
    LOGGER.info("before it was known where to")
    assert list(tmp_path.iterdir()) == []
    log_to(str(tmp_path / "a.log"))
    LOGGER.info("of the first run")
    log_to(str(tmp_path / "b.log"))
    LOGGER.info("of the second run")
    lines = {
        path.name: [line.split(": ", 1)[1] for line in path.read_text().splitlines()]
        for path in tmp_path.iterdir()
    }
    assert lines == {
        "a.log": ["before it was known where to", "of the first run"],
        "b.log": ["of the second run"],
    }
