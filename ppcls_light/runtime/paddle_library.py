"""Loading of Paddle Inference from Paddle's extension module, without `import paddle`.

`import paddle.inference` first imports all of Paddle, training, distribution and data sets included, which takes
over a second. What runs an exported model is in one extension module, which loads in a quarter of one. Python
keeps it under the name that Paddle's package gives it, so that `import paddle` later on finds it and goes on
from there.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

_LIBRARY = "paddle.base.libpaddle"

# GB of results without further use that may pile up in a run before Paddle frees them; -1 keeps them.
FREEING_FLAG = "FLAGS_eager_delete_tensor_gb"


class Library(NamedTuple):
    """Parts of `paddle.inference` and `paddle` that run an exported model."""

    Config: Any  # this and the next three are those of `paddle.inference`
    PrecisionType: Any
    create_predictor: Any
    get_trt_compile_version: Any
    flags: Any  # Paddle's global flags by their names, to be read and set
    version: str  # of Paddle
    cuda: bool  # built for NVIDIA's GPUs
    gpus: int  # that it sees


def load() -> Library:
    """Return the installed Paddle as a `Library`.

    Only the library is loaded of a Paddle for CPUs on Linux that is not imported yet; a GPU build searches for
    NVIDIA's libraries in Python.

    Raises ImportError: Paddle is not installed.
    """
    alone = sys.platform == "linux" and "paddle" not in sys.modules
    return (_library_alone() if alone else None) or _whole_package()


def _whole_package() -> Library:
    paddle, inference = map(importlib.import_module, ("paddle", "paddle.inference"))
    cuda = paddle.is_compiled_with_cuda()
    return Library(
        inference.Config,
        inference.PrecisionType,
        inference.create_predictor,
        inference.get_trt_compile_version,
        paddle.base.core.globals(),
        paddle.__version__,
        cuda,
        gpus=paddle.device.cuda.device_count() if cuda else 0,
    )


def _library_alone() -> Library | None:
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


def _execute(name: str, path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _start(path: Path) -> Any:
    """Load the library, and set it up as `import paddle` would."""
    # The threads of a model are set by `Config.set_cpu_math_library_num_threads`.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    core = _execute(_LIBRARY, path)
    flags = [name[len("FLAGS_") :] for name in os.environ if name.startswith("FLAGS_")]
    core.init_gflags([f"--tryfromenv={flag}" for flag in flags if f"FLAGS_{flag}" in core.globals()])
    core.PaddleInferTensor.copy_from_cpu = core.PaddleInferTensor._copy_from_cpu_bind
    return core
