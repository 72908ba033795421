"""A config's own network embeds, and its config says which images are checked."""

import numpy as np
import paddle
import pytest

from ppcls_light.check.configured import embedder_of_weights, splits_of_config
from ppcls_light.check.embeddings import embedded
from ppcls_light.config import load_config
from ppcls_light.engine.network import build_model
from ppcls_light.errors import ConfigError
from ppcls_light.models.embedding import classifier


def test_weights_embed_what_the_classifier_takes(config_file, photos, tmp_path):
    paddle.seed(0)
    config = load_config(config_file)
    model = build_model(config)
    model.eval()
    weights = str(tmp_path / "weights.pdparams")
    paddle.save(model.state_dict(), weights)
    files = sorted(map(str, photos.glob("val/*.png")))
    sources = [*files[:2], str(photos / "gone.png"), *files[2:], str(photos / "gone_too.png")]
    rows, places = embedded(embedder_of_weights(config, weights), sources)
    assert places.tolist() == [0, 1, *range(3, 12)]
    linear = classifier(model)
    logits = paddle.to_tensor(rows) @ linear.weight + (0 if linear.bias is None else linear.bias)
    transforms = splits_transforms(config)
    for row, path in zip(logits.numpy(), files):
        with open(path, "rb") as file:
            expected = model(paddle.to_tensor(transforms(file.read())[None])).numpy()[0]
        assert np.allclose(row, expected, atol=1e-5)


def splits_transforms(config):
    from ppcls_light.data.transforms.compose import build_transforms
    from ppcls_light.engine.readers import inference_transforms

    return build_transforms(inference_transforms(config))


def test_contents_without_files_need_an_export(config_file, tmp_path):
    config = load_config(config_file)
    paddle.save(build_model(config).state_dict(), str(tmp_path / "weights.pdparams"))
    embed = embedder_of_weights(config, str(tmp_path / "weights.pdparams"))
    with pytest.raises(ConfigError, match="weights embed image files only"):
        next(embed([b"P6 1 1 255\n123"]))


def test_the_images_are_those_of_train_and_eval(config_file):
    splits = splits_of_config(load_config(config_file))
    assert [(part.name, len(part.images)) for part in splits.parts] == [("Train", 26), ("Eval", 11)]
    assert splits.parts[0].section == "DataLoader.Train.dataset"
    only = splits_of_config(load_config(config_file, ["DataLoader.Train=null"]))
    assert [part.name for part in only.parts] == ["Eval"]
    assert only.class_names == splits.class_names
    with pytest.raises(ConfigError, match="there are no images to check"):
        splits_of_config(load_config(config_file, ["DataLoader.Train=null", "DataLoader.Eval=null"]))
