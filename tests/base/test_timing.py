import os
import signal
import sys
import time

import numpy as np
import pytest

from ppcls_light.base.timing import Observation, Spread, TimedProcess, time_calls
from ppcls_light.errors import ConfigError, UserError


def test_a_spread_is_of_any_rounds():
    assert Spread.of([3.0, 1.0, 10.0]) == (3.0, 1.0, 10.0)
    assert Spread.of([2.0]).median == 2.0


def test_calls_end_by_number_or_by_time_but_not_before_the_first():
    calls = []
    assert len(time_calls(lambda: calls.append(1), runs=3)) == len(calls) == 3
    assert len(time_calls(lambda: calls.append(1), seconds=0)) == 1
    assert min(time_calls(lambda: time.sleep(0.01), runs=2)) >= 10


@pytest.fixture
def process(tmp_path, monkeypatch):
    """A function that starts a TimedProcess of `prepare` in a module of this text."""
    processes = []

    def start(text, *arguments, patience=None):
        (tmp_path / "timed_module.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.delitem(sys.modules, "timed_module", raising=False)
        import timed_module

        processes.append(TimedProcess(timed_module.prepare, *arguments, patience=patience))
        return processes[-1]

    yield start
    for one in processes:
        one.close()


def test_a_call_is_prepared_and_timed_in_a_process_of_its_own(process):
    text = (
        "import os, time\n"
        "class Call:\n"
        "    count = 0\n"
        "    def __init__(self, array): self.array = array\n"
        "    def __call__(self): self.count += 1; print('noise'); time.sleep(0.01)\n"
        "    @property\n"
        "    def note(self): return self.array * 2, self.count, os.getpid()\n"
        "prepare = Call\n"
    )
    one = process(text, np.arange(3))
    seen = one.prepared()
    doubled, calls, pid = seen.note
    assert doubled.tolist() == [0, 2, 4]
    assert (calls, pid != os.getpid()) == (4, True)
    assert seen.load >= 10
    assert seen.memory > 1
    assert seen.turns == [one.turn(runs=3), one.turn(seconds=0)]
    assert [len(turn) for turn in seen.turns] == [3, 1]
    assert seen.medians == [np.median(turn) for turn in seen.turns]
    assert seen.p90 == pytest.approx(np.percentile([*seen.turns[0], *seen.turns[1]], 90))


def test_the_90th_percentile_of_a_single_call():
    assert Observation(0, 0, None, [[3.0]]).p90 == 3


def test_errors_arrive_as_they_are_and_other_ends_with_their_last_line(process):
    refuses = (
        "from ppcls_light.errors import ConfigError\ndef prepare(): raise ConfigError('say so', 'more')\n"
    )
    with pytest.raises(ConfigError, match="say so\n  more"):
        process(refuses).prepared()
    with pytest.raises(UserError, match=r"its process ended \(1\): ValueError: broken"):
        process("def prepare(): raise ValueError('broken')\n").prepared()
    with pytest.raises(UserError, match="the package paddle is not installed"):
        process(
            "def prepare():\n    import sys; sys.modules['paddle'] = None\n    import paddle\n"
        ).prepared()


def test_one_that_dies_or_hangs_is_an_error(process):
    one = process("import os\nclass prepare:\n    note = os.getpid()\n    def __call__(self): pass\n")
    os.kill(one.prepared().note, signal.SIGKILL)
    with pytest.raises(UserError, match=r"its process ended \(-9\): no message"):
        one.turn(runs=1)
    with pytest.raises(UserError, match=r"its process ended \(-9\)"):
        process("import time\ndef prepare(): time.sleep(600)\n", patience=1).prepared()
