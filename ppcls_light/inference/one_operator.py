"""An exported MicroNet run as one operator of Paddle's, `ops/micronet.cc`, which is built on this machine."""

import logging
import os
import tempfile

from ..ops.build import BuildError, library, load
from ..ops.plan import PlanError, encode
from .micronet_graph import micronet_steps
from .paddle_graph import GraphError, PaddleGraph

logger = logging.getLogger(__name__)

FILES = ("inference.json", "inference.pdiparams")

_OPERATOR = "ppcls_micronet"


def serves(bundle, options):
    """Return whether `options` (`EngineOptions`) of engine Paddle ask for the operator for the network of `bundle`."""
    return (
        _is_made_for(bundle, options)
        and options.precision == "fp32"
        and bundle.precision == "fp32"
        and options.onednn
        and options.ir_optim
    )


def available(bundle, options):
    """Return whether some engine that `options` may come to could run `bundle` so; builds the operator if need be."""
    if not _is_made_for(bundle, options):
        return False
    try:
        library()
    except BuildError:
        return False
    return True


def _is_made_for(bundle, options):
    mine = (bundle.model_name or "").startswith("MicroNet") and bundle.format == "json"
    return mine and options.cpu_ops and options.device == "cpu"


def write(bundle):
    """Return a `tempfile.TemporaryDirectory` with the network of `bundle` as one operator, in `FILES`.

    Paddle must be loaded. None, with the reason in a warning, where the operator cannot be built or the graph is not
    one that `tools/export_model.py` writes.
    """
    try:
        graph = PaddleGraph(bundle.graph_file, bundle.params_file)
        plan, weights, class_num = encode(micronet_steps(graph))
        load()
        folder = tempfile.TemporaryDirectory(prefix="ppcls_light_")
        paths = [os.path.join(folder.name, name) for name in FILES]
        graph.write_as_one_operator(
            _OPERATOR, {"plan": plan, "weights": weights}, {"class_num": class_num}, *paths
        )
    except (GraphError, PlanError) as problem:
        warn(
            bundle,
            f"the graph is not that of a folded MicroNet ({problem}); tools/export_model.py writes one",
        )
    except (BuildError, OSError) as problem:
        warn(bundle, problem)
    else:
        return folder
    return None


def warn(bundle, reason):
    """Say why the network runs on Paddle's operators."""
    logger.warning(
        "%s: Paddle runs this MicroNet on its own operators, which takes several times as long: %s (set "
        "Global.cpu_ops=False to have it so without this warning)",
        bundle.folder,
        reason,
    )
