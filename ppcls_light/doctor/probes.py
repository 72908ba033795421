"""Probes of libraries, each in a process of its own, where a library may crash or hang."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
from typing import Any, Callable, NamedTuple

from ..base.call import CallProcess
from ..base.processes import ProcessEndedError
from ..errors import UserError

_PATIENCE = 60.0  # seconds; Paddle's first import from a slow disk takes half of them


class Answer(NamedTuple):
    """Result of a probe, or the reason why there is none."""

    said: Any = None
    failure: str = ""


def ask(probe: Callable[..., Any], *arguments: Any) -> Answer:
    """Return what `probe(*arguments)` returns in a process of its own, or the reason why it does not."""
    try:
        with contextlib.closing(CallProcess(patience=_PATIENCE)) as process:
            process.start(answer, probe, *arguments)
            return process.result()
    except ProcessEndedError as end:
        return Answer(failure=_reason(end))
    except UserError as problem:
        return Answer(failure=str(problem))


def answer(probe: Callable[..., Any], *arguments: Any) -> Answer:
    """Return what `probe(*arguments)` returns, in this process; an exception, of whatever kind, is a failure."""
    try:
        return Answer(probe(*arguments))
    except UserError as problem:
        return Answer(failure=str(problem))
    except BaseException as error:  # a library may raise SystemExit
        lines = map(str.strip, str(error).splitlines())
        return Answer(failure=": ".join([type(error).__name__, *list(filter(None, lines))[:1]]))


def _reason(end: ProcessEndedError) -> str:
    if end.code is None or end.code >= 0:
        return str(end)
    with contextlib.suppress(ValueError):
        return f"its process dies of {signal.Signals(-end.code).name}"
    return f"its process dies of signal {-end.code}"


def version(module: str) -> str:
    """Return the version that an imported module says it has, "" if it says none."""
    return str(getattr(importlib.import_module(module), "__version__", ""))


def paddle_build() -> dict[str, Any]:
    """Return `version`, `gpus` (names; None in a build for CPUs), `cuda` and `cudnn` of a Paddle that computes."""
    import paddle

    if float(paddle.ones([2, 2]).matmul(paddle.ones([2, 2])).sum()) != 8:
        raise RuntimeError("it cannot multiply")
    if not paddle.device.is_compiled_with_cuda():
        return {"version": paddle.__version__, "gpus": None}
    count = paddle.device.cuda.device_count()
    return {
        "version": paddle.__version__,
        "gpus": [paddle.device.cuda.get_device_name(number) for number in range(count)],
        "cuda": str(paddle.version.cuda()),
        "cudnn": str(paddle.version.cudnn()),
    }


def weights_cache() -> tuple[str, int, int]:
    """Return the folder of published weights, the number of its files and their bytes."""
    from ..weights.cache import home

    sizes = [os.path.getsize(path) for path in _files(home()) if not path.endswith(".sha256")]
    return home(), len(sizes), sum(sizes)


def operators() -> tuple[str, str]:
    """Return the compiler for the own operators and their library; "" while it is not built, or the reason."""
    from ..ops.build import BuildError, compiler, existing

    try:
        return compiler(), str(existing() or "")
    except BuildError as problem:
        return "", str(problem)


def native() -> str:
    """Return about the library of engine native what it is, and that it loads, or why not."""
    from ..ops import build, network

    try:
        path = network.existing()
        if path is None:
            return f"not built yet; it is when it is first needed, by {build.compiler()}"
        network.loaded(path)
    except build.BuildError as problem:
        return f"not available: {problem}"
    return f"usable, for {network.level().name}, {path}"


def exported(folder: str) -> dict[str, str]:
    """Return about an exported folder what the network is, and what engine.json measured.

    Raises UserError: the folder is none, or one of its files is damaged.
    """
    from ..bundle.folder import read_bundle
    from ..runtime.auto import measured

    bundle = read_bundle(folder)
    bundle.verify_checksums(*(os.path.join(folder, name) for name in bundle.files))
    times = [
        f"{each.title}, batch {each.batch}, {each.threads} threads: {each.milliseconds:.3g} ms on {each.processor}"
        for each in measured(bundle)
    ]
    return {
        "network": f"{bundle.model_name or 'without a name'}, format {bundle.format}, {bundle.precision}",
        "engine.json": "; ".join(times) or "nothing measured",
    }


def _files(folder: str) -> list[str]:
    return [os.path.join(place, name) for place, _, names in os.walk(folder) for name in names]
