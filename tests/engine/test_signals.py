"""What stops a run, and what it takes to stop it at once."""

import os
import signal

import pytest

from ppcls_light.engine.distributed import Runtime
from ppcls_light.engine.signals import StopSignals


def test_sigterm_may_come_again_as_the_launcher_sends_it_but_a_second_ctrl_c_ends_at_once():
    with StopSignals() as stop:
        assert not stop.reached(Runtime("cpu"))
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.reached(Runtime("cpu"))
        assert stop.signal == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
