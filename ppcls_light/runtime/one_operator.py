"""MicroNet in Paddle Inference as a single custom operator (`ops/kernels/micronet.cc`)."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
from pathlib import Path
from typing import List, Tuple

from ..base.files import atomic_path
from ..base.hints import command
from ..bundle.folder import Bundle
from ..errors import UserError
from ..ops.build import BuildError, cache_folder, library, load
from ..ops.plan import PlanError, encode
from .micronet_graph import micronet_steps
from .options import EngineOptions
from .paddle_graph import DAMAGE, GraphError, PaddleGraph

logger = logging.getLogger(__name__)

_OPERATOR = "ppcls_micronet"
_FILES = ("inference.json", "inference.pdiparams")
_KEPT = 16  # networks in the cache, of a few MB each; the oldest go


def serves(bundle: Bundle, options: EngineOptions) -> bool:
    """Return whether `options` of engine Paddle ask for the operator for the network of `bundle`."""
    return (
        _is_made_for(bundle, options)
        and options.precision == "fp32"
        and bundle.precision == "fp32"
        and options.onednn
        and options.ir_optim
    )


def available(bundle: Bundle, options: EngineOptions) -> bool:
    """Return whether some engine that `options` may come to could run `bundle` so; builds the operator if need be."""
    if not _is_made_for(bundle, options):
        return False
    try:
        library()
    except BuildError:
        return False
    return True


def _is_made_for(bundle: Bundle, options: EngineOptions) -> bool:
    mine = (bundle.model_name or "").startswith("MicroNet") and bundle.format == "json"
    # The operator ends in a softmax, or in nothing.
    return mine and not bundle.multilabel and options.cpu_ops and options.device == "cpu"


def write(bundle: Bundle) -> List[str] | None:
    """Return the paths (graph, parameters) of the network of `bundle` as one operator; Paddle must be loaded.

    They are in the cache, under their checksum, since clones of a predictor read them again. None, with the reason in
    a warning, where the operator cannot be built or the graph is not one that `tools/export_model.py` writes.
    """
    try:
        graph = PaddleGraph(bundle.graph_file, bundle.params_file)
        plan, weights, class_num = encode(micronet_steps(graph))
        parameters, attributes = {"plan": plan, "weights": weights}, {"class_num": class_num}
        contents = graph.as_one_operator(_OPERATOR, parameters, attributes)
    except (GraphError, PlanError, *DAMAGE) as problem:
        reason = str(problem) if isinstance(problem, (GraphError, PlanError)) else repr(problem)
        warn(bundle, f"the graph is not that of a folded MicroNet ({reason}); {command('export')} writes one")
        return None
    try:
        load()
        return _keep(contents)
    except (BuildError, UserError, OSError) as problem:
        warn(bundle, problem)
        return None


def _keep(contents: Tuple[bytes, bytes]) -> List[str]:
    """Write the contents of `_FILES` into a folder of the cache, unless it has them; return the paths."""
    networks = cache_folder().parent / "networks"
    folder = networks / hashlib.sha256(b"".join(contents)).hexdigest()[:16]
    paths = [folder / name for name in _FILES]
    for path, content in zip(paths, contents):
        if not (path.is_file() and path.read_bytes() == content):
            with atomic_path(path) as temporary:
                Path(temporary).write_bytes(content)
    with contextlib.suppress(OSError):  # of a cache that is only read
        os.utime(folder)
        for old in sorted(networks.iterdir(), key=os.path.getmtime)[:-_KEPT]:
            shutil.rmtree(old, ignore_errors=True)
    return [str(path) for path in paths]


def warn(bundle: Bundle, reason: object) -> None:
    """Warn that the network runs on Paddle's operators, with the reason."""
    logger.warning(
        "%s: Paddle runs this MicroNet on its own operators, which takes several times as long: %s (set "
        "Global.cpu_ops=False to have it so without this warning)",
        bundle.folder,
        reason,
    )
