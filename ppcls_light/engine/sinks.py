"""Where a run's numbers go besides the log."""

import contextlib
import os

from ..errors import ConfigError


class NoSink(contextlib.nullcontext):
    """Takes scalars and keeps nothing."""

    def scalars(self, group, values, step):
        """Record `values` (name -> float) of `group` ("train", "eval") at `step`."""


class VisualDLSink:
    """Scalars for `visualdl --logdir OUTPUT_DIR/vdl`."""

    def __init__(self, folder):
        try:
            from visualdl import LogWriter
        except ImportError:
            raise ConfigError(
                "Global.use_visualdl needs the package visualdl: pip install 'ppcls_light[visual]', "
                "or use -o Global.use_visualdl=false"
            ) from None
        self._writer = LogWriter(logdir=folder)

    def scalars(self, group, values, step):
        for name, value in values.items():
            self._writer.add_scalar(tag=f"{group}/{name}", value=value, step=step)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._writer.close()


def open_sink(use_visualdl, output_dir, runtime):
    """Return the sink of this process: VisualDL on the main one when asked for, otherwise nothing."""
    if use_visualdl and runtime.is_main:
        return VisualDLSink(os.path.join(output_dir, "vdl"))
    return NoSink()
