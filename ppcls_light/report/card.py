"""Data and model card of an evaluation: {section: {name: value}}, for card.json and the page."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from ..base.files import checksum
from ..bundle.folder import Bundle
from ..config import Config
from ..models.profile import ModelProfile
from ..runtime.auto import measured
from .evaluation import Evaluation
from .tag_evaluation import TagEvaluation

Card = dict[str, dict[str, Any]]


def data_card(evaluation: Evaluation) -> dict[str, Any]:
    """Return the facts of the images: their list, and their numbers."""
    support = evaluation.scores.support
    most, fewest = int(support.argmax()), int(support.argmin())
    return {
        "list": evaluation.images.source,
        "folder": evaluation.images.root,
        "images": len(evaluation.labels),
        "classes": evaluation.class_num,
        "classes without images": int(np.count_nonzero(support == 0)),
        "most images of a class": f"{support[most]:,} ({evaluation.names[most]})",
        "fewest images of a class": f"{support[fewest]:,} ({evaluation.names[fewest]})",
        "learned by the network": _learned(evaluation.learned),
    }


def tag_data_card(evaluation: TagEvaluation) -> dict[str, Any]:
    """Return the facts of images with tags: their list, and their numbers."""
    having = evaluation.cooccurrence.diagonal()
    most, fewest = int(having.argmax()), int(having.argmin())
    return {
        "list": evaluation.images.source,
        "folder": evaluation.images.root,
        "images": len(evaluation.labels),
        "tags": len(evaluation.names),
        "images without any tag": int((evaluation.labels < 1).all(axis=1).sum()),
        "most images with a tag": f"{having[most]:,} ({evaluation.names[most]})",
        "fewest images with a tag": f"{having[fewest]:,} ({evaluation.names[fewest]})",
        "learned by the network": _learned(evaluation.learned),
    }


def _learned(learned: bool) -> str:
    return "yes: the list of the training" if learned else "not the training's list"


def model_card(config: Config, weights: str, profile: ModelProfile) -> dict[str, Any]:
    """Return the facts of the network with the file of its `weights`, an address or a name."""
    section = config.DataLoader.Eval
    ops = [] if section is None else section.dataset.transform_ops
    files = (weights, f"{weights}.pdparams", f"{weights}.safetensors")
    file = next(filter(os.path.isfile, files), None)
    return {
        "network": config.Arch.network.name,
        "parameters": profile.params,
        "multiply-adds": profile.multiply_adds,
        "input": " x ".join(map(str, config.Global.image_shape)),
        "preprocessing": ", ".join(_described(op.name, op.params) for op in ops),
        "weights": weights,
        **({"SHA-256 of the weights": checksum(file)} if file else {}),
    }


def _described(name: str, params: Any) -> str:
    given = ", ".join(f"{key} {value}" for key, value in (params or {}).items() if value not in ("", None))
    return f"{name} ({given})" if given else name


def export_card(bundle: Bundle) -> dict[str, Any]:
    """Return the facts of an exported folder: sizes, accuracy by engine, and the latencies that engine.json has."""
    sizes = {
        f"{name} (bytes)": os.path.getsize(path)
        for name in sorted(bundle.files)
        if os.path.isfile(path := os.path.join(bundle.folder, name))
    }
    top1 = {
        f"top-1 of {engine} {precision}": f"{value:.2f} %"
        for engine, precisions in bundle.precisions.items()
        for precision, value in precisions.items()
    }
    latencies = {
        f"latency of {one.title}, batch of {one.batch}, threads: {one.threads}, {one.processor}": (
            f"{one.milliseconds:.2f} ms"
        )
        for one in measured(bundle)
    }
    return {"folder": bundle.folder, "precision": bundle.precision, **sizes, **top1, **latencies}
