"""Which operators a training on CPU runs on."""

from ..ops import training as cpu_ops
from ..ops.build import BuildError
from .log import LOGGER


def choose_operators(settings, runtime):
    """Train on the project's operators for CPU when `settings` (schema.GlobalConfig) want it and it is possible.

    Says once in the log what was chosen, and why not if so.
    """
    cpu_ops.disable()
    if runtime.device != "cpu":
        return
    if settings.to_static or not settings.cpu_ops:
        reason = "Global.to_static: true" if settings.to_static else "Global.cpu_ops: false"
        LOGGER.info("CPU operators: Paddle's (%s)", reason)
        return
    try:
        threads = cpu_ops.enable()
    except BuildError as problem:
        LOGGER.warning("CPU operators: Paddle's, which train slower: %s", problem)
    else:
        LOGGER.info(
            "CPU operators: the project's depthwise and pointwise convolution and batch norm; threads: %d",
            threads,
        )
