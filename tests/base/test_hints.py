"""Commands in messages are those of the way in which the process was started, and are found by the shell."""

import ast
import os
import shlex
import subprocess
import sys

import pytest

from ppcls_light.base import hints


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An environment whose programs are in `tmp_path`/bin, with ppcls-light; the shell does not find them."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("python", "ppcls-light"):
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    monkeypatch.setenv("PATH", os.defpath)
    monkeypatch.chdir(tmp_path)
    return folder


def test_a_tool_names_tools_and_all_else_the_command(here, root, monkeypatch):
    monkeypatch.setenv("PATH", str(here))
    monkeypatch.setattr(sys, "argv", ["/anywhere/ppcls-light"])
    assert hints.command("export") == "ppcls-light export"
    monkeypatch.setattr(sys, "argv", [""])
    assert hints.command("export") == "ppcls-light export"
    monkeypatch.chdir(root)
    for script in ("tools/train.py", "deploy/python/predict_cls.py", "tools/benchmarks/models.py"):
        monkeypatch.setattr(sys, "argv", [script])
        assert hints.command("export") == "python tools/export_model.py"
    monkeypatch.chdir(root / "tools")
    monkeypatch.setattr(sys, "argv", ["train.py"])
    assert hints.command("export") == "python export_model.py"


def test_programs_that_the_shell_does_not_find_have_their_path(here, root, monkeypatch):
    assert hints.command("train") == f"{os.path.join('bin', 'ppcls-light')} train"
    (here / "ppcls-light").unlink()
    assert hints.command("train") == f"{os.path.join('bin', 'python')} -m ppcls_light train"


def test_a_command_without_a_tool_is_the_command(here, root, monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(root / "tools" / "train.py")])
    assert hints.command("doctor") == f"{os.path.join('bin', 'ppcls-light')} doctor"


def test_the_command_works_as_pasted(root, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(root / "tools" / "train.py")])
    command = [*shlex.split(hints.command("eval")), "nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: nowhere: not the folder of a training")


def test_no_message_names_a_tool_by_its_path(root):
    """Which tool there is depends on how the package came here; docstrings and the table of tools may say it."""
    found = []
    for path in sorted((root / "ppcls_light").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        remarks = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            text = node.value if isinstance(node, ast.Constant) and id(node) not in remarks else None
            if isinstance(text, str) and text not in hints.TOOLS.values():
                found += [
                    f"{path.name}:{node.lineno}: {tool}" for tool in hints.TOOLS.values() if tool in text
                ]
    assert [place for place in found if not place.startswith("lists.py")] == []  # the mark in its config
