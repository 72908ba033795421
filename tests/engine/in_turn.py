"""Run by `paddle.distributed.launch` in test_two_ranks.py: tools and scripts, one after the other in each rank.

in_turn.py COMMANDS.json: a list of commands, [file, arguments ...]. A line of dashes ends what each of them prints.
"""

import json
import runpy
import sys

from ppcls_light.ops import training


def main(commands):
    with open(commands) as file:
        for command in json.load(file):
            sys.argv = command
            runpy.run_path(command[0], run_name="__main__")
            training.disable()
            sys.stderr.flush()
            print("-" * 20, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
