"""PaddleClas' keys of retrieval and detection are one line that says what to use instead."""

import pytest
import yaml

from ppcls_light.config import load_config
from ppcls_light.errors import ConfigError
from ppcls_light.prediction.deploy import read_deploy_config

INSTEAD = "PaddleClas 2.6, or train a classifier and search by its embeddings .*similar"


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("Global.eval_mode=retrieval", "Global.eval_mode: retrieval"),
        ("Global.feature_normalize=true", "Global.feature_normalize"),
        ("Arch.name=RecModel", "Arch.name: RecModel"),
        ("DataLoader.Train.dataset.name=VeriWild", "DataLoader.Train.dataset.name: VeriWild"),
        ("DataLoader.Train.sampler.name=PKSampler", "DataLoader.Train.sampler.name: PKSampler"),
        ("DataLoader.Eval={Query: {dataset: {}}}", "DataLoader.Eval.Query"),
        ("Loss.Train=[{CELoss: {weight: 1.0}}, {SupConLoss: {views: 2}}]", "Loss.Train.SupConLoss"),
        ("Metric.Eval=[{Recallk: {topk: [1, 5]}}]", "Metric.Eval.Recallk"),
        ("IndexProcess={image_root: gallery}", "IndexProcess"),
        (
            "Arch={name: DistillationModel, models: [{Student: {name: RecModel}}]}",
            "Arch.models.Student.name: RecModel",
        ),
    ],
)
def test_retrieval_says_what_to_use_instead(config_file, override, key):
    with pytest.raises(
        ConfigError, match=f"{key}: embeddings are not trained for retrieval here; use {INSTEAD}"
    ):
        load_config(config_file, [override])


def test_the_line_of_the_file_is_named(config_file):
    content = yaml.safe_load(config_file.read_text())
    content["Global"]["eval_mode"] = "retrieval"
    config_file.write_text(yaml.safe_dump(content))
    line = next(i for i, text in enumerate(config_file.read_text().splitlines(), 1) if "eval_mode" in text)
    with pytest.raises(ConfigError, match=rf"config\.yaml:{line}: Global\.eval_mode: retrieval"):
        load_config(config_file)


def test_names_that_a_user_chooses_are_no_keys_of_retrieval(config_file):
    arch = (
        "Arch={name: DistillationModel, infer_model_name: Query, class_num: 3, models: "
        "[{Query: {name: PPLCNet_x0_25, class_num: 3}}, {retrieval: {name: PPLCNet_x0_25, class_num: 3}}]}"
    )
    assert load_config(config_file, [arch]).Arch.names == ["Query", "retrieval"]
    assert load_config(config_file, ["Global.eval_mode=classification"]).Global.eval_mode == "classification"


@pytest.mark.parametrize("key", ["det_inference_model_dir", "rec_inference_model_dir"])
def test_detection_before_classification_says_what_to_use_instead(key):
    with pytest.raises(ConfigError, match=rf"Global\.{key}: .*predict_system\.py, or .*similar"):
        read_deploy_config({"Global": {key: "models/any", "infer_imgs": "a.jpg"}})
