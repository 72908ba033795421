"""ML-Decoder in place of PP-LCNet's classifier; its logits are compared with PaddleClas' in tests/parity."""

import numpy as np
import paddle
import pytest

from ppcls_light.base.plain_pickle import dump_plain_pickle
from ppcls_light.bundle import read_bundle
from ppcls_light.bundle.folder import write_inference_yml
from ppcls_light.bundle.onnx import convert
from ppcls_light.compress import prune
from ppcls_light.config import dump_config, load_config
from ppcls_light.config.postprocess import MultiLabelThreshOutput
from ppcls_light.data.classes import ClassNames
from ppcls_light.engine.head_rows import keep_rows
from ppcls_light.errors import ConfigError, WeightsError
from ppcls_light.export.static import save_static
from ppcls_light.models import create_model
from ppcls_light.models.embedding import logits_and_embeddings
from ppcls_light.models.profile import profile
from ppcls_light.models.stages import Stages
from ppcls_light.weights import load_weights

SMALL = {"query_num": 3, "embed_dim": 16, "num_heads": 2, "mlp_hidden_dim": 24}
ARCH = [f"MLDecoder.{key}={value}" for key, value in SMALL.items()]


@pytest.fixture(scope="module")
def network():
    paddle.seed(0)
    model = create_model("PPLCNet_x0_25", class_num=7, ml_decoder=SMALL)
    model.eval()
    return model


def test_weights_of_a_linear_classifier_bring_all_but_the_head(network):
    linear = create_model("PPLCNet_x0_25", class_num=1000)
    other = create_model(network.model_name, **network.options)
    report = load_weights(other, {k: v.numpy() for k, v in linear.state_dict().items()}, reset_head=True)
    assert report.replaced == other.head_keys
    assert all(key.startswith("fc.") for key in other.head_keys)
    own, first = other.state_dict(), linear.state_dict()
    assert all(np.array_equal(own[key], first[key]) for key in report.loaded)


def test_places_do_not_count(network):
    """The paper has no encoding of places: the same features elsewhere give the same logits."""
    image = paddle.to_tensor(np.random.default_rng(0).normal(size=(1, 3, 64, 64)).astype("float32"))
    features = network.last_conv.register_forward_post_hook(lambda layer, inputs, output: output.flip([2, 3]))
    with paddle.no_grad():
        turned = network(image)
        features.remove()
        straight = network(image)
    assert np.allclose(turned, straight, atol=1e-5)
    assert straight.shape == [1, 7]


def test_queries_do_not_learn_and_an_image_has_dropout_of_its_own(network):
    model = create_model(network.model_name, **network.options)
    model.train()
    model.dropout.eval()  # so that the head's alone is left
    before = model.fc.query_pos_embed.weight.numpy()
    optimizer = paddle.optimizer.SGD(0.1, parameters=model.parameters())
    image = paddle.to_tensor(np.random.default_rng(0).normal(size=(1, 3, 32, 32)).astype("float32"))
    logits = model(paddle.concat([image] * 4))
    assert not np.allclose(logits[0], logits[1])
    logits.sum().backward()
    optimizer.step()
    assert np.array_equal(model.fc.query_pos_embed.weight, before)


def test_multiply_adds_are_those_of_the_layers_and_of_attention(network):
    rows = {row.name: row.multiply_adds for row in profile(network, (3, 64, 64)).rows}
    assert rows["fc.group_conv"] == 9 * 16  # 3 groups of 3 tags, of which 2 are cut off
    assert rows["fc.input_proj"] == 4 * 1280 * 16
    assert rows["fc.decoder.layers.0.linear1"] == 3 * 16 * 24


def test_freezing_the_backbone_leaves_the_whole_head_to_learn(network):
    model = create_model(network.model_name, **network.options)
    Stages(model).first("backbone").freeze()
    learning = [key for key, value in model.named_parameters() if not value.stop_gradient]
    assert set(learning) == set(model.head_keys) - {"fc.query_pos_embed.weight"}


def test_onnx_runtime_answers_as_the_network(network, tmp_path):
    pytest.importorskip("paddle2onnx", reason="needs paddle2onnx: the extra onnx")
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime: the extra onnx")
    save_static(network, tmp_path, (3, 64, 64), multilabel=True)
    write_inference_yml(tmp_path, [], MultiLabelThreshOutput(), None, {"arch": network.model_name})
    bundle = read_bundle(tmp_path)
    convert(bundle.graph_file, bundle.params_file, str(tmp_path / "own.onnx"), "x", "probs")
    session = onnxruntime.InferenceSession(tmp_path / "own.onnx", providers=["CPUExecutionProvider"])
    for count in (1, 3):
        images = np.random.default_rng(count).normal(size=(count, 3, 64, 64)).astype("float32")
        with paddle.no_grad():
            expected = paddle.nn.functional.sigmoid(network(paddle.to_tensor(images))).numpy()
        (answers,) = session.run(["probs"], {"x": images})
        assert np.allclose(answers, expected, atol=1e-5)


def test_rows_of_other_tags_are_not_kept_by_name(network, tmp_path):
    """A decoder has no row per tag: what was loaded stays, and a warning says so."""
    states = {"class_names": list("abcdefg"), "class_names_from": None, "class_folders": {}}
    dump_plain_pickle(states, tmp_path / "first.pdstates")
    before = network.fc.group_conv.weight.numpy()
    assert keep_rows(network, str(tmp_path / "first"), ClassNames(tuple("gfedcba"), "the data"))
    assert np.array_equal(network.fc.group_conv.weight, before)


def test_what_needs_a_linear_classifier_is_refused_in_one_line(network):
    with pytest.raises(ConfigError, match=r"ends in no linear layer.*without embeddings"):
        logits_and_embeddings(network, paddle.zeros([1, 3, 32, 32]))
    with pytest.raises(ConfigError, match="use_ml_decoder cannot be pruned"):
        prune(network, 0.5, "l1_norm")


def test_weights_of_another_decoder_are_not_said_to_be_of_other_classes(network):
    other = create_model("PPLCNet_x0_25", class_num=7, ml_decoder={**SMALL, "embed_dim": 32})
    with pytest.raises(WeightsError, match=r"of another shape \(fc\..*set Arch.name \(and its options\)"):
        load_weights(other, {key: value.numpy() for key, value in network.state_dict().items()})


def test_paddleclas_keys_are_read_and_written_in_one_place(config_file):
    config = load_config(config_file, ["Arch.use_ml_decoder=true", *ARCH, "MLDecoder.class_num=3"])
    assert config.Arch.params["ml_decoder"].query_num == 3
    content = dump_config(config)
    assert "use_ml_decoder" not in content
    again = config_file.with_name("again.yaml")
    again.write_text(content)
    assert load_config(again).Arch == config.Arch
    assert load_config(config_file, ["Arch.use_ml_decoder=true"]).Arch.params["ml_decoder"].embed_dim == 768
    assert "ml_decoder" not in load_config(config_file, ["Arch.use_ml_decoder=false"]).Arch.params


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["Arch.use_ml_decoder=true", "Arch.name=MicroNet_M0"], "MicroNet_M0 has no such head, PP-LCNet has"),
        (["MLDecoder.query_num=3"], "add that, or leave it out"),
        (["Arch.use_ml_decoder=true", "MLDecoder.num_heads=7"], "num_heads 7 does not divide embed_dim 768"),
        (["Arch.use_ml_decoder=true", "MLDecoder.query=7"], "unknown key Arch.ml_decoder.query"),
        (["Arch.use_ml_decoder=true", "Arch.ml_decoder.query_num=2"], "two spellings; keep one"),
        (["Arch.use_ml_decoder=5"], "Arch.use_ml_decoder is true or false"),
    ],
)
def test_wrong_keys_are_one_line(config_file, overrides, problem):
    with pytest.raises(ConfigError, match=problem):
        load_config(config_file, overrides)


def test_sizes_that_follow_from_the_network_may_only_repeat_it():
    with pytest.raises(ConfigError, match=r"MLDecoder\.class_num 80 is not the network's 7"):
        create_model("PPLCNet_x0_25", class_num=7, ml_decoder={"class_num": 80})
    with pytest.raises(ConfigError, match=r"MLDecoder\.in_channels 2048 is not the network's 1280"):
        create_model("PPLCNet_x0_25", class_num=7, ml_decoder={"in_channels": 2048})
