"""The table of scenarios against the configs that it names and the networks that they describe."""

import numpy as np
import paddle
import pytest

from ppcls_light.config import load_config
from ppcls_light.data.classes import paddleclas_names
from ppcls_light.data.transforms.compose import build_transforms
from ppcls_light.engine.classes import class_names
from ppcls_light.engine.classes import training_names as training_names_of
from ppcls_light.models import create_model
from ppcls_light.weights.published import source_at, training_names
from ppcls_light.weights.scenarios import find_scenario, list_scenarios

# Published with the size of a network that has the head's convolution, and with a recipe without it.
CONTRADICTED = ("PULC_image_orientation", "PULC_clarity_assessment")
ROWS = {row.name: row for row in list_scenarios()}


@pytest.mark.parametrize("name", ROWS)
def test_its_config_describes_a_network_of_that_size_and_its_answers(name):
    row = ROWS[name]
    config = row.load_config()
    with paddle.LazyGuard():  # shapes alone
        state = create_model(
            config.Arch.name, class_num=config.Arch.class_num, **config.Arch.params
        ).state_dict()
    numbers = sum(np.prod(value.shape) for value in state.values())
    if name in CONTRADICTED:
        assert not config.Arch.params["use_last_conv"]
        numbers += 512 * 1280 + (1280 - 512) * config.Arch.class_num
    size_mb = 4e-6 * numbers
    assert row.size_mb == pytest.approx(size_mb, rel=0.12) or row.size_mb < 1  # of which half is the graph
    ready = build_transforms(config.DataLoader.Eval.dataset.transform_ops)(np.zeros((90, 300, 3), "uint8"))
    assert ready.shape == config.Global.image_shape
    assert len(class_names(config)) == config.Arch.class_num


def test_files_and_names_are_their_own():
    sources = [source for row in ROWS.values() for source in row.sources]
    assert len({source.file for source in sources}) == len(sources)
    assert all(source_at(source.url) == source for source in sources)
    assert all(
        source.file == f"{row.name.replace('PULC_', '')}_pretrained.pdparams"
        for row in ROWS.values()
        for source in row.sources
    )
    assert not set(ROWS) & training_names()
    assert find_scenario("PULC_nothing") is None


def test_paddleclas_path_of_a_label_list_is_the_packages_where_the_file_is_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = "../ppcls/utils/PULC_label_list/text_image_orientation_label_list.txt"
    assert list(paddleclas_names(path)) == ["0", "90", "180", "270"]
    given = ["DataLoader={}", f"Infer.PostProcess.class_id_map_file={path}"]
    config = load_config("ppcls_light:pulc/text_image_orientation.yaml", given)
    assert list(training_names_of(config, None)) == list(class_names(config)) == ["0", "90", "180", "270"]
    assert paddleclas_names("ppcls/utils/PULC_label_list/other_label_list.txt") is None
    (tmp_path / "textline_orientation_label_list.txt").write_text("0 up\n1 down\n")
    assert paddleclas_names("textline_orientation_label_list.txt") is None
