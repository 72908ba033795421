"""The command `ppcls-light`, and the tools of a checkout, which are the same commands.

A command is a module of this package: a docstring, whose first line is its summary, `add_arguments(parser)` and
`main(arguments)`. `dispatch` has the table of them. Only the module of the command that is asked for is imported, and
at its top nothing slow.
"""

from .dispatch import COMMANDS, FURTHER, main, run_tool

__all__ = ["COMMANDS", "FURTHER", "main", "run_tool"]
