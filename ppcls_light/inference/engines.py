"""The engines that run an exported folder, by name; each is imported when it is used.

An engine is a class of `Engine(bundle, options)` with

    options: the `EngineOptions` in force,
    run(images): float32 (N, C, H, W) -> the graph's output (N, class_num), float32,
    clone(): an engine for another thread that shares the weights.

Its constructor refuses, by a UserError that names the switch and the fix, what it cannot do as asked.
"""

from importlib import import_module

ENGINES = {"paddle": (".paddle_engine", "PaddleEngine")}


def create_engine(bundle, options):
    """Return the engine `options.engine` of a `Bundle`."""
    module, name = ENGINES[options.engine]
    return getattr(import_module(module, __package__), name)(bundle, options)
