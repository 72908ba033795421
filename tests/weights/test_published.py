"""The table of published weights against the networks that it is about."""

import re

import numpy as np
import paddle
import pytest

import ppcls_light
from ppcls_light.errors import WeightsError
from ppcls_light.models import create_model, list_models, published, variant
from ppcls_light.weights import list_pretrained
from ppcls_light.weights.published import Source, record, source_at, training, training_names

ROWS = list_pretrained()
DEFAULTS = {row.network: row for row in ROWS if row.is_default}
SOURCES = [source for row in ROWS for source in row.sources]


def test_every_network_with_a_top1_has_weights_and_one_training_has_that_top1():
    assert len(published()) >= 25
    for name, top1 in published().items():
        assert top1 in [row.top1 for row in list_pretrained(name)], name
    teachers = set(list_models(teachers=True))
    assert set(DEFAULTS) <= {*list_models(), *teachers}
    assert set(DEFAULTS) - set(published()) == {"lcnet_050", "lcnet_075", "lcnet_100", *teachers}
    assert all(variant(name).top1 == DEFAULTS[name].top1 for name in teachers)


def test_sizes_are_those_of_parameters_and_statistics():
    for name, row in DEFAULTS.items():
        with paddle.LazyGuard():  # shapes alone
            state = create_model(name).state_dict()
        assert row.size_mb == round(4e-6 * sum(np.prod(value.shape) for value in state.values()), 1), name


def test_the_input_size_is_the_networks():
    assert all(row.evaluation.size == variant(row.network).image_size for row in ROWS)


def test_trainings_have_different_names_and_files():
    assert len({(row.network, row.name) for row in ROWS}) == len(ROWS)
    assert len({source.file for source in SOURCES}) == len({source.url for source in SOURCES}) == len(SOURCES)
    assert all(re.fullmatch("[0-9a-f]{64}", source.sha256) for source in SOURCES if source.sha256)
    assert {row.licence for row in ROWS} == {"Apache-2.0", "MIT"}
    assert not training_names() & {name.lower() for name in list_models()}


def test_distilled_weights_are_where_paddleclas_documents_them():
    assert {row.network for row in ROWS if row.name == "ssld"} == {
        *(f"PPLCNet_x{s}" for s in ("0_25", "0_5", "1_0", "2_5")),
        *("ResNet50_vd", "ResNet101_vd"),
    }


def test_the_average_is_taken_where_edgenexts_authors_scored_it():
    averaged = {row.name for row in ROWS for source in row.sources if source.ema}
    assert averaged == {"in1k", "in21k"}
    assert all("EdgeNeXt" in source.url for source in SOURCES if source.ema)


def test_a_training_that_is_not_there_is_answered_with_those_that_are():
    with pytest.raises(
        WeightsError, match=r"PPLCNet_x0_35 has no published weights called ssld; there are: in1k"
    ):
        training("pplcnet_x0_35", "ssld")
    with pytest.raises(WeightsError, match=r"nobody published weights of PPLCNetBaseNet; .*list_pretrained"):
        training("PPLCNet")


def test_it_prints_as_a_table_and_is_part_of_the_package():
    lines = str(ppcls_light.list_pretrained("*net_x1_0")).splitlines()
    assert re.match(r"network +training +top-1 \(%\) +MB +input +licence +sources$", lines[0])
    assert [re.split(" {2,}", line)[:4] for line in lines[2:]] == [
        ["PPLCNet_x1_0", "in1k (default)", "71.32", "11.9"],
        ["PPLCNet_x1_0", "ssld", "74.39", "11.9"],
    ]


def test_addresses_follow_the_environment(monkeypatch):
    for variable in ("PPCLS_LIGHT_MIRROR", "HF_ENDPOINT"):
        monkeypatch.delenv(variable, raising=False)
    source = Source("https://huggingface.co/timm/lcnet_050.ra2_in1k/resolve/main/model.safetensors")
    assert source.address == source.url
    assert source_at(source.url).file == "timm--lcnet_050.ra2_in1k.safetensors"
    monkeypatch.setenv("HF_ENDPOINT", "https://hf.example/")
    assert source.address == "https://hf.example/timm/lcnet_050.ra2_in1k/resolve/main/model.safetensors"
    monkeypatch.setenv("PPCLS_LIGHT_MIRROR", "http://inside/m/")
    assert (
        source.address
        == "http://inside/m/huggingface.co/timm/lcnet_050.ra2_in1k/resolve/main/model.safetensors"
    )


def test_sums_are_recorded_once_and_never_replaced(tmp_path, root):
    table = tmp_path / "published.yaml"
    text = (root / "ppcls_light/weights/published.yaml").read_text(encoding="utf-8")
    table.write_text(text, encoding="utf-8")
    source = next(source for source in SOURCES if source.sha256 is None)
    record(source.url, "ab" * 32, table)
    record(source.url, "ab" * 32, table)
    assert table.read_text(encoding="utf-8") == text.replace(
        f"url: {source.url}, sha256: null", f"url: {source.url}, sha256: {'ab' * 32}"
    )
    with pytest.raises(WeightsError, match=r"published\.yaml:\d+: https://.* now has the SHA-256 cdcd"):
        record(source.url, "cd" * 32, table)
