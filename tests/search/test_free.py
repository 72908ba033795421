"""Values of free searches, and the rule that ends a trial early."""

import math
import random

import pytest

from ppcls_light.search.free import draw_random, draw_tpe, trials_of
from ppcls_light.search.median import falls_behind
from ppcls_light.search.settings import SearchConfig, Searched
from ppcls_light.search.trials import Row, Trial

RATE = Searched("lr", ["Optimizer.lr.learning_rate"], low=1e-4, high=1.0, log=True)
ERASING = Searched("erasing", ["A.EPSILON", "B.EPSILON"], low=0.2, high=0.4)
NETWORK = Searched("network", ["Arch.name"], search_values=["PPLCNet_x0_25", "PPLCNet_x0_5"])
MULTIPLES = Searched("multiples", ["Arch.lr_mult_list"], search_values=[[0.0, 1.0], [1.0, 1.0]])


def config(method, *searched, **keys):
    return SearchConfig("base.yaml", "output", list(searched), method=method, **keys)


def rows_of(scores):
    """Return rows of `trial_N` of a rate and a network, with the score that `scores` has for them."""
    rows = {}
    for number, ((rate, network), score) in enumerate(scores.items(), 1):
        trial = Trial(f"trial_{number:03d}", "tpe", "base.yaml", (), {"lr": rate, "network": network})
        rows[trial.name] = Row(trial, "failed" if score is None else "complete", trial.name, score)
    return rows


def test_random_values_are_in_their_bounds_and_even_on_their_scale():
    search = config("random", RATE, ERASING, MULTIPLES, trials=400)
    drawn = [draw_random(search, number, {}) for number in range(1, 401)]
    assert all(1e-4 <= values["lr"] <= 1 and 0.2 <= values["erasing"] <= 0.4 for values in drawn)
    decades = [sum(10**-n <= values["lr"] < 10 ** (1 - n) for values in drawn) for n in (1, 2, 3, 4)]
    assert all(60 <= count <= 140 for count in decades)  # of 400 draws 100 each, sigma 8.7
    assert 140 <= sum(values["multiples"] == [0.0, 1.0] for values in drawn) <= 260
    assert drawn[7] == draw_random(search, 8, {})  # whatever was drawn before
    search.seed = 1
    assert drawn[7] != draw_random(search, 8, {})


def test_a_grid_has_every_combination_once():
    search = config("grid", NETWORK, MULTIPLES)
    default, *trials = trials_of(search, ["Global.epochs=1"], {})
    assert (default.name, default.overrides) == ("default", ("Global.epochs=1",))
    assert [tuple(map(str, trial.values.values())) for trial in trials] == [
        (network, multiples)
        for network in ("PPLCNet_x0_25", "PPLCNet_x0_5")
        for multiples in ("[0.0, 1.0]", "[1.0, 1.0]")
    ]
    assert trials[0].overrides == (
        "Global.epochs=1",
        'Arch.name="PPLCNet_x0_25"',
        "Arch.lr_mult_list=[0.0, 1.0]",
    )


def test_a_trial_that_began_keeps_its_values():
    rows = rows_of({(0.5, "PPLCNet_x0_5"): None})
    search = config("random", RATE, NETWORK, trials=2)
    _, first, second = trials_of(search, [], rows)
    assert first.values == {"lr": 0.5, "network": "PPLCNet_x0_5"}
    assert second.values == draw_random(search, 2, {})


def test_tpe_depends_on_the_scores_so_far_and_on_nothing_else():
    pytest.importorskip("optuna", reason="needs the extra search")
    search = config("tpe", RATE, NETWORK, trials=30)
    source = random.Random(0)
    tried = [
        (10 ** source.uniform(-4, 0), source.choice(["PPLCNet_x0_25", "PPLCNet_x0_5"])) for _ in range(24)
    ]

    def proposals(score):
        rows = rows_of({values: score(*values) for values in tried})
        return [draw_tpe(search, number, rows) for number in range(25, 55)]

    def share(
        values, best
    ):  # of proposals within a decade of the best rate, which random ones are in half of cases
        return sum(abs(math.log10(value["lr"] / best)) < 1 for value in values) / len(values)

    low = proposals(lambda rate, _: None if rate > 0.5 else 1 - abs(math.log10(rate / 1e-3)))
    high = proposals(lambda rate, _: 1 - abs(math.log10(rate / 1e-1)))
    assert share(low, 1e-3) > share(high, 1e-3)
    assert share(high, 1e-1) > share(low, 1e-1)
    assert all(1e-4 <= value["lr"] <= 1 and value["network"] in NETWORK.search_values for value in low + high)
    assert low == proposals(lambda rate, _: None if rate > 0.5 else 1 - abs(math.log10(rate / 1e-3)))


def test_the_median_rule_is_optunas():
    optuna = pytest.importorskip("optuna", reason="needs the extra search")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    source = random.Random(0)
    agreed = {True: 0, False: 0}
    for _ in range(40):
        complete = [
            dict(enumerate(sorted(source.random() for _ in range(4)), 1)) for _ in range(source.randint(3, 9))
        ]
        own = dict(enumerate(sorted(source.random() for _ in range(source.randint(1, 4))), 1))
        study = optuna.create_study(
            direction="maximize", pruner=optuna.pruners.MedianPruner(n_startup_trials=5)
        )
        for course in complete:
            study.add_trial(optuna.trial.create_trial(value=course[4], intermediate_values=course))
        trial = study.ask()
        for epoch, score in own.items():
            trial.report(score, epoch)
        assert falls_behind(own, complete) == trial.should_prune()
        agreed[trial.should_prune()] += 1
    assert min(agreed.values()) > 5
