"""The packages that users install: what is in them, and that nothing of theirs needs the checkout."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from types import SimpleNamespace

import pytest

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
    names = zipfile.ZipFile(built.wheel).namelist()
    assert {name for name in names if ".dist-info/" not in name} == package | configs


def test_the_source_package_has_what_is_read_beside_the_modules(built):
    with tarfile.open(built.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {*SOURCES, "configs/README.md"} <= names


def test_an_index_would_take_both(built):
    pytest.importorskip("twine", reason="needs the extra package")
    command = [sys.executable, "-m", "twine", "check", "--strict", built.sdist, built.wheel]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
