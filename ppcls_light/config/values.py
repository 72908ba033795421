"""Types of values that several sections take, and other packages: transforms, engines, precisions.

Without the sections themselves, whose import takes longer than an exported network to load.
"""

from typing import Annotated, List, Literal

from ..registry import BATCH_TRANSFORMS, TRANSFORMS
from .types import FromRegistry, Op

TransformOps = List[Annotated[Op, FromRegistry(TRANSFORMS)]]
BatchTransformOps = List[Annotated[Op, FromRegistry(BATCH_TRANSFORMS)]]

EngineName = Literal["paddle", "onnxruntime", "openvino", "native", "auto"]
Precision = Literal["fp32", "fp16", "bf16", "int8", "auto"]
UnknownScore = Literal["energy", "distance"]  # by which an image is of no class
