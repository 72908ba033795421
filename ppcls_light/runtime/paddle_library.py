"""Paddle Inference from Paddle's compiled library alone.

`import paddle.inference` first imports all of Paddle, training, distribution and data sets included, which takes
over a second. What runs an exported model is in one extension module, which loads in a quarter of one. Python
keeps it under the name that Paddle's package gives it, so that `import paddle` later on finds it and goes on
from there.
"""

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

_LIBRARY = "paddle.base.libpaddle"

# How many GB of results that are not needed any more may pile up in a run before Paddle frees them; -1 keeps them.
FREEING_FLAG = "FLAGS_eager_delete_tensor_gb"


class Library(NamedTuple):
    """What of `paddle.inference` and `paddle` running an exported model takes.

    Attributes:
        Config, PrecisionType, create_predictor, get_trt_compile_version: those of `paddle.inference`.
        flags: Paddle's global flags by their names, to be read and set.
        version: of Paddle.
        cuda: whether it is built for NVIDIA's GPUs.
        gpus: how many of those it sees.
    """

    Config: Any
    PrecisionType: Any
    create_predictor: Any
    get_trt_compile_version: Any
    flags: Any
    version: str
    cuda: bool
    gpus: int


def load():
    """Return the installed Paddle as a `Library`.

    Only the library is loaded of a Paddle for CPUs on Linux that is not imported yet; a GPU build searches for
    NVIDIA's libraries in Python.

    Raises:
        ImportError: Paddle is not installed.
    """
    alone = sys.platform == "linux" and "paddle" not in sys.modules
    return (_library_alone() if alone else None) or _whole_package()


def _whole_package():
    paddle, inference = map(importlib.import_module, ("paddle", "paddle.inference"))
    cuda = paddle.is_compiled_with_cuda()
    gpus = paddle.device.cuda.device_count() if cuda else 0
    return Library(
        *(getattr(inference, name) for name in Library._fields[:4]),
        paddle.base.core.globals(),
        paddle.__version__,
        cuda,
        gpus,
    )


def _library_alone():
    """Return None where the installed Paddle is for GPUs, or not laid out as expected."""
    found = importlib.util.find_spec("paddle")
    if found is None or found.origin is None:
        return None
    folder = Path(found.origin).parent
    library, version = folder / "base" / "libpaddle.so", folder / "version" / "__init__.py"
    if not (library.is_file() and version.is_file()):
        return None
    about = _execute("paddle.version", version)
    if about.cuda() != "False":
        return None
    if _LIBRARY not in sys.modules:
        sys.modules[_LIBRARY] = _start(library)
    core = sys.modules[_LIBRARY]
    return Library(
        core.AnalysisConfig,
        core.AnalysisConfig.Precision,
        core.create_predictor,
        core.get_trt_compile_version,
        core.globals(),
        about.full_version,
        cuda=False,
        gpus=0,
    )


def _execute(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _start(path):
    """Load the library and do of what `import paddle` does next the part that it needs."""
    # How many threads a model gets, `Config.set_cpu_math_library_num_threads` says.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    core = _execute(_LIBRARY, path)
    flags = [name[len("FLAGS_") :] for name in os.environ if name.startswith("FLAGS_")]
    core.init_gflags([f"--tryfromenv={flag}" for flag in flags if f"FLAGS_{flag}" in core.globals()])
    core.PaddleInferTensor.copy_from_cpu = core.PaddleInferTensor._copy_from_cpu_bind
    return core
