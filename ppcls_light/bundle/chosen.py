"""Threshold of a network that a rule chose on labelled images, kept in a file beside the weights.

best_model.threshold.json: {"rule": "tpr@fpr=0.01", "threshold": 0.83, "measured": [{"tpr": ...}], "weights": ...}
"""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from typing import Any, Dict, List, Union

from ..base.files import StrPath, write_text
from ..base.operating_points import Outcome
from ..config.bind import bind
from ..config.tree import read_tree
from ..config.types import Probability
from ..errors import ConfigError

SUFFIX = ".threshold.json"

Measured = Dict[str, Union[int, float]]


@dataclass
class Chosen:
    """Threshold of the probability of class 1, or of each tag, with its outcome on the images of the choice."""

    rule: str
    threshold: Union[Probability, List[Probability]]
    measured: List[Measured]  # one, or one for each tag: see `measured`
    weights: str = ""  # SHA-256 of the weights file; "" in an exported folder, which has its own

    def __post_init__(self) -> None:
        if len(self.measured) != len(self.thresholds):
            raise ConfigError(
                f"measured: {len(self.measured)} entries for {len(self.thresholds)} thresholds; choose anew"
            )

    def outcome(self) -> Dict[str, Any]:
        """Return rule, threshold and what was measured, as an exported folder has them."""
        return {key: value for key, value in dataclasses.asdict(self).items() if key != "weights"}

    @property
    def thresholds(self) -> List[float]:
        return self.threshold if isinstance(self.threshold, list) else [self.threshold]


def measured(outcome: Outcome) -> Measured:
    """Return an outcome as numbers by name: images of either side, tpr (recall), fpr, precision, f1."""
    shares = {name: round(getattr(outcome, name), 5) for name in ("tpr", "fpr", "precision", "f1")}
    return {"positives": outcome.positives, "negatives": outcome.negatives, **shares}


def file_of(weights: StrPath) -> str:
    """Return the path of the threshold of the weights file `weights`."""
    return os.path.splitext(weights)[0] + SUFFIX


def write_chosen(path: StrPath, chosen: Chosen) -> None:
    """Write `chosen` to `path`, atomically. Raises UserError: it cannot be written."""
    write_text(path, json.dumps(dataclasses.asdict(chosen), indent=2) + "\n")


def read_chosen(path: StrPath) -> Chosen | None:
    """Return what `write_chosen` wrote, None when it is not there. Raises ConfigError: it is something else."""
    return bind(Chosen, read_tree(path)) if os.path.isfile(path) else None
