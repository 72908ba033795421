"""PaddleClas' keys of tasks that are not here: retrieval with trained embeddings, and detection before it."""

from __future__ import annotations

from typing import Iterator

from ..base.hints import command
from ..errors import ConfigError
from .tree import Node, message

_RETRIEVAL = {
    *("Global.feature_normalize", "Global.feature_binarize", "IndexProcess", "Eval.Query", "Eval.Gallery"),
    *("Train.SupConLoss", "Train.TripletLoss", "Train.TripletLossV2"),
    *("Eval.Recallk", "Eval.mAP", "Eval.mINP"),
}
_RETRIEVAL_NAMES = {"RecModel", "VeriWild", "PKSampler", "retrieval"}
_DETECTION = {"Global.det_inference_model_dir", "Global.rec_inference_model_dir"}


def refuse_other_tasks(tree: Node) -> None:
    """Raise ConfigError at the first key of a task that only PaddleClas has; says what is here instead."""
    for path, node in _entries(tree):
        key, shown = ".".join(path[-2:]), ".".join(path)
        named = path[-1] in ("name", "eval_mode") and isinstance(node.value, str)
        if key in _DETECTION:
            reason = (
                "images are not searched for objects here, or for the like of these by a trained embedding; use "
                f"PaddleClas 2.6's predict_system.py, or {command('similar')} on whole photos"
            )
            raise ConfigError(message(node.where, shown, reason))
        if key in _RETRIEVAL or (named and node.value in _RETRIEVAL_NAMES):
            reason = (
                "embeddings are not trained for retrieval here; use PaddleClas 2.6, or train a classifier and search "
                f"by its embeddings (Global.embedding: true, then {command('similar')})"
            )
            raise ConfigError(message(node.where, f"{shown}: {node.value}" if named else shown, reason))


def _entries(node: Node, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Node]]:
    """Yield (keys, node) of all below `node`, in the order of the file; entries of lists are below the list's key."""
    if isinstance(node.value, dict):
        for key, child in node.value.items():
            yield (*path, key), child
            yield from _entries(child, (*path, key))
    elif isinstance(node.value, list):
        for child in node.value:
            yield from _entries(child, path)
