"""An engine in a process of its own: what it answers, and how long a batch takes.

A process, because an engine that cannot run a network may end its process, and because engines in one process
take each other's threads. Not `multiprocessing`: that would run a caller's script, which need not be prepared
for it, once more.

    python -m ppcls_light.runtime.trial

reads a line of JSON that says what to prepare, then seconds to run for, a line each; it answers each line by one.
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from ..bundle.folder import read_bundle
from ..errors import UserError
from .engines import create_engine
from .failures import first_line
from .options import EngineOptions

_WARM_UP = 3
# Longer than any of the networks here takes to load; an engine that hangs must not stop the choice.
_PATIENCE_SECONDS = 120


class TrialError(Exception):
    """An engine cannot run the network here; the text is the reason."""


class Trial:
    """A process that runs one engine.

    Args:
        bundle: a `Bundle`, with its `onnx_file` if the engine needs one.
        options: `EngineOptions` of a certain engine.
        images: float32 (N, C, H, W), what is run.
    """

    def __init__(self, bundle, options, images):
        self._scratch = tempfile.TemporaryDirectory()
        self._answers = os.path.join(self._scratch.name, "answers.npy")
        given = os.path.join(self._scratch.name, "images.npy")
        np.save(given, images)
        with open(os.path.join(self._scratch.name, "stderr"), "w") as stderr:
            root = str(Path(__file__).parents[2])
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                encoding="utf-8",
                env={**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])},
            )
        task = {"bundle": [bundle.folder, bundle.onnx_file], "images": given, "answers": self._answers}
        self._say({**task, "options": asdict(options)})

    def answers(self):
        """Wait until the engine has run; return what it answers (N, class_num), and its options in force."""
        options = EngineOptions(**self._hear())
        return np.load(self._answers), options

    def milliseconds(self, seconds):
        """Run for about `seconds`; return the median milliseconds of a batch."""
        self._say(seconds)
        return self._hear()

    def close(self):
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._scratch.cleanup()

    def _say(self, words):
        with contextlib.suppress(BrokenPipeError):  # then there is no answer, either, and `_hear` tells why
            self._process.stdin.write(json.dumps(words) + "\n")
            self._process.stdin.flush()

    def _hear(self):
        watch = threading.Timer(_PATIENCE_SECONDS, self._process.kill)
        watch.start()
        try:
            line = self._process.stdout.readline()
        finally:
            watch.cancel()
        if not line:
            raise TrialError(f"its process ended ({self._process.wait()}): {self._last_words()}")
        heard = json.loads(line)
        if "error" in heard:
            raise TrialError(heard["error"])
        return heard["answer"]

    def _last_words(self):
        text = Path(self._scratch.name, "stderr").read_text(encoding="utf-8", errors="replace")
        return (text.strip().splitlines() or ["no message"])[-1]


def main():
    # Paddle and OpenVINO print; standard output is for the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(**words):
        print(json.dumps(words), file=answers, flush=True)

    task = json.loads(sys.stdin.readline())
    try:
        folder, onnx_file = task["bundle"]
        bundle = replace(read_bundle(folder), onnx_file=onnx_file)
        engine, images = create_engine(bundle, EngineOptions(**task["options"])), np.load(task["images"])
        probs = engine.run(images)
        for _ in range(_WARM_UP):
            engine.run(images)
    except (UserError, RuntimeError, ValueError, OSError, ImportError) as error:
        answer(error=str(error) if isinstance(error, UserError) else first_line(error))
        return
    np.save(task["answers"], probs)
    answer(answer=asdict(engine.options))
    for line in sys.stdin:
        answer(answer=_median_milliseconds(lambda: engine.run(images), float(line)))


def _median_milliseconds(call, seconds):
    call()  # wakes the threads up and fills the caches, which another engine has had meanwhile
    times, end = [], time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        began = time.perf_counter()
        call()
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)


if __name__ == "__main__":
    main()
