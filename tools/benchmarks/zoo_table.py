"""Write the table of docs/models.md and the costs of all networks: python tools/benchmarks/zoo_table.py [--check]"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_light import cli
from ppcls_light.base.files import write_text
from ppcls_light.base.tables import markdown_table
from ppcls_light.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
BEGIN, END = "<!-- models:begin -->", "<!-- models:end -->"
CAPTION = """\
Top-1 is what the authors published for ImageNet-1k, not measured here. Parameters and multiply-adds are counted as
`tools/summary.py` counts them, at the given size in pixels: learned parameters, without the running statistics of
batch norm that the authors of PP-LCNet count; convolutions, linear layers and attention, without the norms that
those of EdgeNeXt and the Dynamic Shift-Max that those of MicroNet count."""
COLUMNS = ("model", "published top-1 (%)", "params (M)", "multiply-adds (M)", "input", "config")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit code 1 if one of the two is stale"
    )
    parser.add_argument(
        "--page", metavar="FILE", default=ROOT / "docs/models.md", help="default: docs/models.md"
    )
    parser.add_argument("--costs", metavar="FILE", help="default: costs.csv of ppcls_light.models")
    return parser.parse_args()


def counted():
    """Return {network: `profile.Cost`} of all that are registered, teachers last, each built for it."""
    from ppcls_light.models import create_model, list_models
    from ppcls_light.models.profile import Cost, profile

    names = [*list_models(), *list_models(teachers=True)]
    return {name: Cost(*profile(create_model(name))[1:]) for name in names}


def model_table(costs):
    """Return the caption and the table of all networks that have a published result, as Markdown."""
    from ppcls_light.models import published, variant

    rows = []
    for name, top1 in published().items():
        (path,) = ROOT.glob(f"configs/*/{name}.yaml")
        cells = f"{costs[name].params / 1e6:.2f}", f"{costs[name].multiply_adds / 1e6:,.2f}"
        config = f"`{path.relative_to(ROOT).as_posix()}`"
        rows.append((name, f"{top1:.4g}", *cells, variant(name).image_size, config))
    return f"{CAPTION}\n\n{markdown_table(COLUMNS, rows)}"


def cost_rows(costs):
    """Return the text of the file of costs."""
    lines = [",".join(map(str, (name, *cost))) for name, cost in costs.items()]
    return "\n".join(["network,parameters,multiply_adds", *lines, ""])


def with_table(text, table, name):
    """Return `text` with `table` between the two markers. Raises UserError, naming the file, without them."""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise UserError(f"{name}: the table goes between the lines {BEGIN} and {END}; add them")
    return f"{head}{BEGIN}\n{table}{END}{tail}"


def main():
    arguments = parse_arguments()
    path = Path(arguments.page)
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    from ppcls_light.models.profile import COSTS_FILE

    costs, costs_file = counted(), Path(arguments.costs or COSTS_FILE)
    text = path.read_text(encoding="utf-8")
    wanted = {path: with_table(text, model_table(costs), path), costs_file: cost_rows(costs)}
    for file, content in wanted.items():
        if not arguments.check:
            write_text(file, content)
        elif not file.is_file() or file.read_text(encoding="utf-8") != content:
            sys.exit(f"{file}: the model table is stale; run python tools/benchmarks/zoo_table.py")


if __name__ == "__main__":
    cli.run(main)
