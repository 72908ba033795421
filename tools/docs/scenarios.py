"""Write the table of docs/pulc.md from the published scenarios and their configs: python tools/docs/scenarios.py"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_light import cli
from ppcls_light.base.tables import markdown_table
from ppcls_light.engine.classes import class_names
from ppcls_light.weights.scenarios import Scenario, list_scenarios
from tools.docs import marked

ROOT = Path(__file__).resolve().parents[2]
SHOWN = 4  # names at most; of more there is the number


def table(name: str) -> str:
    """Return the part of the page called `name`: the one table."""
    rows = [cells(row) for row in list_scenarios()]
    return markdown_table(("name", "about", "classes or tags", "published", "MB", "config"), rows)


def cells(row: Scenario) -> tuple[str, ...]:
    """Return the cells of a scenario."""
    config = row.load_config()
    names = class_names(config)
    assert names is not None
    number = f"{len(names)} {'tags' if config.multilabel else 'classes'}"
    shown = ", ".join(names) if len(names) <= SHOWN else number
    file = f"`ppcls_light:pulc/{row.config}.yaml`"
    return f"`{row.name}`", row.about, shown, f"{row.value:g} % {row.metric}", f"{row.size_mb:g}", file


def main() -> None:
    marked.main(__doc__, [ROOT / "docs/pulc.md"], table, "python tools/docs/scenarios.py")


if __name__ == "__main__":
    cli.run(main)
