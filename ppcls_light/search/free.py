"""Free searches: values of all entries at once, drawn at random, by a Parzen estimator (TPE), or in a grid."""

from __future__ import annotations

import functools
import math
import random
import warnings
from typing import TYPE_CHECKING, Any, Callable, Iterator, Mapping, Sequence

from ..errors import UserError
from .settings import SearchConfig, Searched
from .trials import DEFAULT, Row, Trial

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Rows = Mapping[str, Row]


def trials_of(search: SearchConfig, base: Sequence[str], rows: Rows) -> Iterator[Trial]:
    """Yield the trials: at first of the config as it is, then with values that are drawn when the next is asked for.

    A trial that is in `rows` already has the values that it has there. `base` are overrides of all trials.
    """
    file = search.base_config_file
    yield Trial(DEFAULT, DEFAULT, file, tuple(base))
    for number, draw in enumerate(_draws(search, rows), 1):
        name = f"trial_{number:03d}"
        if name in rows:
            yield rows[name].trial
            continue
        values = draw()
        own = (
            text
            for searched in search.search_dict
            for text in searched.overrides(values[searched.search_key])
        )
        yield Trial(name, search.method, file, (*base, *own), values)


def _draws(search: SearchConfig, rows: Rows) -> Iterator[Callable[[], dict[str, Any]]]:
    if search.method == "grid":
        for values in search.combinations:
            yield functools.partial(dict, values)
        return
    draw = draw_random if search.method == "random" else draw_tpe
    for number in range(1, (search.trials or 0) + 1):
        yield functools.partial(draw, search, number, rows)


def draw_random(search: SearchConfig, number: int, rows: Rows) -> dict[str, Any]:
    """Return the {search_key: value} of trial `number`, which depend on that and `search.seed` alone."""
    source = random.Random(f"{search.seed} {number}")
    return {searched.search_key: _draw(searched, source) for searched in search.search_dict}


def _draw(searched: Searched, source: random.Random) -> Any:
    if searched.search_values is not None:
        return source.choice(searched.search_values)
    low, high = searched.bounds
    if searched.log:
        return _rounded(math.exp(source.uniform(math.log(low), math.log(high))), low, high)
    return _rounded(source.uniform(low, high), low, high)


def _rounded(value: float, low: float, high: float) -> float:
    """Return `value` to 6 digits, so that commands and tables show the number that was used."""
    return min(max(float(f"{value:.6g}"), low), high)


def check_optuna() -> None:
    """Raise UserError when Optuna, which tpe needs, is not installed."""
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise UserError(
            'method: tpe needs Optuna; pip install "ppcls_light[search]", or method: random, which does without'
        ) from None


def draw_tpe(search: SearchConfig, number: int, rows: Rows) -> dict[str, Any]:
    """Return the {search_key: value} of trial `number`, which depend on that, `search.seed` and the `rows` so far.

    A failed trial counts as the lowest score, so that its neighbourhood is avoided; one that runs as a low one.
    """
    import optuna
    from optuna.trial import TrialState, create_trial

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = {searched.search_key: _distribution(searched) for searched in search.search_dict}
    drawn = [row for row in rows.values() if row.trial.values]
    lowest = min((row.score for row in drawn if row.score is not None), default=0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # of `constant_liar`
        sampler = optuna.samplers.TPESampler(seed=search.seed + number, constant_liar=True)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for row in drawn:
        study.add_trial(
            create_trial(
                state=TrialState.COMPLETE if row.ended else TrialState.RUNNING,
                params={searched.search_key: _param(searched, row) for searched in search.search_dict},
                distributions=space,
                value=(lowest if row.score is None else row.score) if row.ended else None,
            )
        )
    params = study.ask(space).params
    return {
        searched.search_key: _value(searched, params[searched.search_key]) for searched in search.search_dict
    }


def _distribution(searched: Searched) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if searched.search_values is not None:
        return CategoricalDistribution(range(len(searched.search_values)))  # a value may be a list
    return FloatDistribution(*searched.bounds, log=searched.log)


def _param(searched: Searched, row: Row) -> Any:
    value = row.trial.values[searched.search_key]
    return value if searched.search_values is None else searched.search_values.index(value)


def _value(searched: Searched, param: Any) -> Any:
    if searched.search_values is not None:
        return searched.search_values[param]
    return _rounded(param, *searched.bounds)
