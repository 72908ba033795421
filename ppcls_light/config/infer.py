"""Schema of the section Infer."""

from dataclasses import dataclass, field
from typing import Annotated, Optional

from . import postprocess as kinds
from .types import PositiveInt, Unnamed
from .values import TransformOps


@dataclass
class InferConfig:
    """Images that `tools/infer.py` classifies, and what becomes of the rows."""

    # a file or a folder; with `infer_list` the one that its paths are relative to
    infer_imgs: Optional[str] = None
    infer_list: Optional[str] = None  # a file with one path per line
    batch_size: PositiveInt = 1
    # those of DataLoader.Eval where left out, as is best
    transforms: TransformOps = field(default_factory=list)
    # the kind of answer; null: Topk, or with `Global.use_multilabel` MultiLabelThreshOutput
    PostProcess: Optional[Annotated[kinds.PostProcess, Unnamed("Topk")]] = None
    save_dir: Optional[str] = None  # all rows go to `save_dir`.json, too
    # A PNG or JPEG: a thumbnail of each image with prediction and score, and the truth where it is known, by
    # the label in `infer_list` or because the folder has a class' name; of more than 64 images so many,
    # evenly chosen. `tools/infer.py --picture FILE` is the same. Needs the extra `plot`. Names in any script
    # are drawn by DejaVu Sans and the system's fonts; without a font for a name one line says which to
    # install, and the class' number stands for it.
    picture: Optional[str] = None
