"""`tools/train.py -p "batch_range=[10,20];..."`: Paddle's profiler over a range of steps, as in PaddleClas."""

import sys
from dataclasses import dataclass, field
from typing import List, Literal

import paddle.profiler

from ..config.bind import bind
from ..config.tree import Node, parse_literal
from ..config.types import NonNegativeInt
from ..errors import ConfigError
from .log import LOGGER

_SORT_KEYS = {
    "total": "CPUTotal",
    "avg": "CPUAvg",
    "max": "CPUMax",
    "min": "CPUMin",
    "gpu_total": "GPUTotal",
    "gpu_avg": "GPUAvg",
    "gpu_max": "GPUMax",
    "gpu_min": "GPUMin",
}


@dataclass
class ProfilerOptions:
    """PaddleClas' keys and defaults. `timer_only` false also writes a trace to `profile_path`."""

    batch_range: List[NonNegativeInt] = field(default_factory=lambda: [10, 20])
    state: Literal["All", "CPU", "GPU"] = "All"
    tracer_option: Literal["Default", "OpDetail", "AllOpDetail"] = "Default"
    sorted_key: Literal[tuple(_SORT_KEYS)] = "total"
    profile_path: str = "./profiler_log"
    exit_on_finished: bool = True
    timer_only: bool = True

    def __post_init__(self):
        if len(self.batch_range) != 2 or self.batch_range[0] >= self.batch_range[1]:
            raise ConfigError(
                "batch_range is [first step, step after the last]; for example batch_range=[10,20]"
            )


def parse_profiler_options(text):
    """Return the ProfilerOptions of "key=value;key=value"; ConfigError names a wrong key or value."""
    fields = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        key, separator, value = part.partition("=")
        if not separator:
            raise ConfigError(f"-p {part}: expected key=value; for example -p batch_range=[10,20]")
        fields[key.strip()] = parse_literal(value, f"-p {part}")
    return bind(ProfilerOptions, Node(fields, "-p"))


class Profiler:
    """Profiles the steps of `options.batch_range`, prints the summary and, when told, ends the process."""

    def __init__(self, options):
        self._options = options
        self._step = 0
        first, last = options.batch_range
        targets = None if options.state == "All" else [getattr(paddle.profiler.ProfilerTarget, options.state)]
        write_trace = (
            None if options.timer_only else paddle.profiler.export_chrome_tracing(options.profile_path)
        )
        self._profiler = paddle.profiler.Profiler(
            targets=targets,
            scheduler=(first, last),
            on_trace_ready=write_trace,
            timer_only=options.timer_only,
        )
        self._profiler.start()

    def step(self):
        """Say that one training step is done; ends the process after the last one of the range when told to."""
        self._step += 1
        if self._profiler is None:
            return
        self._profiler.step()
        if self._step < self._options.batch_range[1]:
            return
        LOGGER.info("%s", self._profiler.step_info())
        self._profiler.stop()
        self._profiler.summary(
            sorted_by=getattr(paddle.profiler.SortedKeys, _SORT_KEYS[self._options.sorted_key]),
            op_detail=self._options.tracer_option != "Default",
        )
        self._profiler = None
        if self._options.exit_on_finished:
            sys.exit(0)

    def close(self):
        """Say at the end of the run that it never reached the end of the range."""
        if self._profiler is not None:
            self._profiler.stop()
            self._profiler = None
            LOGGER.warning(
                "-p: the run had %d steps and ended before batch_range %s did; there is no profile",
                self._step, self._options.batch_range,
            )  # fmt: skip
