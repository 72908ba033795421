"""Search by stages, as PaddleClas' PULC: one value after the other, then a teacher, and the student under it."""

from __future__ import annotations

import os
from typing import Callable, Sequence

from ..errors import UserError
from .settings import SearchConfig, Searched, override
from .trials import Row, Trial

FINAL = "search_res"  # trial of the distillation, as PaddleClas calls its folder

RunAll = Callable[[Sequence[Trial]], Sequence[Row]]


def best_of(rows: Sequence[Row]) -> Row:
    """Return the complete row with the best score, of equal ones the first. Raises UserError: all failed."""
    complete = [row for row in rows if row.state == "complete"]
    if not complete:
        first = next(row for row in rows if row.state == "failed")
        raise UserError(
            f"all trials of {first.trial.stage} failed, {first.trial.name} because of: {first.reason}"
        )
    return max(complete, key=lambda row: row.score or 0.0)


def trials_of_stage(search: SearchConfig, searched: Searched, found: Sequence[str]) -> list[Trial]:
    """Return a trial for each value of an entry of `search_dict`, with the overrides `found` before."""
    key, values = searched.search_key, searched.search_values or []
    return [
        Trial(
            f"{key}_{number}",
            key,
            search.base_config_file,
            (*found, *searched.overrides(value)),
            {key: value},
        )
        for number, value in enumerate(values, 1)
    ]


def trials_of_teacher(search: SearchConfig, found: Sequence[str]) -> list[Trial]:
    """Return a trial for each candidate, with the overrides `found` of keys that it has; [] where none is searched."""
    teacher = search.teacher
    if teacher is None or teacher.algorithm != "skl-ugi":
        return []
    own = [text for text in found if not any(key in text.partition("=")[0] for key in teacher.rm_keys)]
    return [
        Trial(
            f"teacher_{number}",
            "teacher",
            search.base_config_file,
            (*own, override("Arch.name", name)),
            {"teacher": name},
        )
        for number, name in enumerate(teacher.search_values, 1)
    ]


def trial_of_distillation(search: SearchConfig, found: Sequence[str], teacher: Sequence[str]) -> Trial:
    """Return the final training of the student, with the overrides of the `teacher` and those `found`, renamed."""
    assert search.distill_config_file is not None
    own = []
    for text in found:
        key, _, value = text.partition("=")
        for old, new in search.final_replace.items():
            key = key.replace(old, new)
        own.append(f"{key}={value}")
    return Trial(FINAL, FINAL, search.distill_config_file, (*own, *teacher))


def of_network(name: str, folder: str) -> list[str]:
    """Return the overrides by which the network `name`, trained in `folder`, is the teacher."""
    weights = os.path.join(folder, "best_model.pdparams")
    return [
        override("Arch.models.0.Teacher.name", name),
        override("Arch.models.0.Teacher.pretrained", weights),
    ]


def of_same_network(search: SearchConfig, found: Sequence[str]) -> list[str]:
    """Return the overrides by which the teacher of UDML has the student's learning-rate multiples, where found."""
    own = [text.partition("=")[2] for text in found if text.startswith("Arch.lr_mult_list=")]
    return [f"Arch.models.0.Teacher.lr_mult_list={value}" for value in own[-1:]]


def run_stages(
    search: SearchConfig, base: Sequence[str], folder: str, run_all: RunAll
) -> tuple[Row, Row | None]:
    """Run the stages and, where a teacher is asked for, the distillation; return (best row of the stages, final row).

    Raises UserError: all trials of a stage failed.
    """
    found, best = list(base), None
    for searched in search.search_dict:
        best = best_of(run_all(trials_of_stage(search, searched, found)))
        found += searched.overrides(best.trial.values[searched.search_key])
    assert best is not None
    if search.teacher is None:
        return best, None
    candidates = trials_of_teacher(search, found)
    if candidates:
        teacher = best_of(run_all(candidates))
        own = of_network(teacher.trial.values["teacher"], os.path.join(folder, teacher.folder))
    else:
        own = of_same_network(search, found)
    return best, best_of(run_all([trial_of_distillation(search, found, own)]))
