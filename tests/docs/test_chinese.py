"""README_zh.md is README.md in Chinese: the same headings, code, tables, numbers, pictures and links."""

import posixpath
import re

import pytest

from tests.docs.test_code import blocks_of

PAIRS = [("README.md", "README_zh.md"), ("docs/index.md", "docs/zh/index.md")]


def prose(text):
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def tables(text):
    """Return (rows, columns) of each table."""
    blocks = re.findall(r"(?:^\|.*\|\n)+", prose(text), re.MULTILINE)
    return [(block.count("\n"), block.splitlines()[0].count("|")) for block in blocks]


def targets(page, text):
    """Return the places that a page links to and shows, without the pages of the other language."""
    found = [
        posixpath.join(posixpath.dirname(page), link) for link in re.findall(r"\]\(([^)]+)\)", prose(text))
    ]
    return sorted(posixpath.normpath(link) for link in found if "README" not in link)


def numbers(text):
    return sorted(re.findall(r"\d[\d.,:]*\d|\d", prose(text)))


def commands(text):
    """Return the blocks of code without their comments, and the code within sentences."""
    blocks = [(block.language, re.sub(r" +#.*", "", block.code)) for block in blocks_of(text)]
    return blocks, sorted(re.findall(r"`[^`\n]+`", prose(text)))


@pytest.mark.parametrize(("english", "chinese"), PAIRS)
def test_both_languages_have_the_same(english, chinese, root):
    one, other = ((root / name).read_text(encoding="utf-8") for name in (english, chinese))
    assert [len(level) for level in re.findall(r"^(#+) ", prose(one), re.MULTILINE)] == [
        len(level) for level in re.findall(r"^(#+) ", prose(other), re.MULTILINE)
    ]
    assert commands(one) == commands(other)
    assert tables(one) == tables(other)
    assert targets(english, one) == targets(chinese, other)
    assert numbers(one) == numbers(other)
