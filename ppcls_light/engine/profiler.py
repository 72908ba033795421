"""Paddle's profiler over a range of steps, as in PaddleClas: `tools/train.py -p "batch_range=[10,20];..."`."""

import sys
from dataclasses import dataclass, field
from typing import Dict, List, Literal, Optional

import paddle.profiler

from ..config.bind import bind
from ..config.tree import Node, parse_literal
from ..config.types import NonNegativeInt
from ..errors import ConfigError
from .log import LOGGER


@dataclass
class ProfilerOptions:
    """PaddleClas' keys and defaults. `timer_only` false also writes a trace to `profile_path`."""

    batch_range: List[NonNegativeInt] = field(default_factory=lambda: [10, 20])
    state: Literal["All", "CPU", "GPU"] = "All"
    tracer_option: Literal["Default", "OpDetail", "AllOpDetail"] = "Default"
    sorted_key: Literal["total", "avg", "max", "min", "gpu_total", "gpu_avg", "gpu_max", "gpu_min"] = "total"
    profile_path: str = "./profiler_log"
    exit_on_finished: bool = True
    timer_only: bool = True

    def __post_init__(self) -> None:
        if len(self.batch_range) != 2 or self.batch_range[0] >= self.batch_range[1]:
            raise ConfigError(
                "batch_range is [first step, step after the last]; for example batch_range=[10,20]"
            )


def parse_profiler_options(text: str) -> ProfilerOptions:
    """Return the ProfilerOptions of "key=value;key=value"; ConfigError names a wrong key or value."""
    fields: Dict[str, object] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        key, separator, value = part.partition("=")
        if not separator:
            raise ConfigError(f"-p {part}: expected key=value; for example -p batch_range=[10,20]")
        fields[key.strip()] = parse_literal(value, f"-p {part}")
    return bind(ProfilerOptions, Node(fields, "-p"))


class Profiler:
    """Profile of the steps of `options.batch_range`: prints the summary and, when told, ends the process."""

    def __init__(self, options: ProfilerOptions) -> None:
        self._options, self._step = options, 0
        first, last = options.batch_range
        targets = None if options.state == "All" else [getattr(paddle.profiler.ProfilerTarget, options.state)]
        write_trace = None
        if not options.timer_only:
            write_trace = paddle.profiler.export_chrome_tracing(options.profile_path)
        self._profiler: Optional[paddle.profiler.Profiler] = paddle.profiler.Profiler(
            targets=targets,
            scheduler=(first, last),
            on_trace_ready=write_trace or (lambda _: None),  # for None, Paddle makes a folder ./profiler_log
            timer_only=options.timer_only,
        )
        self._profiler.start()

    def step(self) -> None:
        """Count one training step; ends the process after the last one of the range when told to."""
        self._step += 1
        if self._profiler is None:
            return
        self._profiler.step()
        if self._step < self._options.batch_range[1]:
            return
        LOGGER.info("%s", self._profiler.step_info())
        self._profiler.stop()
        device, _, statistic = self._options.sorted_key.rpartition("_")
        self._profiler.summary(
            sorted_by=getattr(paddle.profiler.SortedKeys, (device or "cpu").upper() + statistic.capitalize()),
            op_detail=self._options.tracer_option != "Default",
        )
        self._profiler = None
        if self._options.exit_on_finished:
            sys.exit(0)

    def close(self) -> None:
        """Warn at the end of the run if it never reached the end of the range."""
        if self._profiler is not None:
            self._profiler.stop()
            self._profiler = None
            LOGGER.warning(
                "-p: the run had %d steps and ended before batch_range %s did; there is no profile",
                self._step, self._options.batch_range,
            )  # fmt: skip
