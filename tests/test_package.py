"""The packages that users install: what is in them, and that nothing of theirs needs the checkout."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from ppcls_light.base.resources import packaged_configs
from ppcls_light.commands import dispatch
from ppcls_light.ops.levels import LEVELS
from tests.conftest import write_photos

SOURCES = (
    "setup.py",
    "pyproject.toml",
    "MANIFEST.in",
    "requirements.txt",
    "README.md",
    "CHANGELOG.md",
    "LICENSE",
)


@pytest.fixture(scope="session")
def built(root, tmp_path_factory):
    """`sdist` and the `wheel` that is built from it alone, as paths; built once, from a copy of the checkout."""
    pytest.importorskip("build", reason="needs the extra package")
    folder = tmp_path_factory.mktemp("package")
    for name in SOURCES:
        shutil.copy(root / name, folder)
    for name in ("ppcls_light", "configs"):
        shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist", folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    (sdist,), (wheel,) = (folder.glob(f"dist/{pattern}") for pattern in ("*.tar.gz", "*.whl"))
    return SimpleNamespace(sdist=sdist, wheel=wheel)


def test_the_wheel_has_the_package_and_the_configs_and_nothing_else(built, root):
    package = {
        path.relative_to(root).as_posix()
        for path in (root / "ppcls_light").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    configs = {f"ppcls_light/{path.relative_to(root).as_posix()}" for path in root.glob("configs/*/*.yaml")}
    names = {name for name in zipfile.ZipFile(built.wheel).namelist() if ".dist-info/" not in name}
    libraries = {name for name in names if name.endswith(".so")}
    assert names - libraries == package | configs
    if built.wheel.name.endswith("-any.whl"):
        assert not libraries
        pytest.skip("there is no compiler, and so no library in the wheel")
    assert libraries == {f"ppcls_light/ops/native/{level.name}.so" for level in LEVELS}


def test_each_library_of_the_wheel_is_small_and_needs_the_c_library_alone(built):
    with zipfile.ZipFile(built.wheel) as wheel:
        libraries = {name: wheel.read(name) for name in wheel.namelist() if name.endswith(".so")}
    for name, content in libraries.items():
        assert len(content) < 1_000_000, name
        for other in (b"libstdc++", b"libgcc_s", b"libgomp", b"libiomp"):
            assert other + b".so" not in content, name


def test_the_source_package_has_what_is_read_beside_the_modules(built):
    with tarfile.open(built.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {*SOURCES, "configs/README.md"} <= names


def test_an_index_would_take_both(built):
    pytest.importorskip("twine", reason="needs the extra package")
    command = [sys.executable, "-m", "twine", "check", "--strict", built.sdist, built.wheel]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def installed(built, tmp_path_factory):
    """A function that runs Python with the wheel, in an empty folder: installed(*arguments) is the finished process."""
    folder = tmp_path_factory.mktemp("installed")
    target, work = folder / "site", folder / "work"
    work.mkdir()
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-index",
        "--no-deps",
    ]
    subprocess.run([*pip, "--target", target, built.wheel], check=True)

    def run(*arguments, code=0):
        # First on the path, so that the package of the checkout, which this environment has, is not seen.
        environment = {**os.environ, "PYTHONPATH": str(target)}
        command = [sys.executable, *map(str, arguments)]
        done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False)
        assert code in (None, done.returncode), done.stdout + done.stderr
        return done

    done = run("-c", "import ppcls_light; print(ppcls_light.__file__)")
    assert Path(done.stdout.strip()) == target / "ppcls_light" / "__init__.py"
    run.work, run.target = work, target
    return run


def test_the_engine_native_needs_no_compiler(built, installed):
    if built.wheel.name.endswith("-any.whl"):
        pytest.skip("the wheel has no library")
    code = """
import os
os.environ["PATH"] = ""
from ppcls_light.ops.network import library, loaded
loaded(library())
print(library().parent.parent.parent.parent)
"""
    assert Path(installed("-c", code).stdout.strip()) == installed.target


def test_every_command_of_the_wheel_has_its_help(installed):
    code = """
from ppcls_light.commands import dispatch
from ppcls_light.ops.levels import LEVELS
for name in (*dispatch.COMMANDS, *dispatch.FURTHER):
    try:
        dispatch.main([name, "--help"])
    except SystemExit as stop:
        assert not stop.code
"""
    out = installed("-c", code).stdout
    for name in (*dispatch.COMMANDS, *dispatch.FURTHER):
        assert f"usage: ppcls-light {name} " in out


def test_the_wheel_brings_its_command(built):
    with zipfile.ZipFile(built.wheel) as wheel:
        (name,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
        assert "ppcls-light = ppcls_light.commands:main" in wheel.read(name).decode()


def test_the_configs_of_the_wheel_load(installed):
    code = """
from ppcls_light.base.resources import packaged_configs
from ppcls_light.config import load_config
for name in packaged_configs():
    load_config(name)
    print(name)
"""
    assert installed("-c", code).stdout.split() == packaged_configs()


def test_the_wheel_lists_its_configs_and_networks(installed):
    configs = json.loads(installed("-m", "ppcls_light", "list", "configs", "--json").stdout)
    assert [row["name"] for row in configs] == packaged_configs()
    assert "PPLCNet_x1_0" in installed("-m", "ppcls_light", "list").stdout


@pytest.mark.slow
def test_the_wheel_trains_exports_and_classifies_without_the_checkout(installed, tmp_path_factory):
    photos = write_photos(tmp_path_factory.mktemp("data"))
    data = [
        *(
            "Arch.class_num=3",
            "Global.epochs=1",
            "Global.output_dir=run",
            "Global.save_inference_dir=inference",
        ),
        *(
            f"DataLoader.{split}.dataset.{key}={value}"
            for split, file in (("Train", "train_list.txt"), ("Eval", "val_list.txt"))
            for key, value in (("image_root", photos), ("cls_label_path", photos / file))
        ),
        f"Infer.PostProcess.class_id_map_file={photos / 'labels.txt'}",
        "DataLoader.Train.sampler.batch_size=8",
    ]
    config = ("-c", "ppcls_light:quick_start/digits.yaml", "-o", *data)
    picture = next((photos / "val").glob("*.png"))
    code = """
import os, sys
from ppcls_light.commands import dispatch
from ppcls_light.ops.levels import LEVELS
*config, picture = sys.argv[1:]
dispatch.main(["train", *config, "--dry-run"])
assert not os.listdir()
dispatch.main(["train", *config])
dispatch.main(["export", "run"])
dispatch.main(["predict", "inference", picture, "--quiet"])
"""
    row = installed("-c", code, *config, picture).stdout.splitlines()[-1]
    assert (installed.work / "inference" / "inference.yml").is_file()
    assert row.startswith(f"{picture.name}:")
    report = json.loads(installed("-m", "ppcls_light", "doctor", "inference", "--json", code=None).stdout)
    assert report["ppcls_light"]["source"].startswith("installed in ")
    assert report["exported folder"]["network"] == "PPLCNet_x0_25, format json, fp32"
