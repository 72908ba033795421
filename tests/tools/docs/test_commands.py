import argparse

from tools.docs.commands import arguments_of


def test_the_page_of_the_commands_is_current(run_tool):
    run_tool("docs/commands", "--check")


def test_arguments_have_their_names_defaults_and_meanings():
    parser = argparse.ArgumentParser(prog="fruit")
    parser.add_argument("tree", help="of %(prog)s")
    parser.add_argument("-n", "--number", type=int, default=3, metavar="N", help="so | many")
    parser.add_argument("--ripe", action="store_true", help="only those")
    assert arguments_of(parser).splitlines() == [
        "| argument | default | meaning |",
        "|---|---|---|",
        "| `tree` |  | of fruit |",
        "| `-n, --number N` | `3` | so \\| many |",
        "| `--ripe` |  | only those |",
    ]
