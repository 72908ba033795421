import functools
from dataclasses import dataclass
from typing import Annotated, Optional

import pytest

from ppcls_light.config.types import PositiveInt, Range
from tools.docs.config_reference import of_callable, of_dataclass
from tools.docs.marked import update


@dataclass
class Base:
    # Weight of a fruit,
    # in grams.
    grams: PositiveInt = 100


@dataclass
class Fruit(Base):
    """Fruit of a tree."""

    ripe: Annotated[float, Range(0, 1)] = 0.5  # share | of the skin
    name: str = "Fruit"
    tree: Optional[str] = None


@pytest.fixture
def tool(run_tool):
    """A function that runs the tool with arguments."""
    return functools.partial(run_tool, "docs/config_reference")


def test_the_reference_of_the_configs_is_current(tool):
    tool("--check")


def test_meanings_come_from_comments_beside_and_above_a_field():
    assert of_dataclass(Fruit).splitlines() == [
        "Fruit of a tree.",
        "",
        "| key | type | default | meaning |",
        "|---|---|---|---|",
        "| `grams` | a whole number >= 1 | `100` | Weight of a fruit, in grams |",
        "| `ripe` | a number >= 0 and <= 1 | `0.5` | share \\| of the skin |",
        "| `tree` | text or null | `null` |  |",
    ]


def test_meanings_come_from_the_arguments_of_a_docstring():
    def cut(size: PositiveInt, high: int = 2, wide: int = 3):
        """Cut.

        Args:
            size: of the cut,
                in pixels.
            high, wide: repeats.

        Raises:
            ValueError: never.
        """

    assert of_callable(cut).splitlines() == [
        "Cut.",
        "",
        "| key | type | default | meaning |",
        "|---|---|---|---|",
        "| `size` | a whole number >= 1 | required | of the cut, in pixels |",
        "| `high` | a whole number | `2` | repeats |",
        "| `wide` | a whole number | `3` | repeats |",
    ]


def test_only_the_marked_parts_of_a_page_change(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- generated: one -->\nold\n<!-- end -->\nafter\n")
    update(page, {"one": "new"}.__getitem__, False, "tool")
    assert page.read_text() == "before\n<!-- generated: one -->\n\nnew\n\n<!-- end -->\nafter\n"
    update(page, {"one": "new"}.__getitem__, True, "tool")
    with pytest.raises(Exception, match=r"page.md: what tool writes is stale; run it"):
        update(page, {"one": "newer"}.__getitem__, True, "tool")
