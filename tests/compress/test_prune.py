"""Pruned networks against numpy: which filters stay, and that leaving the others out is all that happened."""

import numpy as np
import paddle
import pytest

from ppcls_light import jobs
from ppcls_light.compress import prune
from ppcls_light.config import load_config
from ppcls_light.errors import ConfigError, WeightsError
from ppcls_light.models import create_model
from ppcls_light.models.profile import profile
from ppcls_light.weights import read_weights

# Small enough for the formulas in plain Python.
NARROW = {"widths": [16, 24, 32, 16, 24, *[16] * 5, 32, 24, 32, 40], "class_expand": 64}
SHALLOW = {"embed_dim": 16, "depths": [1, 2, 1, 1], "feature_dim": 64}


@pytest.fixture(autouse=True)
def seeded():
    paddle.seed(0)


def network(name, **options):
    """Return a network whose batch norms are not those of an untrained one."""
    model = create_model(name, class_num=5, **options)
    rng = np.random.default_rng(0)
    for key, value in model.state_dict().items():
        if key.endswith(("_mean", "_variance")) or (len(value.shape) == 1 and "bn" in key):
            value.set_value(rng.uniform(0.5, 1.5, value.shape).astype("float32"))
    model.eval()
    return model


def logits(model):
    model.eval()
    images = np.random.default_rng(1).normal(size=(2, 3, 64, 64)).astype("float32")
    with paddle.no_grad():
        return model(paddle.to_tensor(images)).numpy()


def importance(filters, criterion):
    """The papers' formulas, filter by filter."""
    flat = filters.reshape(len(filters), -1).astype("float64")
    if criterion == "l1_norm":
        return [sum(abs(weight) for weight in one) for one in flat]
    return [sum(np.sqrt(((one - other) ** 2).sum()) for other in flat) for one in flat]


def best(filters, count, criterion):
    scores = importance(filters, criterion)
    return sorted(sorted(range(len(scores)), key=lambda index: scores[index], reverse=True)[:count])


def readers_of(state):
    """Return {filters: [(weights that read their channels, axis)]} by what the papers' figures connect."""
    if "patch_embed.proj.weight" in state:
        hidden = [key for key in state if key.endswith(".mlp.0.weight")]
        pairs = {key: [(key.replace(".mlp.0.", ".mlp.3."), 1)] for key in hidden}
        return {**pairs, "avgpool_pre_head.1.weight": [("head.weight", 0)]}
    makers = [key for key in state if key == "conv1.conv.weight" or key.endswith("pw_conv.conv.weight")]
    readers = {}
    for maker, reader in zip(makers, makers[1:]):
        gate = reader.replace("pw_conv.conv", "se.conv1")
        readers[maker] = [(reader, 1), *([(gate, 1)] if gate in state else [])]
        if gate in state:
            readers[gate] = [(gate.replace("conv1", "conv2"), 1)]
    if "last_conv.weight" not in state:
        return {**readers, makers[-1]: [("fc.weight", 0)]}
    return {**readers, makers[-1]: [("last_conv.weight", 1)], "last_conv.weight": [("fc.weight", 0)]}


@pytest.mark.parametrize("criterion", ["l1_norm", "fpgm"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("PPLCNet_x1_0", NARROW),
        ("PPLCNet_x1_0", {**NARROW, "use_last_conv": False, "stride_list": [2, [2, 1], 2, 2, 2]}),
        ("lcnet_100", NARROW),
        ("FasterNet_T0", SHALLOW),
        ("FasterNet_T0", {**SHALLOW, "spatial_mixing": "dwconv", "layer_scale_init_value": 0.5}),
    ],
)
def test_pruned_is_the_whole_network_that_does_not_read_the_least_important_channels(
    name, options, criterion
):
    model = network(name, **options)
    before = logits(model)
    pruned = prune(model, 0.5, criterion)
    np.testing.assert_array_equal(logits(model), before)
    assert list(pruned.state_dict()) == list(model.state_dict())
    whole = {key: value.numpy() for key, value in model.state_dict().items()}
    left = {key: len(value) for key, value in pruned.state_dict().items()}
    masked = {key: value.copy() for key, value in whole.items()}
    for filters, readers in readers_of(whole).items():
        assert left[filters] < len(whole[filters]), filters
        kept = best(whole[filters], left[filters], criterion)
        gone = sorted({*range(len(whole[filters]))} - {*kept})
        for key, axis in readers:
            np.moveaxis(masked[key], axis, 0)[gone] = 0
    model.set_state_dict(masked)
    assert np.abs(logits(model) - before).max() > 1e-3
    np.testing.assert_allclose(logits(pruned), logits(model), rtol=0, atol=1e-5)


def test_widths_and_costs_computed_by_hand():
    model = create_model("FasterNet_T0", class_num=5)
    pruned = prune(model, 0.5)
    assert pruned.options["mlp_widths"] == [40, *[80] * 2, *[160] * 8, *[320] * 2]
    assert pruned.options["feature_dim"] == 640
    whole, left = profile(model, (3, 64, 64)), profile(pruned, (3, 64, 64))
    # A hidden channel costs its row and column of weights and two of batch norm; the map halves at each stage.
    stages = ((40, 1, 16), (80, 2, 8), (160, 8, 4), (320, 2, 2))
    assert whole.params - left.params == sum(n * dim * (2 * dim + 2) for dim, n, _ in stages) + 640 * (
        320 + 5
    )
    hidden = sum(n * dim * 2 * dim * side**2 for dim, n, side in stages)
    assert whole.multiply_adds - left.multiply_adds == hidden + 640 * (320 + 5)


@pytest.mark.parametrize(
    ("ratio", "widths"),
    [
        # 0.7 of 16, 32, 64, 128, 256, 512 to the nearest 8, one up where that takes more than a tenth.
        (0.3, [16, 24, 48, 48, 88, 88, *[176] * 6, 360, 360]),
        (0.99, [8] * 14),
    ],
)
def test_widths_are_multiples_of_eight(ratio, widths):
    pruned = prune(create_model("PPLCNet_x1_0", class_num=5), ratio)
    assert pruned.options["widths"] == widths
    gate = pruned.blocks6[1].se
    assert gate.conv1.weight.shape[0] == gate.conv2.weight.shape[1] == widths[-1] // 4


@pytest.mark.parametrize("ratio", [0, 1, -0.1, 1.5, float("nan")])
def test_a_ratio_out_of_bounds_is_refused(ratio):
    with pytest.raises(ConfigError, match="not between 0 and 1"):
        prune(create_model("PPLCNet_x0_25", class_num=5), ratio)


def test_what_cannot_be_pruned_is_refused():
    with pytest.raises(ConfigError, match="MicroNet_M0 cannot be pruned"):
        prune(create_model("MicroNet_M0", class_num=5), 0.3)
    with pytest.raises(ConfigError, match="cannot be pruned"):
        prune(create_model("PPLCNet_x0_25", features_only=True), 0.3)
    with pytest.raises(ConfigError, match="removes nothing"):
        prune(create_model("PPLCNet_x0_25", class_num=5), 0.001)
    with pytest.raises(ConfigError, match="13 blocks"):
        create_model("FasterNet_T0", mlp_widths=[8] * 12)
    with pytest.raises(ConfigError, match="a list of 14"):
        create_model("PPLCNet_x1_0", widths=[8] * 13)


@pytest.mark.slow
def test_pruned_weights_fine_tune_resume_evaluate_and_export(config_file, tmp_path):
    one_epoch = ["Global.epochs=1", "Optimizer.lr.warmup_epoch=0"]
    jobs.train(load_config(config_file, one_epoch))
    trained = load_config(config_file, [*one_epoch, "Global.checkpoints=auto"])
    jobs.prune(trained, 0.5, "fpgm", str(tmp_path / "pruned"))
    config = tmp_path / "pruned/config.yaml"
    first = (tmp_path / "pruned/pruned.pdparams").read_bytes()
    jobs.prune(trained, 0.5, "fpgm", str(tmp_path / "pruned"))
    assert not (tmp_path / "pruned/previous_1").exists()
    jobs.prune(trained, 0.2, "fpgm", str(tmp_path / "pruned"))
    assert (tmp_path / "pruned/previous_1/pruned.pdparams").read_bytes() == first
    jobs.prune(trained, 0.5, "fpgm", str(tmp_path / "pruned"))
    jobs.evaluate(load_config(config))
    jobs.train(load_config(config))
    jobs.train(
        load_config(config, ["Global.epochs=2", "Global.checkpoints=auto", "Global.resume_schedule=new"])
    )
    report = jobs.export(load_config(config, ["Global.checkpoints=auto", "Global.pretrained_model=null"]))
    assert report.max_abs_diff <= 1e-5
    state = read_weights(tmp_path / "pruned/output/latest")
    assert state["blocks6.1.pw_conv.conv.weight"].shape == (64, 64, 1, 1)


@pytest.mark.slow
def test_slim_prunes_before_training_and_knows_its_network_later(config_file, tmp_path):
    options = [
        "Slim.prune.name=l1_norm",
        "Slim.prune.pruned_ratio=0.5",
        "Global.epochs=1",
        "Optimizer.lr.warmup_epoch=0",
    ]
    with pytest.raises(ConfigError, match=r"Slim\.prune: random filters"):
        jobs.train(load_config(config_file, options))
    jobs.train(load_config(config_file, options[2:]))
    began = [
        *options,
        f"Global.pretrained_model={tmp_path}/output/latest",
        f"Global.output_dir={tmp_path}/slim",
    ]
    jobs.train(load_config(config_file, began))
    jobs.train(
        load_config(
            config_file, [*began, "Global.epochs=2", "Global.checkpoints=auto", "Global.resume_schedule=new"]
        )
    )
    latest = [*options, f"Global.pretrained_model={tmp_path}/slim/latest"]
    jobs.evaluate(load_config(config_file, latest))
    assert jobs.export(load_config(config_file, latest)).max_abs_diff <= 1e-5
    with pytest.raises(WeightsError, match="cannot be loaded"):
        jobs.evaluate(load_config(config_file, latest[2:]))
