"""The plan of an export: its network for the engine `native`, which runs it without Paddle."""

from __future__ import annotations

import logging
import os
from typing import Optional

from paddle import nn

from ..base.files import checksum
from ..bundle.folder import PARAMS_FILE, PLAN_FILE
from ..models import families
from ..ops.build import BuildError
from ..ops.network import library
from ..ops.plan import Sigmoid, Softmax, Step, encode
from ..ops.plan_header import PlanError
from ..registry import PLANS
from .fold import micronet_plan  # noqa: F401 - importing it registers its plan

logger = logging.getLogger(__name__)


def write_plan(folded: nn.Layer, folder: str, multilabel: bool, softmax: bool) -> bool:
    """Write inference.plan of a folded network beside the parameters in `folder`, and return whether it is there.

    A network without a `Family.plan` has none. Where this machine cannot run it, and so not prove it, there is none
    either, and a warning says so.
    """
    name = next((family.plan for family in families() if type(folded) is family.network), "")
    if not name:
        return False
    last: Optional[Step] = Sigmoid() if multilabel else Softmax() if softmax else None
    try:
        library()
        steps = [*PLANS.get(name)(folded), *([] if last is None else [last])]
        plan = encode(steps, checksum(os.path.join(folder, PARAMS_FILE)))
    except (BuildError, PlanError) as problem:
        logger.warning(
            "%s is left out, so that this network runs in Paddle, ONNX Runtime and OpenVINO alone, several times as "
            "long: %s",
            PLAN_FILE,
            problem,
        )
        return False
    with open(os.path.join(folder, PLAN_FILE), "wb") as file:
        file.write(plan)
    return True
