"""What is left in exported graphs."""

import json
from collections import Counter

import pytest

from ppcls_light.export.fold.steps import fold
from ppcls_light.export.operators import compare_ops, count_ops
from ppcls_light.export.static import save_static
from ppcls_light.models import create_model

# What Paddle 3 and 2 call an operator that reads a shape at run time or makes one out of such numbers.
SHAPE_OPS = {"shape", "shape64", "stack", "fill_constant_batch_size_like", "full_batch_size_like"}
SHUFFLE_OPS = {"index_select", "gather", "gather_nd", "transpose", "transpose2"}


@pytest.mark.parametrize(
    "name", ["PPLCNet_x0_25", "FasterNet_T0", "MicroNet_M0", "MicroNet_M3", "EdgeNeXt_XX_Small"]
)
def test_no_shape_is_computed_at_run_time(name, tmp_path):
    save_static(fold(create_model(name)), str(tmp_path), [3, 64, 64])
    ops = count_ops(tmp_path)
    assert ops["softmax"] >= 1
    assert {op: ops[op] for op in SHAPE_OPS if ops[op]} == {}
    if name.startswith("MicroNet"):
        assert {op: ops[op] for op in {*SHUFFLE_OPS, "dropout", "batch_norm_", "batch_norm"} if ops[op]} == {}


def test_table_has_the_changes_and_the_sums(tmp_path):
    model = create_model("MicroNet_M0", class_num=4)
    save_static(fold(model), str(tmp_path), [3, 32, 32])
    header, _, *rows = compare_ops(model, tmp_path, [3, 32, 32]).splitlines()
    assert header == "| operator | as trained | exported |"
    cells = {
        row.split(" | ")[0].strip("| "): [int(cell.strip(" |")) for cell in row.split(" | ")[1:]]
        for row in rows
    }
    assert cells["index_select"] == [31, 0]  # 16 shuffles and the shift of 15 DYShiftMax
    before, after = cells["all"]
    assert after < 0.9 * before
    assert after == sum(count_ops(tmp_path).values())


def test_counts_of_a_written_graph(tmp_path):
    weight = {"#": "p", "A": [], "O": {"%": 1}}
    rest = [
        ("1.data", [], [2]),
        ("1.reshape", [1], [3]),  # of a weight
        ("1.conv2d", [2, 3], [4]),
        ("1.conv2d", [4, 1], [5]),
        ("0.combine", [4, 5], [6]),
        ("1.concat", [6], [7]),
        ("1.fetch", [7], [8]),
    ]
    ops = [
        {"#": name, "I": [{"%": i} for i in inputs], "O": [{"%": i} for i in outputs]}
        for name, inputs, outputs in rest
    ]
    graph = {"program": {"regions": [{"blocks": [{"ops": [weight, *ops]}]}]}}
    (tmp_path / "inference.json").write_text(json.dumps(graph))
    assert count_ops(tmp_path) == Counter(conv2d=2, concat=1)
