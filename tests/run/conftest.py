"""Fixtures of a finished training."""

import pytest

from ppcls_light import train
from tests.conftest import write_config, write_photos


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A finished run of two epochs; read it only."""
    folder = tmp_path_factory.mktemp("trained")
    return train(write_config(folder, write_photos(folder)), ["Global.print_batch_step=1"], epochs=2)


@pytest.fixture(scope="session")
def exported(trained):
    """The export of `trained`, as a Predictor."""
    return trained.export(overrides=["Global.embedding=true"])
