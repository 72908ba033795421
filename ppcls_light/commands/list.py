"""List networks with their published top-1, size and trainings, big teachers, PULC's scenarios, or configs.

%(prog)s
%(prog)s PPLCNet* --json
%(prog)s teachers
%(prog)s scenarios
%(prog)s configs
"""

from __future__ import annotations

import argparse
import json
from typing import Any, Iterator

from ..errors import ConfigError

_NETWORKS, _TEACHERS, _SCENARIOS, _CONFIGS = "networks", "teachers", "scenarios", "configs"
_NETWORK_HEADER = (
    "network",
    "top-1 (%)",
    "params (M)",
    "multiply-adds (M)",
    "input",
    "trainings, the default first",
)
_SCENARIO_HEADER = ("scenario", "published (%)", "metric", "MB", "answers")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what",
        nargs="?",
        default=_NETWORKS,
        metavar="networks|teachers|scenarios|configs|PATTERN",
        help="networks (default), big teachers to distil from, scenarios such as PULC_person_exists, configs, or what "
        "matches a pattern such as PPLCNet*",
    )
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")


def main(arguments: argparse.Namespace) -> None:
    if arguments.what == _CONFIGS:
        rows = list(_configs())
        lines = [f"{row['name']:<52}{row['title']}" for row in rows]
    elif arguments.what == _SCENARIOS:
        rows = list(_scenarios())
        lines = _aligned([_SCENARIO_HEADER, *map(_scenario_cells, rows)])
    else:
        rows = list(_networks(arguments.what))
        lines = _aligned([_NETWORK_HEADER, *map(_network_cells, rows)])
    print(json.dumps(rows, indent=2) if arguments.json else "\n".join(lines))


def _configs() -> Iterator[dict[str, Any]]:
    """Yield {"name" as after -c, "title": the first line of its header}."""
    from ..base.resources import config_path, packaged_configs

    for name in packaged_configs():
        with open(config_path(name), encoding="utf-8") as file:
            yield {"name": name, "title": file.readline().lstrip("# ").rstrip(".\n")}


def _networks(what: str) -> Iterator[dict[str, Any]]:
    """Yield a row of each network, teacher or match of a pattern. Raises ConfigError: none matches; the nearest."""
    from ..models import list_models, variant
    from ..models.profile import known_costs
    from ..registry import MODELS, nearest
    from ..weights import list_pretrained

    if what in (_NETWORKS, _TEACHERS):
        names = list_models(teachers=what == _TEACHERS)
    else:
        names = list_models(what) + list_models(what, teachers=True)
    if not names:
        raise ConfigError(f"no network is called {what}{nearest(what, MODELS.names())}")
    costs = known_costs()
    for name in names:
        cost = costs.get(name)
        yield {
            "network": name,
            "top1": variant(name).top1,
            "parameters": cost and cost.params,
            "multiply_adds": cost and cost.multiply_adds,
            "image_size": variant(name).image_size,
            "trainings": [
                {"name": training.name, "top1": training.top1, "size_mb": training.size_mb}
                for training in list_pretrained()
                if training.network == name
            ],
        }


def _scenarios() -> Iterator[dict[str, Any]]:
    """Yield a row of each published scenario."""
    from ..weights.scenarios import list_scenarios

    for row in list_scenarios():
        yield {
            "scenario": row.name,
            "about": row.about,
            "metric": row.metric,
            "value": row.value,
            "size_mb": row.size_mb,
            "config": f"ppcls_light:pulc/{row.config}.yaml",
        }


def _aligned(cells: list[tuple[str, ...]]) -> list[str]:
    """Return the lines of a table; columns between the first and the last are numbers."""
    widths = [max(map(len, column)) for column in zip(*cells)]
    return [
        "  ".join(
            cell.rjust(width) if 0 < index < len(widths) - 1 else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in cells
    ]


def _scenario_cells(row: dict[str, Any]) -> tuple[str, ...]:
    return row["scenario"], f"{row['value']:.2f}", row["metric"], f"{row['size_mb']:g}", row["about"]


def _network_cells(row: dict[str, Any]) -> tuple[str, ...]:
    trainings = ", ".join(
        training["name"] + ("" if training["top1"] is None else f" {training['top1']:.2f}")
        for training in row["trainings"]
    )
    return (
        row["network"],
        "-" if row["top1"] is None else f"{row['top1']:.2f}",
        *("-" if row[key] is None else f"{row[key] / 1e6:.2f}" for key in ("parameters", "multiply_adds")),
        str(row["image_size"]),
        trainings or "-",
    )
