"""Serve an exported model over HTTP, with a page for people.

%(prog)s output/photos --port 8080
"""

import argparse
from typing import Callable, get_args

from .. import cli
from ..errors import ConfigError


class _Formatter(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    pass


def _at_least(smallest: float, kind: type = int) -> Callable[[str], float]:
    def number(text: str) -> float:
        value: float = kind(text)
        if not value >= smallest:
            raise ValueError
        return value

    number.__name__ = f"number of at least {smallest}"
    return number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from ..config.values import EngineName, Precision
    from ..runtime.options import Device

    parser.formatter_class = _Formatter
    add = parser.add_argument
    add(
        "folder",
        nargs="?",
        metavar="FOLDER",
        default=argparse.SUPPRESS,
        help="exported folder, or that of its training",
    )
    add("--model", metavar="FOLDER", default=argparse.SUPPRESS, help="the same")
    add("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 is every network of this machine")
    add("--port", type=_at_least(0), default=8080, help="0 takes a free one")
    add("--max-batch", type=_at_least(1), default=8, help="images that run together at most")
    add("--max-delay", type=_at_least(0, float), default=5, help="ms that an image waits for others")
    add("--queue", type=_at_least(1), default=64, help="images that may wait; more are answered with 503")
    add("--timeout", type=_at_least(0.001, float), default=10, help="s for the upload, and for the answer")
    add(
        "--header-timeout",
        type=_at_least(0.001, float),
        default=10,
        help="s until a request's head is complete",
    )
    add("--keep-alive", type=_at_least(0, float), default=5, help="s that an idle connection stays open")
    add(
        "--min-rate",
        type=_at_least(1),
        default=1000,
        help="bytes per second of an upload after its first 2 s",
    )
    add(
        "--max-connections",
        type=_at_least(1),
        help="open at a time; None: 1000, or fewer where fewer files may be open",
    )
    add("--max-bytes", type=_at_least(1), default=10 * 1024 * 1024, help="of a request's body")
    add("--max-pixels", type=_at_least(1), default=50_000_000, help="of an image")
    add("--max-images", type=_at_least(1), default=16, help="in one request")
    add(
        "--workers",
        type=_at_least(1),
        help="processes with the network; None: the cores, 4 at most; 1 on a GPU",
    )
    add("--threads", type=_at_least(1), help="of a worker's network; None: its share of the cores")
    add("--decode-threads", type=_at_least(1), default=2, help="of a worker")
    add("--allowed-hosts", help="that requests may be for, as a.example,*.b.example; None: any")
    add("--token-file", help="file with the bearer token that clients send; or set PPCLS_SERVING_TOKEN")
    add(
        "--trusted-proxies",
        default="",
        help="addresses whose X-Forwarded-For names the client, as 10.0.0.2,...",
    )
    add("--drain", type=_at_least(0, float), default=1, help="s between SIGTERM and closing the port")
    add(
        "--engine",
        choices=get_args(EngineName),
        help="native where the folder has a plan for it, else paddle",
    )
    add("--precision", choices=get_args(Precision), default="fp32")
    add(
        "--choose-engine",
        action="store_true",
        help="choose the engine that --engine auto takes with these options, remember it, and end",
    )
    add("--device", choices=get_args(Device), default="cpu")


def main(arguments: argparse.Namespace) -> None:
    folders = [vars(arguments)[name] for name in ("folder", "model") if name in arguments]
    if len(folders) != 1:
        raise ConfigError("give an exported folder, once: serve FOLDER, or --model FOLDER")
    from ..serve.server import serve

    arguments.model = cli.exported(folders[0])
    serve(arguments)
