"""Write the commands of docs/commands.md from their parsers: python tools/docs/commands.py [--check]"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_light import cli
from ppcls_light.base.hints import TOOLS
from ppcls_light.base.tables import markdown_table
from ppcls_light.commands.dispatch import COMMANDS, FURTHER, command_parser, summary
from tools.docs import marked

ROOT = Path(__file__).resolve().parents[2]


def part(name: str) -> str:
    """Return the part of the page called `name`: "overview", or the arguments of that command."""
    if name == "overview":
        names = [*COMMANDS, *FURTHER]
        rows = [
            (f"[{name}](#{name})", summary(name), f"`{TOOLS[name]}`" if name in TOOLS else "")
            for name in names
        ]
        return markdown_table(("command", "purpose", "tool of a checkout"), rows)
    return "\n\n".join(section(name) for name in (*COMMANDS, *FURTHER))


def section(name: str) -> str:
    """Return the heading, the description and the arguments of a command, and of its own commands."""
    parser = command_parser(name, f"ppcls-light {name}")
    text = (parser.description or "").replace("%(prog)s", parser.prog).strip().partition("\n")
    usage = [text[0], f"```text\n{text[2].strip()}\n```" if text[2].strip() else "", arguments_of(parser)]
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            usage += [f"`{inner}`:\n\n{arguments_of(parser)}" for inner, parser in action.choices.items()]
    return "\n\n".join([f"### {name}", *filter(None, usage)])


def arguments_of(parser: argparse.ArgumentParser) -> str:
    """Return the table of the arguments of a parser."""
    rows = [
        (f"`{names_of(action)}`", default_of(action), help_of(action, parser.prog))
        for action in parser._actions
        if not isinstance(action, (argparse._HelpAction, argparse._SubParsersAction))
        and action.help != argparse.SUPPRESS
    ]
    cells = [tuple(cell.replace("|", "\\|") for cell in row) for row in rows]
    return markdown_table(("argument", "default", "meaning"), cells).rstrip() if rows else ""


def names_of(action: argparse.Action) -> str:
    """Return the flags of an argument with what follows them, or its name."""
    shown = action.metavar or (f"{{{','.join(map(str, action.choices))}}}" if action.choices else "")
    if not action.option_strings:
        return str(shown or action.dest)
    value = "" if action.nargs == 0 else f" {shown or action.dest.upper()}"
    return ", ".join(action.option_strings) + value


def default_of(action: argparse.Action) -> str:
    """Return a default as a user would type it; "" for none."""
    nothing: tuple[Any, ...] = (None, False, "", [], argparse.SUPPRESS)
    return "" if action.nargs == 0 or action.default in nothing else f"`{action.default}`"


def help_of(action: argparse.Action, prog: str) -> str:
    """Return the help of an argument on one line."""
    return " ".join(((action.help or "") % {**vars(action), "prog": prog}).split())


def main() -> None:
    marked.main(__doc__, [ROOT / "docs/commands.md"], part, "python tools/docs/commands.py")


if __name__ == "__main__":
    cli.run(main)
