"""inference.yml as PaddleX and PaddleClas read it: names, kinds of answers and transforms in their words."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional

import numpy as np

from ..config import postprocess
from ..config.postprocess import PostProcess
from ..config.types import Op
from ..data.transforms.core import IMAGENET_MEAN, IMAGENET_STD

# Ends of the names by which PaddleX knows networks of tags; by their names it chooses what reads the folder.
_TAGS_IN_PADDLEX = {
    postprocess.PersonAttribute: "_pedestrian_attribute",
    postprocess.VehicleAttribute: "_vehicle_attribute",
}


def for_others(kind: PostProcess, labels: Mapping[str, List[str]]) -> Dict[str, Dict[str, Any]]:
    """Return the section of PaddleX and PaddleClas, which know `Topk` and `MultiLabelThreshOutput`."""
    if isinstance(kind, postprocess.OF_TAGS):
        # One for all tags: of a list, PaddleX 3.4 takes the first for the first image of a batch, and so on.
        limit = round(float(np.mean(getattr(kind, "limit", 0.5))), 5)
        return {"MultiLabelThreshOutput": {"threshold": limit, **labels}}
    return {"Topk": {"topk": getattr(kind, "topk", 1), **labels}}


def paddlex_name(arch: str, kind: Optional[PostProcess] = None) -> str:
    """Return the spelling under which PaddleX knows a network that answers so; others keep their own name."""
    tags = _TAGS_IN_PADDLEX.get(type(kind), "_ML") if isinstance(kind, postprocess.OF_TAGS) else ""
    if arch.startswith("PPLCNet"):
        return "PP-LCNet" + arch[len("PPLCNet") :] + tags
    return arch.replace("FasterNet_", "FasterNet-", 1) + tags


def plain_op(op: Op) -> Dict[str, Optional[Dict[str, Any]]]:
    """Return `op` as other tools want to read it: no None, lists for tuples, the values of a NormalizeImage."""
    plain = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in op.params.items()
        if value is not None
    }
    if op.name == "ResizeImage":
        plain.pop("return_numpy", None)  # a matter of speed between two ops of ours
        if plain.get("backend", "cv2") == "cv2" and plain.get("interpolation") == "bilinear":
            del plain["interpolation"]  # the default everywhere, which PaddleX calls LINEAR
    if op.name == "NormalizeImage":
        # PaddleX insists on these two; PaddleClas calls the same thing "hwc"
        plain["order"] = "" if plain.get("order") == "hwc" else plain.get("order", "chw")
        plain["channel_num"] = plain.get("channel_num", 3)
        # programs that read the folder in other languages need not know the defaults
        plain = {"scale": 1 / 255, "mean": list(IMAGENET_MEAN), "std": list(IMAGENET_STD), **plain}
    return {op.name: plain or None}
