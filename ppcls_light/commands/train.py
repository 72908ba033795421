"""Train a network, on a folder of photos or from a config.

%(prog)s PHOTOS --minutes 10
%(prog)s -c CONFIG -o Global.epochs=20
"""

import argparse
from typing import Any, Dict

from .. import cli
from ..errors import ConfigError

_YAML = (".yaml", ".yml")
_PHOTOS = """\
PHOTOS has one folder of photos per class. They are checked and divided; network, size,
batch and epochs are chosen for the minutes; the trained network is scored on photos
that were held out, exported and shown on a page. output/NAME has it all, and the
choice as photos.yaml, a config."""
# Of a folder of photos: {argument of `photos.train_photos`: (kind, name of its value, meaning)}
_VALUES: Dict[str, Any] = {
    "minutes": (
        float,
        "N",
        "in which the training ends, at the speed that is measured before it (default: 10)",
    ),
    "out": (str, "FOLDER", "for all that is written (default: output/NAME)"),
    "network": (str, "NAME", "default: PPLCNet_x1_0, or a smaller one that is fast enough"),
    "size": (int, "PIXELS", "of the pictures that the network sees (default: 160 or what is fast enough)"),
    "epochs": (int, "N", "in place of --minutes"),
    "batch_size": (int, "N", "photos per step (default: by their number, at most 32)"),
    "split": (str, "SHARES", "to learn, to choose the epoch, and held out (default: 0.8/0.1/0.1)"),
    "seed": (int, "N", "of the division and the training (default: 0)"),
    "weights": (str, "FILE", "to start from (default: those of ImageNet, which are fetched once)"),
}
_FLAGS = {
    "scratch": "start from random weights",
    "resume": "go on with the training in output/NAME that was stopped",
    "overwrite": "move the training that is in output/NAME to previous_N there",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path", nargs="?", metavar="PHOTOS", help="folder of photos; a YAML file is the same as -c"
    )
    cli.add_config(parser, required=False)
    cli.add_dry_run(parser)
    parser.add_argument("-p", "--profiler_options", metavar="KEY=VALUE;...", help="profile a range of steps")
    add = parser.add_argument_group("of PHOTOS", _PHOTOS).add_argument
    for name, (kind, metavar, text) in _VALUES.items():
        add(_flag(name), type=kind, metavar=metavar, help=text)
    for name, text in _FLAGS.items():
        add(_flag(name), action="store_true", help=text)


def main(arguments: argparse.Namespace) -> None:
    if arguments.path is not None and arguments.path.endswith(_YAML):
        if arguments.config is not None:
            raise ConfigError(f"give one config: {arguments.path} or -c {arguments.config}")
        arguments.config, arguments.path = arguments.path, None
    if (arguments.path is None) == (arguments.config is None):
        raise ConfigError("give a folder of photos, or a config by -c FILE, one of the two")
    given = {name: getattr(arguments, name) for name in (*_VALUES, *_FLAGS)}
    given = {name: value for name, value in given.items() if value is not None and value is not False}
    if arguments.config is not None:
        if given:
            raise ConfigError(
                f"{_flag(next(iter(given)))} is for a folder of photos; a config is changed by -o"
            )
        cli.run_job("train", arguments, {"-p": arguments.profiler_options})
        return
    for option, value in (
        ("-o", arguments.override),
        ("-p", arguments.profiler_options),
        ("--print-config", arguments.print_config),
        ("--dry-run", arguments.dry_run),
    ):
        if value:
            raise ConfigError(
                f"{option} is for a config, and {arguments.path} is a folder; leave one of them out"
            )
    from ..photos import train_photos

    train_photos(arguments.path, **given)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
