"""Published weights in jobs: trained from, scored and exported by name, from a server in the place of the internet."""

import logging
import shutil

import numpy as np
import pytest
import yaml

from ppcls_light import create_model, jobs
from ppcls_light.base.resources import labels_folder
from ppcls_light.config import load_config
from ppcls_light.engine.classes import class_names
from ppcls_light.engine.network import build_model, trained_weights
from ppcls_light.engine.preprocessing import check_published
from ppcls_light.errors import DataError, WeightsError
from ppcls_light.models import published as published_top1
from ppcls_light.weights import list_pretrained, write_weights
from ppcls_light.weights.published import training

NAME = "PPLCNet_x0_25"


def path_of(name):
    return "/" + training(NAME, name).sources[0].url.split("://")[1]


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """{training: (network, bytes of its file)} of 1000 classes."""
    folder = tmp_path_factory.mktemp("published")
    found = {}
    for name in ("in1k", "ssld"):
        network = create_model(NAME)
        write_weights(folder / f"{name}.pdparams", network.state_dict())
        found[name] = network, (folder / f"{name}.pdparams").read_bytes()
    return found


@pytest.fixture
def internet(weights_home, file_server, published, caplog):
    caplog.set_level(logging.INFO)
    for name, (_, content) in published.items():
        file_server.files[path_of(name)] = content
    return file_server


def conv(model):
    return model.state_dict()["blocks6.0.pw_conv.conv.weight"].numpy()


def test_a_training_starts_from_them_and_is_scored_by_its_own_config(internet, config_file, tmp_path):
    config = load_config(config_file, ["Arch.pretrained=true", "Global.epochs=1"])
    jobs.train(config)
    log = (tmp_path / "output/train.log").read_text()
    assert "144 keys, a new head (fc.weight, fc.bias)" in log
    assert "in1k has its published 51.86 % with crop 224, resize 256; DataLoader.Eval has crop 32" in log
    resolved = load_config(tmp_path / "output/config.yaml", ["Global.checkpoints=auto"])
    assert 0 <= jobs.evaluate(resolved)["top1"] <= 1
    assert internet.asked == [(path_of("in1k"), None)]


@pytest.mark.parametrize(
    "overrides", [["Arch.pretrained=true", "Arch.use_ssld=true"], ["Arch.pretrained=ssld"]]
)
def test_the_distilled_ones_are_taken_when_they_are_asked_for(internet, published, config_file, overrides):
    model = build_model(load_config(config_file, overrides))
    np.testing.assert_array_equal(conv(model), conv(published["ssld"][0]))
    assert internet.asked == [(path_of("ssld"), None)]


def test_distilled_ones_that_nobody_published_are_an_error(internet, config_file):
    config = load_config(
        config_file, ["Arch.name=PPLCNet_x0_35", "Arch.pretrained=true", "Arch.use_ssld=true"]
    )
    with pytest.raises(
        WeightsError, match=r"^-o Arch.pretrained=true: .* no published weights called ssld; there are: in1k"
    ):
        build_model(config)
    assert internet.asked == []


def test_whole_they_are_scored_with_their_own_classes_only(internet, published, config_file):
    config = load_config(config_file, ["Arch.pretrained=true"])
    with pytest.raises(
        WeightsError, match=r"ImageNet's 1000 classes, and Arch\.class_num is 3; .*checkpoints=auto"
    ):
        trained_weights(config)
    whole = load_config(config_file, ["Arch.pretrained=true", "Arch.class_num=1000"])
    assert trained_weights(whole) == "in1k"
    model, expected = build_model(whole, trained_weights(whole)), published["in1k"][0].state_dict()
    assert all((value.numpy() == expected[key].numpy()).all() for key, value in model.state_dict().items())


PADDLECLAS_LIST = "ppcls/utils/imagenet1k_label_list.txt"
OF_IMAGENET = ["Arch.pretrained=true", "Arch.class_num=1000", "Infer.PostProcess.class_id_map_file=null"]


def test_published_weights_answer_with_imagenets_names(internet, config_file, tmp_path):
    config = load_config(config_file, [*OF_IMAGENET, "Infer.batch_size=11"])
    rows = jobs.infer(config)
    by_label = dict(
        line.split(" ", 1) for line in labels_folder().joinpath("imagenet1k.txt").read_text().splitlines()
    )
    for row in rows:
        assert row["label_names"] == [by_label[str(label)] for label in row["class_ids"]]
    jobs.export(config)
    described = yaml.safe_load((tmp_path / "inference/inference.yml").read_text())
    assert described["PostProcess"]["Topk"]["label_list"] == list(by_label.values())


def test_nobody_guesses_the_names_of_other_networks(weights_home, config_file, photos, tmp_path):
    """1000 classes are ImageNet's by the name of the weights alone; class folders have names of their own."""
    config = load_config(config_file, OF_IMAGENET)
    assert list(class_names(config, "in1k"))[:2] == ["tench, Tinca tinca", "goldfish, Carassius auratus"]
    assert class_names(config, str(tmp_path / "best_model")) is None
    assert class_names(config) is None
    for name in ("n01440764", "n01443537"):
        (tmp_path / "classes" / name).mkdir(parents=True)
        shutil.copy(photos / "val/00.png", tmp_path / "classes" / name)
    for section, names in (("Train", ("n01440764", "n01443537")), ("Eval", None)):
        dataset = f"DataLoader.{section}.dataset"
        folders = [f"{dataset}.cls_label_path=null", f"{dataset}.image_root={tmp_path / 'classes'}"]
        found = class_names(load_config(config_file, [*OF_IMAGENET, *folders]), "in1k")
        assert (found and found.names) == names


def test_the_label_list_of_a_checkout_of_paddleclas_is_the_packages(
    config_file, tmp_path, monkeypatch, caplog
):
    caplog.set_level(logging.INFO)
    monkeypatch.chdir(tmp_path)
    given = ["Arch.class_num=1000", f"Infer.PostProcess.class_id_map_file={PADDLECLAS_LIST}"]
    config = load_config(config_file, given)
    assert class_names(config, "paddleclas_weights")[999] == "toilet tissue, toilet paper, bathroom tissue"
    assert caplog.messages == [
        f"Infer.PostProcess.class_id_map_file: {PADDLECLAS_LIST} is not there; the package has the same names"
    ]
    few = load_config(config_file, [given[1]])  # a list of 1000 names is not that of 3 classes
    for other, weights in ((config, None), (few, "paddleclas_weights")):
        with pytest.raises(DataError, match=r"imagenet1k_label_list\.txt: cannot be read"):
            class_names(other, weights)
    (tmp_path / "ppcls/utils").mkdir(parents=True)
    (tmp_path / PADDLECLAS_LIST).write_text("".join(f"{label} own{label}\n" for label in range(1000)))
    assert class_names(config, "paddleclas_weights")[0] == "own0"


def test_global_pretrained_model_takes_an_address_too(internet, published, config_file):
    url = training(NAME, "ssld").sources[0].url
    overrides = [f"Global.pretrained_model={url}", "Global.reset_head=true"]
    np.testing.assert_array_equal(
        conv(build_model(load_config(config_file, overrides))), conv(published["ssld"][0])
    )


def test_each_of_several_networks_has_its_own(internet, published, config_file, caplog):
    config = load_config(
        config_file,
        [
            "Arch={name: DistillationModel, freeze_params_list: [true, false], pretrained_list: [true, null],"
            f"models: [Teacher: {{name: {NAME}, class_num: 1000, use_ssld: true}},"
            f"Student: {{name: {NAME}, class_num: 1000, pretrained: true}}]}}"
        ],
    )
    model = build_model(config)
    for name, own in (("Teacher", "ssld"), ("Student", "in1k")):
        np.testing.assert_array_equal(conv(model._sub_layers[name]), conv(published[own][0]))
    assert caplog.text.count("146 keys, its head, too") == 2


def test_the_configs_of_the_networks_evaluate_as_was_published(root, caplog):
    caplog.set_level(logging.INFO)
    for row in (row for row in list_pretrained() if row.network in published_top1()):
        (path,) = root.glob(f"configs/*/{row.network}.yaml")
        caplog.clear()
        check_published(load_config(path), row.network, row.name)
        told = "resize 269; DataLoader.Eval has resize 292" if row.name == "usi" else ""
        assert told in caplog.text, row
        assert bool(caplog.records) == bool(told), row


def test_each_difference_to_the_published_evaluation_is_in_one_line(config_file, caplog):
    caplog.set_level(logging.INFO)
    ops = "DataLoader.Eval.dataset.transform_ops=[DecodeImage: {}, ResizeImage: {size: 32, interpolation: bicubic},"
    config = load_config(
        config_file, [ops + "NormalizeImage: {mean: [0.5, 0.5, 0.5], std: [0.229, 0.224, 0.225]}]"]
    )
    check_published(config, NAME, "ssld")
    (line,) = caplog.messages
    assert line == (
        "PPLCNet_x0_25 ssld has its published 53.43 % with crop 224, resize 256, interpolation bilinear, "
        "mean [0.485, 0.456, 0.406]; DataLoader.Eval has crop 32, resize none, interpolation bicubic, "
        "mean [0.5, 0.5, 0.5]"
    )
    check_published(config, NAME, "best_model")
    assert len(caplog.messages) == 1
