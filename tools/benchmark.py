"""Latency of exported networks in Paddle Inference on CPU, with and without the export's folding.

    python tools/benchmark.py FasterNet_T0 PPLCNet_x1_0 --threads 1 2 --batch 1

Random weights: times only. Every case runs in a process of its own; the cases take turns, round by round, so
that other load on the machine meets all of them. A row is the median over the rounds of each round's median,
and the spread is from the fastest to the slowest round.
"""

import itertools
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_light import benchmark, cli
from ppcls_light.tables import markdown_table


def parse_arguments():
    parser = benchmark.tool_parser(__doc__)
    parser.add_argument("models", nargs="+", help="registered names")
    parser.add_argument("--threads", type=benchmark.positive, nargs="+", default=[1])
    parser.add_argument("--batch", type=benchmark.positive, nargs="+", default=[1])
    parser.add_argument("--size", type=benchmark.positive, default=224, help="height and width in pixels")
    return parser.parse_args()


def export(name, size, folder):
    """Save the network twice; return {"folded": folder, "as trained": folder}."""
    from ppcls_light import create_model
    from ppcls_light.export.fold import fold
    from ppcls_light.export.static import save_static

    model = create_model(name)
    model.eval()
    folders = {}
    for form, network in (("folded", fold(model)), ("as trained", model)):
        folders[form] = Path(folder) / f"{name} {form}"
        folders[form].mkdir()
        save_static(network, str(folders[form]), [3, size, size])
    return folders


def main():
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory() as scratch:
        cases = {}
        for name in arguments.models:
            for form, folder in export(name, arguments.size, scratch).items():
                for batch, threads in itertools.product(arguments.batch, arguments.threads):
                    shape = (batch, 3, arguments.size, arguments.size)
                    cases[name, form, batch, threads] = benchmark.Case(
                        benchmark.paddle_inference, (str(folder), shape, threads)
                    )
        medians = benchmark.measure(cases, arguments.rounds, arguments.runs)
    print(
        f"\n{benchmark.environment()}; {arguments.rounds} rounds of {arguments.runs} runs, {arguments.size} pixels\n"
    )
    columns = ("model", "form", "batch", "threads", *benchmark.TIMES)
    rows = [
        (*case, *(f"{value:.2f}" for value in benchmark.summary(times))) for case, times in medians.items()
    ]
    print(markdown_table(columns, rows), end="")
    if arguments.csv:
        benchmark.write_rows(arguments, columns, rows, pixels=arguments.size)


if __name__ == "__main__":
    cli.run(main)
