"""Counting of the operators in a saved graph, and comparison of two graphs."""

from __future__ import annotations

import copy
import json
import os
import tempfile
from collections import Counter
from typing import Iterator, List, Sequence, Set, Tuple

import paddle
from paddle import nn

from ..base.files import StrPath
from ..base.tables import markdown_table
from ..bundle.folder import GRAPH_FILES
from .static import save_static

Operator = Tuple[str, List[object], List[object]]  # name, inputs and outputs of one in a graph

ROWS = 12

_LIST = "a list of tensors packed or unpacked"
_NO_WORK = (_LIST, "fetch")


def count_ops(folder: StrPath) -> Counter[str]:
    """Return Counter {operator: occurrences} of the graph in `folder`, inference.json or inference.pdmodel.

    Only those that an image passes through count: engines compute the others once, when they load the graph. They
    also fuse, mostly additions and activations into the convolution before them.
    """
    path = os.path.join(folder, GRAPH_FILES["json"])
    operators = _json_ops(path) if os.path.exists(path) else _pdmodel_ops(folder)
    of_images: Set[object] = set()
    counts: Counter[str] = Counter()
    for name, inputs, outputs in operators:
        if name in ("data", "feed"):
            of_images.update(outputs)
        elif of_images.intersection(inputs):
            of_images.update(outputs)
            counts[name] += 1
    for name in _NO_WORK:
        counts.pop(name, None)
    return counts


def _json_ops(path: str) -> Iterator[Operator]:
    """Yield the operators in the order of execution."""
    with open(path, encoding="utf-8") as file:
        program = json.load(file)["program"]
    for region in program["regions"]:
        for block in region["blocks"]:
            for op in block["ops"]:
                if op["#"] == "p":  # a weight
                    continue
                inputs, outputs = ([value["%"] for value in op[key]] for key in "IO")
                dialect, name = op["#"].split(".")
                yield name if dialect != "0" else _LIST, inputs, outputs


def _pdmodel_ops(folder: StrPath) -> Iterator[Operator]:
    with open(os.path.join(folder, GRAPH_FILES["pdmodel"]), "rb") as file:
        content = file.read()
    paddle.enable_static()  # Paddle reads programs in no other mode
    try:
        program = paddle.static.deserialize_program(content)
    finally:
        paddle.disable_static()
    for block in program.blocks:
        for op in block.ops:
            yield op.type, op.input_arg_names, op.output_arg_names


def compare_ops(model: nn.Layer, folder: StrPath, image_shape: Sequence[int]) -> str:
    """Return a Markdown table: the operators of `model` saved as it was trained, and of its export in `folder`.

    It has those that changed most, and the sums. `image_shape` is (C, H, W).
    """
    with tempfile.TemporaryDirectory() as scratch:
        save_static(copy.deepcopy(model), scratch, image_shape)
        before = count_ops(scratch)
    after = count_ops(folder)
    changed = [name for name in {**before, **after} if before[name] != after[name]]
    changed.sort(key=lambda name: (-abs(before[name] - after[name]), name))
    rows = [(name, before[name], after[name]) for name in changed[:ROWS]]
    rows.append(("all", sum(before.values()), sum(after.values())))
    return markdown_table(("operator", "as trained", "exported"), rows)
