"""Tutorials run from the first cell to the last, and what is committed is what their source says, executed in order."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(ROOT.glob("docs/tutorials/*.py"))
LARGEST = 1_000_000  # bytes of a notebook with its pictures

nbformat = pytest.importorskip("nbformat", reason="needs the extra notebooks")
pytest.importorskip("nbclient", reason="needs the extra notebooks")
pytest.importorskip("ipykernel", reason="needs the extra notebooks")
pytest.importorskip("jupytext", reason="needs the extra notebooks")

from tools.tutorials import run  # noqa: E402


def outputs(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_the_committed_notebook_is_its_source_executed_in_order(source):
    path = source.with_suffix(".ipynb")
    assert path.exists(), f"python tools/tutorials/run.py {source.stem} writes it"
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    written = [(cell.cell_type, cell.source) for cell in run.from_source(source).cells]
    assert [(cell.cell_type, cell.source) for cell in notebook.cells] == written
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    kinds = [output.output_type for output in outputs(notebook)]
    assert "error" not in kinds
    assert any("image/png" in output.get("data", {}) for output in outputs(notebook))
    run.require_clean(notebook)
    assert path.stat().st_size < LARGEST


def test_every_notebook_has_a_source():
    assert {path.stem for path in ROOT.glob("docs/tutorials/*.ipynb")} == {path.stem for path in SOURCES}


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_tutorial_runs_on_a_small_setting(source, tmp_path, monkeypatch):
    monkeypatch.setenv("PPCLS_LIGHT_HOME", str(tmp_path / "home"))
    notebook = run.execute(run.from_source(source), tmp_path, small=True)
    assert [output for output in outputs(notebook) if output.output_type == "error"] == []
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")


@pytest.mark.parametrize("text", ["saved in /root/x/y.png", "a UserWarning: old", "10 %\r20 %"])
def test_output_of_one_machine_is_refused(text):
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell("", outputs=[nbformat.v4.new_output("stream", text=text)])]
    with pytest.raises(run.UserError, match="should not be"):
        run.require_clean(notebook)
    notebook.cells[0].outputs[0].text = "saved in output/x.png"
    run.require_clean(notebook)


def test_log_and_progress_of_a_training_are_left_out(tmp_path):
    source = tmp_path / "log.py"
    bar = "Epoch 1/1 [####--------------------] 2/12 25.6 images/s"
    source.write_text(
        f"# %%\nprint('[2026/01/01 00:00:00] ppcls INFO: hello')\n\n# %%\nprint({bar!r})\n\n"
        "# %%\nprint('[2026/01/01 00:00:00] ppcls INFO: hello\\nkept')\n",
        encoding="utf-8",
    )
    cells = run.execute(run.from_source(source), tmp_path).cells
    assert [[output.text for output in cell.outputs] for cell in cells] == [[], [], ["kept\n"]]


def test_a_failing_cell_is_named(tmp_path):
    source = tmp_path / "bad.py"
    source.write_text("# %% [markdown]\n# Title\n\n# %%\n1 / 0\n", encoding="utf-8")
    with pytest.raises(run.UserError, match="a cell fails: ZeroDivisionError: division by zero"):
        run.execute(run.from_source(source), tmp_path)
