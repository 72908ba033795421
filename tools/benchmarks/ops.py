"""The operators of FasterNet's comparison in Paddle Inference on CPU, beside the roofline of this machine.

    python tools/benchmarks/ops.py --csv output/ops.csv --plot output/ops

Each operator is measured as a stack of identical layers without bias, norm and activation, at the map sizes of the
paper (arXiv 2303.03667, table 1), batch 1. Cases run in processes of their own, of about 0.2 GB, and take turns. A row
is the median over the rounds of each round's median.

    multiply-adds  of the stack. A multiply-add is two operations in GFLOPS, here and for the matrix product;
                   the paper counts it as one.
    traffic        by the paper's formulas, in float32: each layer reads and writes the channels it convolves
                   once and reads its weights once: h w 2c + weights, h w 2c_p + k^2 c_p^2 for PConv. What
                   split, concat or the copy of "slicing" move comes on top and is not in it.
    roofline       min(product, intensity x copy): the speed of a large float32 matrix product, by numpy's BLAS
                   or by Paddle Inference itself (pointwise convolutions of 1024 channels), whichever is faster,
                   and of copying a large array (read and written bytes), best round of each, with as many
                   threads. A stack whose maps stay in the caches may lie above the copy's line.

The row "none" has no operator: it is what input, pooling, output and Paddle itself cost in every other row.
Nothing is subtracted; where it is not small beside a row, --layers 50 makes it so.
"""

import os
import statistics
import sys
import tempfile
from argparse import ArgumentTypeError
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_light import cli
from ppcls_light.base.figures import check_matplotlib, new_figure, save_figure
from ppcls_light.base.timing import Spread
from ppcls_light.bench import harness

# Arguments of `mixing_layer` after the channels, by the names of the paper; 1/4 of PConv's, 16 groups.
OPERATORS = {
    "Conv": {"kind": "conv"},
    "GConv": {"kind": "gconv"},
    "DWConv": {"kind": "dwconv"},
    "PConv split_cat": {"kind": "pconv", "pconv_mode": "split_cat"},
    "PConv slicing": {"kind": "pconv", "pconv_mode": "slicing"},
    "PWConv": None,
    "none": None,
}
MAPS = ("96x56x56", "192x28x28", "384x14x14", "768x7x7")
COLUMNS = (
    *("operator", "map", "multiply-adds (M)", "traffic (MB)", "operations per byte"),
    *harness.TIMES,
    *("GFLOPS", "roofline GFLOPS", "share of roofline"),
)
PRODUCT_SIZE = 2048
# A BLAS built for another processor can be half as fast as the engine, and no roof at all.
ENGINE_PRODUCT = "PWConv", (1024, 32, 32), 4
COPY_BYTES = 1 << 28


class Cost(NamedTuple):
    """Work of a stack for one image: multiply-adds, and bytes by the paper's formula."""

    multiply_adds: int
    traffic: int

    @property
    def intensity(self):
        """Operations per byte; a multiply-add is two."""
        return 2 * self.multiply_adds / self.traffic

    def gflops(self, milliseconds):
        """Thousand million operations per second, when one image takes `milliseconds`."""
        return 2 * self.multiply_adds / milliseconds / 1e6


def parse_arguments():
    parser = harness.tool_parser(__doc__)
    harness.add_turns(parser)
    parser.add_argument("--operators", nargs="+", choices=OPERATORS, default=list(OPERATORS), metavar="NAME")
    parser.add_argument("--maps", nargs="+", type=map_shape, default=[map_shape(text) for text in MAPS])
    parser.add_argument("--layers", type=cli.positive, default=10, help="layers per stack (default 10)")
    parser.add_argument("--threads", type=cli.positive, default=1)
    parser.add_argument("--plot", metavar="FILE", help="also draw the roofline as FILE.png and FILE.svg")
    return parser.parse_args()


def map_shape(text):
    """Return "96x56x56" as (96, 56, 56): channels, height, width."""
    parts = text.split("x")
    if len(parts) != 3:
        raise ArgumentTypeError(f"expected channels, height and width as 96x56x56, got '{text}'")
    return tuple(map(cli.positive, parts))


def matrix_product(size, threads):
    """Return the call of a case: a float32 product (size, size) by numpy's BLAS, of 2 size^3 operations."""
    if "numpy" in sys.modules:
        raise RuntimeError("numpy's BLAS reads its thread count when numpy is imported, which has happened")
    os.environ.update({f"{library}_NUM_THREADS": str(threads) for library in ("OPENBLAS", "MKL", "OMP")})
    import numpy as np

    left, right = np.random.default_rng(0).standard_normal((2, size, size)).astype("float32")
    product = np.empty_like(left)
    return lambda: np.matmul(left, right, out=product)


def array_copy(size, threads):
    """Return the call of a case: copy `size` bytes in `threads` parts at once; each is read once and written once."""
    import numpy as np

    parts = [(np.ones(size // threads, "uint8"), np.ones(size // threads, "uint8")) for _ in range(threads)]
    pool = ThreadPoolExecutor(threads)
    # numpy lets other threads run while it copies
    return lambda: list(pool.map(lambda part: np.copyto(*part), parts))


def build_stack(operator, channels, layers):
    """Return a list of `layers` layers, (N, channels, H, W) to the same; of none for "none"."""
    from paddle import nn

    from ppcls_light.models.layers import mixing_layer

    if operator == "none":
        return []
    if operator == "PWConv":
        return [nn.Conv2D(channels, channels, 1, bias_attr=False) for _ in range(layers)]
    return [mixing_layer(dim=channels, **OPERATORS[operator]) for _ in range(layers)]


def engine_case(operator, shape, layers, folder, threads):
    """Return the case of a stack for maps of `shape` (C, H, W), saved to `folder`; it ends in two numbers."""
    from paddle import nn

    from ppcls_light.bundle import read_bundle
    from ppcls_light.export.static import save_static
    from ppcls_light.runtime.options import EngineOptions
    from ppcls_light.runtime.race import EngineCall

    head = [nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(shape[0], 2)]
    folder.mkdir()
    save_static(nn.Sequential(*build_stack(operator, shape[0], layers), *head), str(folder), shape)
    return EngineCall, read_bundle(folder), EngineOptions(cpu_threads=threads), (1, *shape)


def cost(operator, shape, layers):
    """Return the Cost of `layers` layers on one map of `shape` (C, H, W)."""
    from paddle import nn

    from ppcls_light.models.profile import profile

    channels, height, width = shape
    stack = build_stack(operator, channels, layers)
    counted = profile(nn.Sequential(*stack), shape)
    convolved = sum(getattr(layer, "dim_conv", channels) for layer in stack)  # dim_conv is PConv's share
    return Cost(counted.multiply_adds, 4 * (2 * height * width * convolved + counted.params))


def roofline(intensity, product, copy):
    """Return the attainable GFLOPS at `intensity` (operations per byte), given GFLOPS and GB/s."""
    return min(product, intensity * copy)


def table_row(operator, shape, cost, times, product, copy):
    """Return the cells of COLUMNS, as text."""
    numbers = f"{cost.multiply_adds / 1e6:.2f}", f"{cost.traffic / 1e6:.2f}"
    row, spread = [operator, "x".join(map(str, shape)), *numbers], Spread.of(times)
    milliseconds = [f"{value:.3f}" for value in spread]
    if not cost.multiply_adds:
        return [*row, "", *milliseconds, "", "", ""]
    reached, attainable = cost.gflops(spread.median), roofline(cost.intensity, product, copy)
    speeds = [f"{reached:.1f}", f"{attainable:.1f}", f"{reached / attainable:.0%}"]
    return [*row, f"{cost.intensity:.2f}", *milliseconds, *speeds]


def draw(path, points, product, copy, title):
    """Draw the roofline and the `points` {(operator, shape): (operations per byte, GFLOPS)} to `path`."""
    figure = new_figure(9, 6)
    axes = figure.add_subplot(xlabel="operations per byte", ylabel="GFLOPS", xscale="log", yscale="log")
    edge = product / copy
    intensities = [edge, *(intensity for intensity, _ in points.values())]
    ends = [min(intensities) / 2, edge, max(intensities) * 2]
    axes.plot(ends, [roofline(intensity, product, copy) for intensity in ends], color="black")
    axes.annotate(f"matrix product {product:.0f} GFLOPS, copy {copy:.1f} GB/s", (edge, product), (0, 6),
                  textcoords="offset points", ha="center")  # fmt: skip
    for index, operator in enumerate(OPERATORS):
        own = {shape: point for (name, shape), point in points.items() if name == operator}
        if own:
            axes.plot(*zip(*own.values()), "os^Dvp"[index], label=operator)
        for shape, point in own.items():
            axes.annotate("x".join(map(str, shape)), point, (4, 4), textcoords="offset points", fontsize=6)
    axes.set_title(title, fontsize=8)
    axes.grid(alpha=0.3)
    axes.legend()
    save_figure(figure, path)


def main():
    arguments = parse_arguments()
    if arguments.plot:
        check_matplotlib("--plot")
    threads, layers = arguments.threads, arguments.layers
    stacks = [(operator, shape) for shape in arguments.maps for operator in arguments.operators]
    cases = {
        "matrix product": (matrix_product, PRODUCT_SIZE, threads),
        "copy": (array_copy, COPY_BYTES, threads),
    }
    exports = {**{stack: (*stack, layers) for stack in stacks}, "engine product": ENGINE_PRODUCT}
    with tempfile.TemporaryDirectory() as scratch:
        for index, (name, stack) in enumerate(exports.items()):
            cases[name] = engine_case(*stack, Path(scratch, str(index)), threads)
        times = harness.measure(cases, arguments.rounds, arguments.runs)
    product = max(
        2 * PRODUCT_SIZE**3 / min(times["matrix product"]) / 1e6,
        cost(*ENGINE_PRODUCT).gflops(min(times["engine product"])),
    )
    copy = 2 * COPY_BYTES / min(times["copy"]) / 1e6
    costs = {stack: cost(*stack, layers) for stack in stacks}
    rows = [table_row(*stack, costs[stack], times[stack], product, copy) for stack in stacks]
    settings = {
        "layers": layers,
        "threads": threads,
        "matrix product GFLOPS": f"{product:.1f}",
        "copy GB/s": f"{copy:.1f}",
        **harness.conditions(arguments),
    }
    harness.report(arguments, COLUMNS, rows, settings)
    if arguments.plot:
        points = {
            stack: (costs[stack].intensity, costs[stack].gflops(statistics.median(times[stack])))
            for stack in stacks
            if costs[stack].multiply_adds
        }
        title = f"{settings['environment']}; threads {threads}, stacks of {layers} layers"
        draw(arguments.plot, points, product, copy, title)


if __name__ == "__main__":
    from tools.benchmarks import ops

    cli.run(ops.main)  # the processes that are timed import its functions by this name
