"""A family that is not there: its files, laid over a copy of the checkout, are all that the commands need."""

import dataclasses
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from ppcls_light.models.family import Family

OVERLAY = Path(__file__).parent / "toy_family"
ADDED = sorted(
    path.relative_to(OVERLAY).as_posix() for path in OVERLAY.rglob("*.*") if path.suffix in (".py", ".yaml")
)
PARAMETER = "tests/models/test_create_model.py"

# On maps of 8, 4, 2 and 1 pixels: kernels of 5 x 5 and 3 x 3, two numbers of batch norm for each channel, the gain.
COSTS = {
    name: (
        (25 * 3 * a + 9 * (a * b + b * c + c * d) + 2 * (a + b + c + d) + d + 1000 * (d + 1)) / 1e6,
        (64 * 25 * 3 * a + 9 * (16 * a * b + 4 * b * c + c * d) + 1000 * d) / 1e6,
    )
    for name, (a, b, c, d) in (("Toy_S", (16, 16, 16, 16)), ("Toy_M", (16, 32, 64, 128)))
}

COMMANDS = """
import runpy, sys
import numpy as np

def run(tool, *arguments):
    sys.argv = [f"tools/{tool}.py", *arguments]
    runpy.run_path(sys.argv[0], run_name="__main__")

recipe = ["-c", "configs/toy/Toy_S.yaml", "-o", *sys.argv[1:]]
run("convert_weights", "theirs.npz", "ours.pdparams", "--arch", "toy_s")
run("train", *recipe, "Global.pretrained_model=ours.pdparams")
run("prune", *recipe, "Global.pretrained_model=output/Toy_S/latest", "--ratio", "0.5", "--out", "pruned")
run("export_model", "-c", "pruned/config.yaml")

from ppcls_light.export.fold.steps import fold
from ppcls_light.models import create_model
assert fold(create_model("toy_m")).gain is None
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory, root):
    """A copy of the checkout with the toy family in it, and its line in one test."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("ppcls_light", "tools", "configs", "tests"):
        shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.npz"))
    shutil.copy(root / "pyproject.toml", folder)
    shutil.copytree(OVERLAY, folder, dirs_exist_ok=True)
    table = (folder / PARAMETER).read_text()
    rows = "".join(f"    {name!r}: {costs},\n" for name, costs in COSTS.items())
    (folder / PARAMETER).write_text(table.replace("COSTS = {\n", f"COSTS = {{\n{rows}"))
    return folder


def run_python(folder, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def theirs(rng):
    """Return weights of Toy_S for 3 classes under the toy maker's names."""
    state = {
        "gain": rng.uniform(0.5, 1.5, 16),
        "fc.weight": rng.normal(size=(3, 16)),
        "fc.bias": rng.normal(size=3),
    }
    for i, (inputs, size) in enumerate(((3, 5), (16, 3), (16, 3), (16, 3))):
        state[f"trunk.{i}.conv.weight"] = rng.normal(size=(16, inputs, size, size))
        for name in ("weight", "bias", "running_mean", "running_var"):
            state[f"trunk.{i}.bn.{name}"] = rng.uniform(0.5, 1.5, 16)
    return {key: value.astype("float32") for key, value in state.items()}


@pytest.mark.slow
def test_it_is_converted_trained_pruned_exported_and_proved_by_the_commands(checkout, photos):
    np.savez(checkout / "theirs.npz", **theirs(np.random.default_rng(0)))
    reader = "DataLoader.{0}.dataset.{1}={2}"
    data = [
        text
        for split, name in (("Train", "train"), ("Eval", "val"))
        for text in (
            reader.format(split, "image_root", photos),
            reader.format(split, "cls_label_path", photos / f"{name}_list.txt"),
        )
    ]
    log = run_python(checkout, "-c", COMMANDS, "Arch.class_num=3", "Global.device=cpu", *data)
    assert "23 keys mapped from the toy maker's names, 0 missing, 0 unexpected" in log
    assert "[Train][Epoch 1/1][Avg]" in log
    assert "Exported and original model agree: " in log
    assert yaml.safe_load((checkout / "pruned/config.yaml").read_text())["Arch"]["widths"] == [8] * 4
    assert (checkout / "pruned/inference/inference.yml").is_file()


@pytest.mark.slow
def test_the_sweeps_take_it_with_one_test_parameter(checkout):
    tests = (
        PARAMETER,
        "tests/test_configs.py",
        "tests/test_registry.py",
        "tests/weights/test_convert.py",
        "tests/tools/benchmarks/test_zoo_table.py",
    )
    picked = "Toy or swept or named_after_it or published_result"
    out = run_python(checkout, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-k", picked, *tests)
    for test in (
        *(f"test_params_and_multiply_adds[{name}]" for name in COSTS),
        *(f"test_every_parameter_of_every_entry_can_be_checked[model-{name}]" for name in COSTS),
        *(f"test_every_network_takes_its_own_weights_and_names_what_is_missing[{name}]" for name in COSTS),
        *(f"test_a_variant_is_its_network_and_holds_only_what_differs[toy/{name}.yaml]" for name in COSTS),
        "test_every_registered_name_is_swept_or_general",
        "test_every_published_network_has_a_config_named_after_it_in_its_familys_folder",
        "test_every_published_result_is_what_the_config_states",
    ):
        assert f"{test} PASSED" in out, out


def test_the_guide_names_every_place(root):
    guide = (root / "docs/adding-a-family.md").read_text()
    places = re.findall(r"^\| `(\S+/\S+)` \|", guide, re.MULTILINE)
    named = [
        path.replace("Toy_S", "NAME").replace("Toy_M", "NAME").replace("toy", "FAMILY") for path in ADDED
    ]
    assert sorted({*named, PARAMETER}) == sorted(places)
    for field in dataclasses.fields(Family):
        assert f"| `{field.name}` |" in guide
