import numpy as np
import paddle
import pytest

from ppcls_light.errors import ConfigError
from ppcls_light.export import export_model
from ppcls_light.export.static import STEM, save_static
from ppcls_light.models import create_model
from ppcls_light.models.micronet import ChannelShuffle, DYShiftMax
from ppcls_light.prediction import Predictor
from ppcls_light.weights import load_weights

# The authors' tables (microconfig.py) of the variants that no parity case covers, a row a block: stride,
# repeats, channels, kernel, expansions c1 and c2, groups g1 and g2, unused c3, groups g3 and g4, the
# activations y1 to y3 (0: none, 1: linear, 2: maximum of two), ratio. Then stem groups and hidden width.
AUTHORS = {
    "MicroNet_M1": (
        [
            (2, 1, 8, 3, 2, 2, 0, 6, 8, 2, 2, 2, 0, 1, 1),
            (2, 1, 16, 3, 2, 2, 0, 8, 16, 4, 4, 2, 2, 1, 1),
            (2, 1, 16, 5, 2, 2, 0, 16, 16, 4, 4, 2, 2, 1, 1),
            (1, 1, 32, 5, 1, 6, 4, 4, 32, 4, 4, 2, 2, 1, 1),
            (2, 1, 64, 5, 1, 6, 8, 8, 64, 8, 8, 2, 2, 1, 1),
            (1, 1, 96, 3, 1, 6, 8, 8, 96, 8, 8, 2, 2, 1, 2),
            (1, 1, 576, 3, 1, 6, 12, 12, 0, 0, 0, 2, 2, 1, 2),
        ],
        (3, 2),
        960,
    ),
    "MicroNet_M3": (
        [
            (2, 1, 16, 3, 2, 2, 0, 12, 16, 4, 4, 0, 2, 0, 1),
            (2, 1, 24, 3, 2, 2, 0, 16, 24, 4, 4, 0, 2, 0, 1),
            (1, 1, 24, 3, 2, 2, 0, 24, 24, 4, 4, 0, 2, 0, 1),
            (2, 1, 32, 5, 1, 6, 6, 6, 32, 4, 4, 0, 2, 0, 1),
            (1, 1, 32, 5, 1, 6, 8, 8, 32, 4, 4, 0, 2, 0, 2),
            (1, 1, 64, 5, 1, 6, 8, 8, 48, 8, 8, 0, 2, 0, 2),
            (1, 1, 80, 5, 1, 6, 8, 8, 80, 8, 8, 0, 2, 0, 2),
            (1, 1, 80, 5, 1, 6, 10, 10, 80, 8, 8, 0, 2, 0, 2),
            (2, 1, 120, 5, 1, 6, 10, 10, 120, 10, 10, 0, 2, 0, 2),
            (1, 1, 120, 5, 1, 6, 12, 12, 120, 10, 10, 0, 2, 0, 2),
            (1, 1, 144, 3, 1, 6, 12, 12, 144, 12, 12, 0, 2, 0, 2),
            (1, 1, 864, 3, 1, 6, 12, 12, 0, 0, 0, 0, 2, 0, 2),
        ],
        (4, 3),
        1024,
    ),
}


def authors_shapes(rows, stem, hidden_features):  # noqa: C901 - as long as the authors' table needs
    """The keys and shapes of the authors' network in Paddle's layout, read off their table."""
    shapes = {}

    def norm(key, channels):
        shapes.update({f"{key}.{leaf}": (channels,) for leaf in ("weight", "bias", "_mean", "_variance")})

    def separable(key, first_in, first, second, kernel):
        shapes[f"{key}.conv.0.weight"] = (first, first_in, kernel, 1)
        norm(f"{key}.conv.1", first)
        shapes[f"{key}.conv.2.weight"] = (second, 1, 1, kernel)
        norm(f"{key}.conv.3", second)

    def pointwise(key, inputs, outputs, groups):
        shapes[f"{key}.conv.0.weight"] = (outputs, inputs // groups, 1, 1)
        norm(f"{key}.conv.1", outputs)

    def linear(key, inputs, outputs):
        shapes[f"{key}.weight"], shapes[f"{key}.bias"] = (inputs, outputs), (outputs,)

    def dynamic(key, channels, activation, reduction):
        if activation:
            quarter = max(1, (channels // reduction + 2) // 4)
            quarter += 4 * quarter < 0.9 * (channels // reduction)
            linear(f"{key}.fc.0", channels, 4 * quarter)
            linear(f"{key}.fc.2", 4 * quarter, 2 * activation * channels)

    separable("features.0.stem.0", 3, stem[0], stem[0] * stem[1], 3)
    width = stem[0] * stem[1]
    for i, (_, _, out, kernel, c1, c2, g1, _, _, g3, _, y1, y2, y3, ratio) in enumerate(rows, 1):
        key, hidden = f"features.{i}.layers", width * c1 * c2
        if g1 == 0:
            separable(f"{key}.0", 1, width * c1, hidden, kernel)
            dynamic(f"{key}.1", hidden, y2, 8 * ratio)
            pointwise(f"{key}.4", hidden, out, g3)
            dynamic(f"{key}.5", out, y3, 4 * ratio)
        else:
            pointwise(f"{key}.0", width, hidden, g1)
            dynamic(f"{key}.1", hidden, y1 if g3 else y3, 8 * ratio)
            if g3:
                separable(f"{key}.3", 1, hidden, hidden, kernel)
                dynamic(f"{key}.5", hidden, y2, 8 * ratio)
                pointwise(f"{key}.7", hidden, out, g3)
                dynamic(f"{key}.8", out, y3, 4 * ratio)
        width = out
    for key, inputs, outputs in (("0", width, hidden_features), ("2", hidden_features, 1000)):
        linear(f"classifier.{key}.linear.0", inputs, outputs)
        norm(f"classifier.{key}.linear.1", outputs)
    return shapes


def own_shapes(model):
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}


@pytest.mark.parametrize("name", AUTHORS)
def test_keys_and_shapes_are_those_of_the_authors_table(name):
    assert own_shapes(create_model(name)) == authors_shapes(*AUTHORS[name])


@pytest.mark.parametrize(
    ("name", "keys", "values"),
    [("M0", 192, 1.027), ("M1", 192, 1.788), ("M2", 256, 2.410), ("M3", 276, 2.651)],
)
def test_as_many_keys_and_values_as_paddleclas_files_hold(name, keys, values):
    shapes = own_shapes(create_model(f"micronet_{name}"))
    assert len(shapes) == keys
    assert sum(int(np.prod(shape)) for shape in shapes.values()) / 1e6 == pytest.approx(values, abs=0.0005)


@pytest.mark.parametrize(
    ("name", "groups", "second"), [("MicroNet_M0", 12, (1.0, 0.0)), ("MicroNet_M3", 24, (0.5, 0.5))]
)
def test_dynamic_shift_max_starts_as_the_authors_scripts_say(name, groups, second):
    layer = create_model(name, class_num=2).features[3].layers[1]
    layer.fc[2].weight.set_value(paddle.zeros_like(layer.fc[2].weight))
    x = np.random.default_rng(0).normal(size=(2, layer.fc[0].weight.shape[0], 4, 4)).astype("float32")
    shifted = np.roll(x.reshape(2, groups, -1, 4, 4), (-1, -1), (1, 2)).reshape(x.shape)
    expected = np.maximum(x, second[0] * x + second[1] * shifted)
    np.testing.assert_allclose(layer(paddle.to_tensor(x)).numpy(), expected, atol=1e-6)


def numpy_shift_max(x, layer, groups, init):
    """The equation of section 4, a channel at a time, in float64."""
    hidden = np.maximum(x.mean((2, 3)) @ layer.fc[0].weight.numpy() + layer.fc[0].bias.numpy(), 0)
    gates = hidden @ layer.fc[2].weight.numpy() + layer.fc[2].bias.numpy()
    # A hard sigmoid of (0, 1), stretched to (-2, 2), around the initial value.
    gates = (np.clip(gates + 3, 0, 6) / 6 - 0.5) * 4
    channels = x.shape[1]
    per_group = channels // groups
    gates = gates.reshape(len(x), len(init), 2, channels) + np.array(init)[:, :, None]
    y = np.empty_like(x)
    for i in range(channels):
        group, place = divmod(i, per_group)
        shifted = x[:, (group + 1) % groups * per_group + (place + 1) % per_group]
        fusions = [
            gates[:, k, 0, i, None, None] * x[:, i] + gates[:, k, 1, i, None, None] * shifted
            for k in range(len(init))
        ]
        y[:, i] = np.max(fusions, axis=0)
    return y


@pytest.mark.parametrize(
    ("channels", "groups", "init"),
    [
        (12, 3, ((1.0, 0.0), (1.0, 0.0))),
        (12, 3, ((1.0, 0.0), (0.5, 0.5))),
        (24, 4, ((1.0, 0.0),)),
        (8, 8, ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.5))),
    ],
)
def test_dynamic_shift_max_is_its_equation(channels, groups, init):
    rng = np.random.default_rng(channels)
    layer = DYShiftMax(channels, groups, reduction=2, init=init)
    for linear in (layer.fc[0], layer.fc[2]):
        # Wide enough for the hard sigmoid to saturate on both sides.
        linear.weight.set_value(rng.normal(0, 1.5, linear.weight.shape).astype("float32"))
        linear.bias.set_value(rng.normal(0, 1.5, linear.bias.shape).astype("float32"))
    x = rng.normal(0.3, 1, (3, channels, 5, 7))
    expected = numpy_shift_max(x, layer, groups, init)
    np.testing.assert_allclose(layer(paddle.to_tensor(x.astype("float32"))).numpy(), expected, atol=1e-5)


def test_channel_shuffle_deals_groups_out():
    x = np.arange(12.0, dtype="float32").reshape(1, 12, 1, 1)
    shuffled = ChannelShuffle(12, 3)(paddle.to_tensor(x)).numpy().ravel()
    assert shuffled.tolist() == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]


def test_shuffles_follow_one_another():
    x = np.random.default_rng(0).normal(size=(2, 24, 3, 5)).astype("float32")
    expected = x
    for groups in (4, 12):
        grouped = expected.reshape(2, groups, 24 // groups, 3, 5)
        expected = grouped.transpose(0, 2, 1, 3, 4).reshape(2, 24, 3, 5)
    np.testing.assert_array_equal(ChannelShuffle(24, 4, 12)(paddle.to_tensor(x)).numpy(), expected)


@pytest.mark.parametrize("name", ["MicroNet_M0", "MicroNet_M3"])
def test_one_step_changes_every_parameter_with_finite_gradients(name):
    paddle.seed(0)
    model = create_model(name, class_num=3)
    for layer in model.sublayers():
        if isinstance(layer, paddle.nn.BatchNorm2D):
            # At zero the scale before it is without effect: the next batch norm takes it out again.
            layer.bias.set_value(paddle.randn(layer.bias.shape))
    optimizer = paddle.optimizer.Momentum(1.0, 0.9, model.parameters())
    before = {key: value.numpy().copy() for key, value in model.state_dict().items()}
    loss = paddle.nn.functional.cross_entropy(
        model(paddle.randn([8, 3, 64, 64])), paddle.to_tensor([0, 1, 2, 0] * 2)
    )
    loss.backward()
    for key, parameter in model.named_parameters():
        if not parameter.stop_gradient:
            assert np.isfinite(parameter.grad.numpy()).all(), key
    optimizer.step()
    after = {key: value.numpy() for key, value in model.state_dict().items()}
    unchanged = {key for key in before if (before[key] == after[key]).all()}
    # The batch norm after them takes these out again: their gradients are rounding.
    assert unchanged <= {"classifier.0.linear.0.bias", "classifier.2.linear.0.bias"}


def test_dropout_follows_the_seed():
    model = create_model("MicroNet_M0", class_num=3, dropout_rate=0.5)
    model.train()
    x, outputs = paddle.randn([4, 3, 32, 32]), []
    for seed in (1, 1, 2):
        paddle.seed(seed)
        outputs.append(model(x).numpy())
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert (outputs[0] != outputs[2]).any()


@pytest.mark.parametrize(
    ("name", "channels", "last_blocks"),
    [
        ("MicroNet_M0", [8, 12, 32, 384], [1, 2, 4, 7]),
        ("MicroNet_M2", [12, 24, 64, 768], [1, 3, 6, 9]),
        ("MicroNet_M3", [16, 24, 80, 864], [1, 3, 8, 12]),
    ],
)
def test_feature_maps_are_those_before_the_resolution_halves(name, channels, last_blocks):
    paddle.seed(0)
    classifier = create_model(name, class_num=3)
    backbone = create_model(name, features_only=True)
    load_weights(backbone, classifier.state_dict())
    assert (backbone.feature_channels, backbone.feature_strides) == (channels, [4, 8, 16, 32])
    classifier.eval(), backbone.eval()
    inner = []
    for i in last_blocks:
        classifier.features[i].register_forward_post_hook(lambda layer, x, y: inner.append(y.numpy()))
    x = paddle.randn([1, 3, 64, 96])
    classifier(x)
    for feature, expected, count, stride in zip(backbone(x), inner, channels, [4, 8, 16, 32]):
        assert list(feature.shape) == [1, count, 64 // stride, 96 // stride]
        np.testing.assert_array_equal(feature.numpy(), expected)


def test_another_class_count_replaces_the_last_layer_and_its_norm(caplog):
    trained, tuned = create_model("MicroNet_M0", class_num=5), create_model("MicroNet_M0", class_num=3)
    report = load_weights(tuned, trained.state_dict(), reset_head=True)
    assert len(report.replaced) == 6
    assert len(report.loaded) == 192 - 6
    assert "classifier.2.linear.0.weight" in caplog.text


def graph_operators(path):
    layer = paddle.jit.load(str(path))
    program = layer.program()  # frees its operators when it goes
    operators = program.global_block().ops
    # Paddle 2 has "conv2d", Paddle 3 "pd_op.conv2d".
    return {getattr(op, "type", None) or op.name().split(".")[1] for op in operators}


def test_the_exported_graph_computes_no_shapes(tmp_path):
    model = create_model("MicroNet_M0", class_num=3)
    model.eval()
    save_static(model, str(tmp_path), (3, 64, 64), softmax=False)
    operators = graph_operators(tmp_path / STEM)
    assert {"conv2d", "index_select"} <= operators
    assert not {"shape", "shape64", "slice", "stack", "concat", "transpose", "transpose2"} & operators


@pytest.mark.slow
def test_the_exported_folder_answers_as_the_network(tmp_path):
    rng = np.random.default_rng(0)
    model = create_model("MicroNet_M0", class_num=5)
    for layer in model.sublayers():
        if isinstance(layer, paddle.nn.Linear):
            layer.weight.set_value(rng.normal(0, 0.2, layer.weight.shape).astype("float32"))
        if hasattr(layer, "_mean"):
            layer._mean.set_value(rng.normal(0, 0.2, layer._mean.shape).astype("float32"))
            layer._variance.set_value(rng.uniform(0.3, 2, layer._variance.shape).astype("float32"))
    ops = [("DecodeImage", {}), ("ResizeImage", {"size": 64}), ("NormalizeImage", {"order": ""})]
    export_model(model, tmp_path / "inference", (3, 64, 64), ops)
    images = rng.normal(size=(3, 3, 64, 64)).astype("float32")
    model.eval()
    with paddle.no_grad():
        expected = paddle.nn.functional.softmax(model(paddle.to_tensor(images))).numpy()
    assert expected.max() > 0.3  # not the uniform distribution that hides a wrong network
    np.testing.assert_allclose(Predictor(tmp_path / "inference").run(images), expected, atol=1e-4)


def test_wrong_arguments_are_named():
    with pytest.raises(ConfigError, match=r"MicroNet_M0: unknown key scale"):
        create_model("MicroNet_M0", scale=2.0)
    with pytest.raises(ConfigError, match="dropout_rate: expected a number >= 0 and <= 1"):
        create_model("MicroNet_M0", dropout_rate=2)
