"""Table of the commands, and the way from a command line to the module of its command."""

import argparse
import importlib
import sys
from types import ModuleType
from typing import List, NoReturn, Optional

from .. import __version__, cli
from ..base.hints import TOOLS
from ..base.missing import NEEDED
from ..errors import ConfigError
from ..registry import nearest

COMMANDS = (
    "train",
    "eval",
    "predict",
    "export",
    "serve",
    "explain",
    "check",
    "convert",
    "bench",
    "doctor",
    "list",
)
FURTHER = (
    *(
        "lists",
        "infer",
        "find-lr",
        "search",
        "similar",
        "summary",
        "prune",
        "fetch",
        "curves",
        "fit-teacher",
        "batch",
    ),
    "completion",
)
_WITHOUT_PACKAGES = ("doctor",)  # which works where they are missing, and says so


class _Parser(argparse.ArgumentParser):
    """Parser whose errors are those of all commands: one line, with the nearest option for one that does not exist."""

    def error(self, message: str) -> NoReturn:
        unknown = message.partition("unrecognized arguments: ")[2].split(" ")[0]
        hint = nearest(unknown, self._option_string_actions) if unknown.startswith("-") else ""
        raise ConfigError(f"{self.prog}: {message}{hint}")


def main(argv: Optional[List[str]] = None) -> None:
    """Run the command line `argv`, by default that of this process, as `ppcls-light` does; see `cli.run`."""
    name, *arguments = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in ("-h", "--help", "help"):
        cli.run(lambda: print(_help()), needs=())
    elif name in ("-V", "--version"):
        cli.run(lambda: print(f"ppcls_light {__version__}"), needs=())
    else:
        _run(name, f"ppcls-light {name}", arguments)


def run_tool(name: str) -> None:
    """Run the command `name` with the command line of this process, that of a script of the checkout."""
    _run(name, f"python {TOOLS[name]}", sys.argv[1:])


def command_parser(name: str, prog: str) -> argparse.ArgumentParser:
    """Return the parser of the command `name`, which is called `prog` in its help."""
    module = _module(name)
    parser = _Parser(
        prog=prog, description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    module.add_arguments(parser)
    return parser


def whole_parser() -> argparse.ArgumentParser:
    """Return a parser of all commands; it imports every module, for what needs them all."""
    parser = argparse.ArgumentParser("ppcls-light")
    parser.add_argument("-V", "--version", action="store_true", help="print the version")
    commands = parser.add_subparsers()
    for name in (*COMMANDS, *FURTHER):
        _module(name).add_arguments(commands.add_parser(name, help=summary(name)))
    return parser


def summary(name: str) -> str:
    """Return the first line of the docstring of the command `name`, without its period."""
    return (_module(name).__doc__ or "").splitlines()[0].rstrip(".")


def _run(name: str, prog: str, arguments: List[str]) -> None:
    needs = () if name in _WITHOUT_PACKAGES else NEEDED
    cli.run(lambda: _module(name).main(_parsed(command_parser(name, prog), arguments)), needs)


def _parsed(parser: argparse.ArgumentParser, arguments: List[str]) -> argparse.Namespace:
    # Options may stand between a folder and its images. Parsers with actions of their own cannot do so.
    try:
        return parser.parse_intermixed_args(arguments)
    except TypeError:
        return parser.parse_args(arguments)


def _module(name: str) -> ModuleType:
    known = [*COMMANDS, *FURTHER]
    if name not in known:
        hint = nearest(name, known) or f"; the commands are {', '.join(known)}"
        raise ConfigError(f"ppcls-light has no command '{name}'{hint}")
    return importlib.import_module(f"{__package__}.{name.replace('-', '_')}")


def _help() -> str:
    def rows(names: List[str]) -> List[str]:
        return [f"  {name:<12}{summary(name)}" for name in names]

    return "\n".join(
        [
            "usage: ppcls-light COMMAND ...",
            "",
            "Lightweight image classification on PaddlePaddle: small backbones, trained, exported and served.",
            "",
            *["commands:", *rows(list(COMMANDS)), ""],
            *["further commands:", *rows(list(FURTHER)), ""],
            "`ppcls-light COMMAND --help` shows the arguments of a command; `ppcls-light --version` the version.",
        ]
    )
