"""Print the completion of commands, options and files for a shell.

bash: put this line into ~/.bashrc:   eval "$(ppcls-light completion bash)"
zsh:  put this one into ~/.zshrc:     eval "$(ppcls-light completion zsh)"
"""

from __future__ import annotations

import argparse

_FOLDERS = {"DIR", "FOLDER", "RUN", "OUTPUT_DIR"}
_FILES = {"FILE", "FILE.npz", "PATH", "IMAGES", "PHOTOS", "SOURCE", "DST"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=["bash", "zsh"])


def main(arguments: argparse.Namespace) -> None:
    import shtab

    from .dispatch import whole_parser

    parser = whole_parser()
    _complete_paths(parser)
    print(shtab.complete(parser, shell=arguments.shell))


def _complete_paths(parser: argparse.ArgumentParser) -> None:
    """Tell shtab which arguments of the `parser` and of its subcommands are files and folders: by their names."""
    import shtab

    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _complete_paths(command)
        elif action.metavar in _FOLDERS:
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
        elif action.metavar in _FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
