"""A real kernel of Jupyter: progress in place, an interrupt that saves, shown objects, errors of a line."""

import pytest

from tests.conftest import write_config, write_photos

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

CELLS = [
    "import os, signal\nimport ppcls_light",
    "run = ppcls_light.train('config.yaml', ['Global.print_batch_step=1'], epochs=3)",
    "run",
    """\
from ppcls_light.engine.recorder import Recorder
batch, left = Recorder.batch, [8]
def interrupted(self, images):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGINT)  # as the kernel's manager does
    batch(self, images)
Recorder.batch = interrupted
run = ppcls_light.train('config.yaml', epochs=3, output_dir='stopped')
Recorder.batch = batch
print(run.finished)""",
    "run = run.resume()\nprint(run.finished)",
    "run.explain('photos/val/00.png')",
    "ppcls_light.train('config.yaml', epoch=3)",
]


@pytest.fixture(scope="module")
def cells(tmp_path_factory, root):
    """The cells of a notebook that ran in a folder with photos, their outputs in them."""
    folder = tmp_path_factory.mktemp("notebook")
    config = write_config(folder, write_photos(folder))
    config.write_text(config.read_text().replace(f"{folder}/", ""))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(root))
        client = nbclient.NotebookClient(
            notebook, timeout=300, allow_errors=True, resources={"metadata": {"path": str(folder)}}
        )
        client.execute()
    return notebook.cells


def printed(cell):
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


@pytest.mark.slow
def test_a_training_has_its_progress_in_one_place(cells):
    (shown,) = [output for output in cells[1].outputs if output.output_type == "display_data"]
    lines = shown.data["text/plain"].splitlines()
    assert lines[0].startswith("Epoch 3/3 [########################] 6/6 ")
    assert any(line.startswith("Eval [########################] 3/3 ") for line in lines)
    assert sum("[Train][Epoch 3/3][Avg]" in line for line in lines) == 1
    assert sum("[best metric:" in line for line in lines) == 1
    assert len(lines) <= 6
    text = printed(cells[1]) + printed(cells[5])
    assert not any(word in text for word in ("[Train]", "[Eval]", "Already save", "Finish load", "Warning"))
    assert len(text.splitlines()) <= 8


@pytest.mark.slow
def test_an_interrupt_ends_the_cell_with_a_run_that_goes_on(cells):
    assert all(output.output_type != "error" for cell in cells[:-1] for output in cell.outputs)
    assert printed(cells[3]).splitlines()[-1] == "False"
    assert "stopped at step 8" in printed(cells[3])
    assert printed(cells[4]).splitlines()[-1] == "True"


@pytest.mark.slow
def test_objects_show_themselves(cells):
    for cell, word in ((cells[2], "best top1"), (cells[5], "Explanation of")):
        (shown,) = [output for output in cell.outputs if output.output_type == "execute_result"]
        assert word in shown.data["text/html"]
        assert "<img" in shown.data["text/html"]


@pytest.mark.slow
def test_a_users_error_is_one_line(cells):
    (error,) = cells[-1].outputs
    assert error.output_type == "error"
    assert error.traceback == ["ConfigError: there is no setting 'epoch'; did you mean 'epochs'?"]
