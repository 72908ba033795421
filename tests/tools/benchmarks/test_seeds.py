"""Trainings from several seeds, and their table."""

import pytest

from ppcls_light.errors import ConfigError
from tools.benchmarks.seeds import run_all


def test_each_run_is_made_once_and_the_table_has_n_mean_and_spread(tmp_path, capsys):
    made = []

    def runs(seeds):
        for seed in seeds:
            yield ("60", "both"), seed, lambda seed=seed: made.append(seed) or (70.0 + 5 * seed, 20.0 + seed)

    path = tmp_path / "runs.csv"
    run_all(path, ("labelled", "taught by"), runs([0]))
    run_all(path, ("labelled", "taught by"), runs([0, 1]))
    assert made == [0, 1]
    assert capsys.readouterr().out.endswith("| 60 | both | 2 | 72.5 | 70.0 to 75.0 | 21 |\n")
    with pytest.raises(ConfigError, match=r"runs\.csv has other columns than crops"):
        run_all(path, ("crops",), runs([0]))
