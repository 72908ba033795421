"""`base.call` without the second that each of its processes takes to import Paddle: they are forked from one that has.

A call is answered in a process of its own as ever, by the same code. Tests of the processes themselves start them anew,
by the fixture `fresh_children`.
"""

import multiprocessing
import os
import subprocess
import sys
from multiprocessing import reduction

from ppcls_light.base import processes

_SERVER = multiprocessing.get_context("forkserver")
_IMPORTED = ("ppcls_light.export.verify", "ppcls_light.runtime.paddle_engine")
_OF_TESTS = ("PYTEST_CURRENT_TEST",)  # variables that no library reads


def environment():
    return {name: value for name, value in os.environ.items() if name not in _OF_TESTS}


class ForkedChild(processes.Child):
    """A `Child` that has imported Paddle; with other variables than the first one it is started anew, by `Child`."""

    at_first = None

    def __init__(self, module, added=None, stderr=None):
        if ForkedChild.at_first is None:
            ForkedChild.at_first = environment()
            _SERVER.set_forkserver_preload(list(_IMPORTED))
        if added or environment() != ForkedChild.at_first:
            super().__init__(module, added, stderr)
            return
        questions, answers = os.pipe(), os.pipe()
        files = (questions[0], answers[1], 2 if stderr is None else stderr.fileno())
        self._process = _Process(module, files)
        for file in files[:2]:
            os.close(file)
        self._questions, self._answers = os.fdopen(questions[1], "wb"), os.fdopen(answers[0], "rb")
        self.pid = self._process.pid


class _Process:
    """The part of `subprocess.Popen` that `Child` uses."""

    def __init__(self, module, files):
        files = [_Inherited(file) for file in files]
        self._process = _SERVER.Process(target=_run, args=(module, files, os.getcwd()), daemon=True)
        self._process.start()
        self.pid, self.kill, self.terminate = self._process.pid, self._process.kill, self._process.terminate
        self.returncode = None

    def poll(self):
        return self._process.exitcode

    def wait(self, timeout=None):
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("a forked process", timeout)
        return self._process.exitcode


class _Inherited:
    """A file of this process in the one that is started."""

    def __init__(self, file):
        self._file = file

    def __reduce__(self):
        return _number, (reduction.DupFd(self._file),)


def _number(duplicate):
    return duplicate.detach()


def _run(module, files, folder):
    for number, file in enumerate(files):
        os.dup2(file, number)
    os.chdir(folder)
    sys.argv = ["-c", module]
    sys.modules.pop(module, None)  # it becomes the main module
    processes.run_main()
