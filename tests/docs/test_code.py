"""Blocks of code of the documents do what they say: Python runs, shell parses, and runs where a block says so."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from tests.test_documents import DOCUMENTS, ROOT


class Block(NamedTuple):
    language: str
    info: str
    code: str


def blocks_of(text):
    """Return the fenced blocks of code of a page."""
    fences = re.finditer(r"^```(\w+)?([^\n]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(match[1] or "", match[2].strip(), match[3]) for match in fences]


BLOCKS = {name: blocks_of((ROOT / name).read_text(encoding="utf-8")) for name in DOCUMENTS}
LEFT_OUT = re.compile(r'norun="([^"]+)"')


def pages_with(condition):
    return [name for name, blocks in BLOCKS.items() if any(condition(block) for block in blocks)]


@pytest.fixture
def place(workplace, tmp_path, monkeypatch):
    """A copy of the workplace, in which the test runs."""
    folder = tmp_path / "place"
    shutil.copytree(workplace, folder, symlinks=True)
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", pages_with(lambda block: block.language == "python" and not LEFT_OUT.search(block.info))
)
def test_python_runs_in_the_order_of_the_page(page, place):
    names = {"__name__": "page"}
    for number, block in enumerate(BLOCKS[page]):
        if block.language == "python" and not LEFT_OUT.search(block.info):
            exec(compile(block.code, f"{page}-{number}", "exec"), names)


@pytest.mark.slow
@pytest.mark.parametrize("page", pages_with(lambda block: block.language == "sh" and block.info == "run"))
def test_shell_that_says_so_runs(page, place):
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    for block in BLOCKS[page]:
        if block.language == "sh" and block.info == "run":
            result = subprocess.run(
                ["bash", "-e", "-c", block.code], env=environment, capture_output=True, text=True
            )
            assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("page", pages_with(lambda block: block.language == "sh"))
def test_shell_parses(page):
    for block in BLOCKS[page]:
        if block.language == "sh":
            result = subprocess.run(["bash", "-n", "-c", block.code], capture_output=True, text=True)
            assert result.returncode == 0, f"{block.code}\n{result.stderr}"


@pytest.mark.parametrize("page", pages_with(lambda block: block.language == "yaml"))
def test_yaml_parses(page):
    for block in BLOCKS[page]:
        if block.language == "yaml":
            assert yaml.safe_load(block.code)


def test_blocks_have_a_language_and_those_that_are_left_out_a_reason():
    found = [(page, block) for page, blocks in BLOCKS.items() for block in blocks]
    known = {"python", "sh", "yaml", "json", "nginx", "text", "make"}
    assert [(page, block.language) for page, block in found if block.language not in known] == []
    assert [
        (page, block.info)
        for page, block in found
        if block.info not in ("", "run") and not LEFT_OUT.search(block.info)
    ] == []
    left_out = [
        f"{page}: {LEFT_OUT.search(block.info)[1]}" for page, block in found if LEFT_OUT.search(block.info)
    ]
    print(*left_out, sep="\n")
    assert len(left_out) <= 9  # most blocks run; four are of the runtimes of docs/formats.md
