"""The folder of a training in the place of its export, by the commands predict and serve."""

import shutil

import numpy as np
import pytest

from ppcls_light import cli
from ppcls_light.errors import ConfigError
from ppcls_light.weights import read_weights, write_weights


def test_an_export_of_other_weights_does_not_stand_in_for_the_best(trained, exported, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained.folder, run, ignore=shutil.ignore_patterns("inference"))
    shutil.copytree(exported.bundle.folder, run / "inference")
    assert cli.exported(str(run)) == str(run / "inference")

    state = read_weights(run / "best_model.pdparams")
    key = max(state, key=lambda name: state[name].size)
    for path in run.glob("best_model.pdstates"):
        path.unlink()  # it has the checksum of the weights that were
    write_weights(run / "best_model.pdparams", {**state, key: state[key] + np.float32(1e-3)})
    with pytest.raises(
        ConfigError, match=r"exported from other weights than .*best_model.pdparams; .* export "
    ):
        cli.exported(str(run))
    assert cli.exported(str(run / "inference")) == str(
        run / "inference"
    )  # named itself, it is what was asked for
