import functools
import re

import pytest

from ppcls_light import models
from ppcls_light.models import published


@pytest.fixture
def tool(run_tool):
    """A function that runs the tool with arguments."""
    return functools.partial(run_tool, "benchmarks/zoo_table")


@pytest.mark.usefixtures("zero_weights")
def test_the_table_of_networks_is_current(tool, root):
    before = (root / "docs/models.md").read_bytes()
    tool("--check")
    assert (root / "docs/models.md").read_bytes() == before


def test_the_table_is_written_between_its_markers_and_checked(tool, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(models, "published", lambda: {"MicroNet_M0": 46.6})
    monkeypatch.setattr(models, "list_models", lambda teachers=False: [] if teachers else ["MicroNet_M0"])
    page, costs = tmp_path / "models.md", tmp_path / "costs.csv"
    costs.write_text("network,parameters,multiply_adds\nMicroNet_M0,1022704,1\n")
    page.write_text("before\n<!-- models:begin -->\nold\n<!-- models:end -->\nafter\n")
    with pytest.raises(
        SystemExit, match=r"models.md: the model table is stale; run python tools/benchmarks/zoo_table.py"
    ):
        tool("--check", "--page", page, "--costs", costs)
    tool("--page", page, "--costs", costs)
    tool("--check", "--page", page, "--costs", costs)
    before, _, *caption, columns, _, row, _, after = page.read_text().splitlines()
    assert (before, after) == ("before", "after")
    assert "not measured here" in "".join(caption)
    assert columns == "| model | published top-1 (%) | params (M) | multiply-adds (M) | input | config |"
    # Parameters and multiply-adds are those of tests/models/test_create_model.py.
    config = "`configs/micronet/MicroNet_M0.yaml`"
    assert row == f"| MicroNet_M0 | 46.6 | 1.02 | 3.45 | 224 | {config} |"

    page.write_text("no markers\n")
    with pytest.raises(SystemExit) as exit_:
        tool("--page", page, "--costs", costs)
    assert exit_.value.code == 2
    assert "<!-- models:begin -->" in capsys.readouterr().err


def test_every_published_result_is_what_the_config_states(root):
    for name, top1 in published().items():
        (path,) = root.glob(f"configs/*/{name}.yaml")
        stated = re.search(r"top-1 ([\d.]+) %", path.read_text(encoding="utf-8"))[1]
        assert stated == f"{top1:.{len(stated.split('.')[1])}f}", name
