"""Parts of a page that are written by a tool, each between two lines of Markdown comments."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from ppcls_light.base.files import write_text
from ppcls_light.errors import UserError

_PART = re.compile(r"(<!-- generated: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str, parts: Callable[[str], str]) -> str:
    """Return `text` with each part between `<!-- generated: NAME -->` and `<!-- end -->` as `parts(NAME)` has it."""
    return _PART.sub(lambda match: f"{match[1]}\n{parts(match[2]).strip()}\n\n{match[3]}", text)


def update(page: Path, parts: Callable[[str], str], check: bool, command: str) -> None:
    """Write the parts of `page` anew, or only `check` them. Raises UserError where it is stale, naming `command`."""
    before = page.read_text(encoding="utf-8")
    after = filled(before, parts)
    if not check:
        write_text(page, after)
    elif after != before:
        raise UserError(f"{page}: what {command} writes is stale; run it")


def main(description: str | None, pages: Iterable[Path], parts: Callable[[str], str], command: str) -> None:
    """Run a tool that `update`s `pages`, with the one option --check."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 2 if a page is stale")
    check = parser.parse_args().check
    for page in pages:
        update(page, parts, check, command)
