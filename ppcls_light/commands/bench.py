"""Compare latency, throughput, memory and load time of networks and exported folders on this CPU.

%(prog)s FasterNet_T0 PPLCNet_x1_0 --engine paddle auto --batch 1 8 --threads 1 all
%(prog)s --all --engine auto --csv output/speed.csv --peer 'authors=peers/onnx/{model}.onnx'
%(prog)s PPLCNet_x1_0 --peer paddle.vision:mobilenet_v3_small

A model is a registered name, which is exported here with random weights as the command export does it, or an exported
folder. A peer, a network of others, is run in fp32 by every installed engine that reads it.
Of a model, with one batch and one number of threads, everything is run at once: each in a process of its own, in
turns, round by round, so that other load on the machine meets all of them. Leave the machine alone meanwhile.

  median ms      of a batch: the median over the rounds of each round's median
  p90 ms         90th percentile of all runs
  load ms        from a new process, with only Python in it, to the first answer; what "auto" measures is not in it
  peak MiB       the most memory that the process held
  ratio          how many times as fast as the fastest peer: the median over the rounds of (peer's / ours)
  ratios         the same for each peer
"""

import argparse

from .. import cli
from ..errors import ConfigError

_ENGINES = ("paddle", "onnxruntime", "openvino", "native", "auto")
_PRECISIONS = ("fp32", "bf16", "int8", "auto")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from ..bench import harness

    harness.add_turns(parser)
    add = parser.add_argument
    add("models", nargs="*", metavar="MODEL", help="registered name or exported folder")
    add("--all", action="store_true", help="all models that have a published top-1")
    add("--engine", nargs="+", choices=_ENGINES, default=["paddle"])
    add("--precision", nargs="+", choices=_PRECISIONS, default=["fp32"])
    add("--batch", type=cli.positive, nargs="+", default=[1])
    add("--threads", type=_threads, nargs="+", default=[1], metavar="N|all")
    add(
        "--peer",
        nargs="+",
        default=[],
        metavar="[NAME=]FILE|paddle.vision:NETWORK",
        help="{model} in FILE stands for the model's name",
    )
    add("--as-trained", action="store_true", help="also without the export's folding")
    add("--size", type=cli.positive, help="pixels; default: that of the published result")
    add("--seconds", type=float, default=3.0, help="end a turn after this long (default 3)")


def main(arguments: argparse.Namespace) -> None:
    if arguments.all == bool(arguments.models):
        raise ConfigError("name models or give --all, one of the two; the command list prints their names")
    from ..bench.models import run

    run(arguments)


def _threads(text: str) -> int:
    """Return a number of threads; "all" is one for each physical core."""
    from ..base.machine import physical_cores

    return physical_cores() if text == "all" else cli.positive(text)
