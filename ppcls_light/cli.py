"""What the four tools share: PaddleClas' command line, and one line with exit code 2 for a user's error."""

import argparse
import os
import sys
import warnings

from .config import dump_config, load_config
from .errors import UserError


def tool_parser(description):
    """Return a parser with `-c FILE`, `-o Section.key=value ...`, `--print-config` and `--dry-run`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("-c", "--config", required=True, metavar="FILE", help="YAML config")
    parser.add_argument(
        "-o",
        "--override",
        action="append",
        nargs="+",
        default=[],
        metavar="Section.key=value",
        help="set one value; the value is a YAML literal; may be repeated and take several pairs",
    )
    parser.add_argument("--print-config", action="store_true", help="print the fully resolved YAML and stop")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="build everything, do one train step, one eval batch and one export, then stop",
    )
    return parser


def parse_config(arguments):
    """Return the checked config that the parsed `arguments` of a `tool_parser` ask for.

    With `--print-config` it prints the resolved YAML and ends the process with exit code 0.
    """
    overrides = [pair for group in arguments.override for pair in group]
    config = load_config(arguments.config, overrides)
    if arguments.print_config:
        sys.stdout.write(dump_config(config))
        sys.exit(0)
    return config


def run(main):
    """Call `main()` as a tool: a UserError is one line on stderr and exit code 2, Ctrl-C is exit code 130."""
    # Paddle's C++ side warns about its own internals at level 1; errors (2) are still shown.
    os.environ.setdefault("GLOG_minloglevel", "2")
    # Paddle looks for ccache at import and tells people who build no extension that they lack it.
    warnings.filterwarnings("ignore", message="No ccache found")
    warnings.filterwarnings("ignore", message="When training, we now always track global mean and variance")
    try:
        main()
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output (`| head`) has gone; Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
