import os
import signal

import pytest


@pytest.fixture
def stop_after():
    """Let a Trainer train and send it SIGTERM during step number `steps`."""

    def stop(run, steps):
        original = run.train_step

        def train_step(batch):
            if run.position.step == steps - 1:
                os.kill(os.getpid(), signal.SIGTERM)
            return original(batch)

        run.train_step = train_step
        with pytest.raises(KeyboardInterrupt):
            run.fit()

    return stop
