"""Calls in a process of their own: what they return, and what becomes of their failures."""

import errno
import os
import subprocess
import sys

import numpy as np
import pytest

from ppcls_light.base.call import call_in_process
from ppcls_light.base.files import read_utf8, require_writable
from ppcls_light.errors import DataError, ExportError, UserError

pytestmark = pytest.mark.usefixtures("fresh_children")


def test_the_result_and_the_environment_are_those_of_another_process():
    assert call_in_process(os.getpid, task="the call fails") != os.getpid()
    assert call_in_process(os.getenv, "TOY", task="the call fails", environment={"TOY": "wood"}) == "wood"
    assert os.getenv("TOY") is None
    numbers = np.arange(1_000_000)
    np.testing.assert_array_equal(call_in_process(np.negative, numbers, task="the call fails"), -numbers)
    assert call_in_process(print, "words of a library", task="the call fails") is None


def test_a_failure_is_told_in_its_own_words(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match=r"^the call fails: cannot write .*/file/name: "):
        call_in_process(require_writable, str(tmp_path / "file" / "name"), task="the call fails")
    with pytest.raises(ExportError, match=r"^the call fails \(exit 1\): ValueError: invalid literal for int"):
        call_in_process(int, "four", task="the call fails")
    with pytest.raises(ExportError, match=r"^the call fails \(exit 3\): no message$"):
        call_in_process(os._exit, 3, task="the call fails")
    with pytest.raises(DataError, match=r"^/.*/name: cannot be read"):  # a file's fault, and not the task's
        call_in_process(read_utf8, str(tmp_path / "file" / "name"), task="the call fails")


def test_to_be_imported_leaves_the_hook_for_exceptions_alone():
    code = "import sys, ppcls_light.base.call; sys.exit(sys.excepthook is not sys.__excepthook__)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_process_that_cannot_be_started_is_one_line(monkeypatch):
    def refuse(*_, **__):
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(UserError, match=r"^no process can be started \(Resource .*ulimit -u"):
        call_in_process(os.getpid, task="the call fails")
