import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls_light.export.fold.steps import fold
from ppcls_light.export.static import save_static
from ppcls_light.models import create_model
from ppcls_light.models.edgenext import LayerNorm2D, PositionalEncodingFourier
from ppcls_light.prediction import Predictor

SIZE = 64
# Every width, number of groups and form; a channel count past the widest patch, and one that 3 does not divide.
NETWORKS = {
    "EdgeNeXt_XX_Small": {},
    "EdgeNeXt_XX_Small_BN_HS": {},
    "EdgeNeXt_X_Small": {"depths": [1, 1, 2, 2], "use_pos_embd_xca": [False, True, True, False]},
}


@pytest.fixture(scope="module", params=NETWORKS)
def network(request):
    """A network in eval mode, all of whose parameters and statistics are far from what they start as."""
    paddle.seed(0)
    rng = np.random.default_rng(0)
    model = create_model(request.param, class_num=7, layer_scale_init_value=0.5, **NETWORKS[request.param])
    for key, tensor in model.state_dict().items():
        if key.endswith("_variance"):
            values = rng.uniform(0.3, 2, tensor.shape)
        elif key.endswith("temperature"):
            values = rng.uniform(-2, 3, tensor.shape)
        else:
            values = tensor.numpy() + rng.normal(0, 0.2, tensor.shape)
        tensor.set_value(values.astype("float32"))
    model.eval()
    return model


def images(height=SIZE, width=SIZE, batch=2):
    return np.random.default_rng(1).normal(size=(batch, 3, height, width)).astype("float32")


def logits(model, x):
    with paddle.no_grad():
        return model(paddle.to_tensor(x)).numpy()


def error(got, expected):
    return np.abs(got - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("steps", [["edgenext"], ["batch_norm", "edgenext"]])
@pytest.mark.parametrize("shape", [(SIZE, SIZE), (96, 160)])
def test_equals_the_network_and_leaves_it_alone(network, steps, shape):
    before = {key: value.numpy().copy() for key, value in network.state_dict().items()}
    expected = logits(network, images(*shape))
    assert error(logits(fold(network, steps), images(*shape)), expected) < 1e-5
    after = network.state_dict()
    assert list(after) == list(before)
    for key, value in before.items():
        np.testing.assert_array_equal(after[key].numpy(), value, err_msg=key)
    np.testing.assert_array_equal(logits(network, images(*shape)), expected)


def test_switched_off_it_changes_nothing(network):
    kinds = [type(layer) for layer in network.sublayers()]
    assert [type(layer) for layer in fold(network, []).sublayers()] == kinds
    assert [type(layer) for layer in fold(network, ["edgenext"]).sublayers()] != kinds


def test_scales_encoding_and_affine_parts_are_gone(network):
    folded = fold(network)
    assert not any("gamma" in key or "token_projection" in key for key in folded.state_dict())
    for layer in folded.sublayers():
        assert not isinstance(layer, (LayerNorm2D, PositionalEncodingFourier))
        assert not isinstance(layer, nn.LayerNorm) or (layer.weight is None and layer.bias is None)


def test_feature_maps_stay():
    paddle.seed(0)
    model = create_model("edgenext_xx_small", features_only=True, layer_scale_init_value=0.5)
    model.eval()
    x = paddle.to_tensor(images())
    for got, expected in zip(fold(model)(x), model(x)):
        assert error(got.numpy(), expected.numpy()) < 1e-5


def test_a_query_of_zeros_gives_no_nan():
    """Its length is 0, and what is divided by it is 0 as well."""
    paddle.seed(0)
    model = create_model("edgenext_xx_small", class_num=3, layer_scale_init_value=0.5)
    model.eval()
    for stage, block in ((1, 1), (2, 5), (3, 1)):
        linear = model.stages[stage][block].xca.qkv
        for parameter in (linear.weight, linear.bias):
            values = parameter.numpy()
            values[..., :5] = 0
            parameter.set_value(values)
    expected = logits(model, images())
    assert np.isfinite(expected).all()
    assert error(logits(fold(model), images()), expected) < 1e-5


@pytest.mark.parametrize("onednn", [True, False])
def test_paddle_inference_equals_the_network_at_any_batch(network, onednn, tmp_path):
    save_static(fold(network), str(tmp_path), (3, SIZE, SIZE), softmax=False)
    predictor = Predictor(tmp_path, transform_ops=[], onednn=onednn)
    for batch in (1, 3):
        x = images(batch=batch)
        assert error(predictor.run(x), logits(network, x)) < 1e-5


def test_the_exported_graph_asks_for_no_size_and_shuffles_little(tmp_path):
    """No shape but the batch is looked up, no map is split, and nothing is transposed back to channels first."""
    model = create_model("edgenext_xx_small", class_num=3, depths=[1, 1, 1, 2])
    graphs = []
    for name, steps in (("before", ["batch_norm"]), ("after", ["batch_norm", "edgenext"])):
        path = tmp_path / name / "inference.json"
        path.parent.mkdir()
        if save_static(fold(model, steps), str(path.parent), (3, SIZE, SIZE)) != "json":
            pytest.skip("Paddle 2 writes a graph that cannot be read as text")
        graphs.append(path.read_text())
    before, after = graphs
    for operator in ("split", "concat", "unbind", "p_norm", "expand"):
        assert f'"1.{operator}"' in before
        assert f'"1.{operator}"' not in after
    assert '"1.shape' not in after
    assert after.count('"1.transpose"') < before.count('"1.transpose"')
