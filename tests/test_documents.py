"""Places that the documents name are there: files, headings, tests and the flags of commands."""

import argparse
import re
from pathlib import Path

import pytest

from ppcls_light.commands.dispatch import command_parser

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "configs/*.md", "deploy/**/*.md", "docs/**/*.md", "tests/**/*.md")
    for path in ROOT.glob(pattern)
)


def anchors(text):
    """Return the anchors that GitHub gives the headings of `text`, and those that it sets itself."""
    titles = re.findall(r"^#+ (.*)", text, re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}
    return slugs | set(re.findall(r'<a id="([^"]+)"', text))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_to_files_and_headings_that_are_there(document, root):
    page = root / document
    for path, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)]*)\)", page.read_text(encoding="utf-8")):
        if not path.startswith("http"):
            target = page.parent / path if path else page
            assert target.exists(), path
            assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), f"{path}#{anchor}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_name_scripts_and_flags_that_are_there(document, root):
    text = (root / document).read_text(encoding="utf-8").replace("\\\n", " ")
    sources = "".join(path.read_text(encoding="utf-8") for path in (root / "ppcls_light").rglob("*.py"))
    for script, arguments in re.findall(r"((?:tools|deploy/\w+)/[\w/]+\.py)([^`\n|#]*)", text):
        assert (root / script).is_file(), script
        own = (root / script).read_text(encoding="utf-8")
        for flag in re.findall(r"(?<!\S)--[a-z][a-z-]+", arguments):
            key = flag[2:].replace("-", "_")
            assert f'"{flag}"' in own + sources or f'"{key}"' in own, f"{script} {flag}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_of_ppcls_light_have_their_flags(document, root):
    text = (root / document).read_text(encoding="utf-8").replace("\\\n", " ")
    for name, arguments in re.findall(r"ppcls-light ([a-z][a-z-]*)([^`\n|#]*)", text):
        own = {
            flag
            for parser in parsers_of(name)
            for action in parser._actions
            for flag in action.option_strings
        }
        assert set(re.findall(r"(?<!\S)--?[a-z][a-z_-]*", arguments)) <= own, f"ppcls-light {name}{arguments}"


def parsers_of(name):
    """Return the parser of a command of ppcls-light and those of its own commands."""
    parser = command_parser(name, name)
    return [
        parser,
        *(
            inner
            for action in parser._actions
            if isinstance(action, argparse._SubParsersAction)
            for inner in action.choices.values()
        ),
    ]


def test_the_table_of_faults_names_tests_that_are_there(root):
    text = (root / "tests/faults/README.md").read_text(encoding="utf-8")
    places = re.findall(r"`([\w/]*test_\w+\.py|weights/)", text)
    assert places
    assert [place for place in places if not (root / "tests" / place).exists()] == []
