import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls_light.errors import ConfigError
from ppcls_light.export.fold.steps import fold
from ppcls_light.export.static import STEM, save_static
from ppcls_light.models import create_model
from ppcls_light.models.layers import mixing_layer
from ppcls_light.models.profile import profile

# Stages of FasterNet_T0 at 64 pixels: blocks, channels, height = width.
STAGES = [(1, 40, 16), (2, 80, 8), (8, 160, 4), (2, 320, 2)]
# Inputs that one output of the 3x3 operator sums over, and outputs a position, by the channels c.
MIXINGS = {
    "pconv": lambda c: (9 * c // 4, c // 4),
    "dwconv": lambda c: (9, c),
    "gconv": lambda c: (9 * (5 if c == 40 else c // 16), c),  # 16 do not divide 40; 8 do
    "conv": lambda c: (9 * c, c),
}


@pytest.mark.parametrize("kind", MIXINGS)
def test_each_mixing_costs_what_its_equation_says(kind):
    model = create_model("FasterNet_T0", class_num=3, spatial_mixing=kind)
    rows = [row for row in profile(model, (3, 64, 64)).rows if "spatial_mixing" in row.name]
    expected = []
    for depth, channels, size in STAGES:
        inputs, outputs = MIXINGS[kind](channels)
        expected += [(inputs * outputs, size * size * inputs * outputs)] * depth
    assert [(row.params, row.multiply_adds) for row in rows] == expected


@pytest.mark.parametrize("kind", MIXINGS)
def test_each_mixing_folds_saves_and_trains(kind, tmp_path):
    paddle.seed(0)
    model = create_model("FasterNet_T0", class_num=3, spatial_mixing=kind, depths=(1, 1, 1, 1))
    x = paddle.randn([2, 3, 64, 64])
    model(x).sum().backward()
    for key, parameter in model.named_parameters():
        if not parameter.stop_gradient:
            assert np.isfinite(parameter.grad.numpy()).all(), key
            assert parameter.grad.abs().sum() > 0, key
    model.eval()
    folded = fold(model)
    assert not any(isinstance(layer, nn.BatchNorm2D) for layer in folded.sublayers())
    save_static(folded, str(tmp_path), (3, 64, 64), softmax=False)
    loaded = paddle.jit.load(str(tmp_path / STEM))
    with paddle.no_grad():
        np.testing.assert_allclose(loaded(x).numpy(), model(x).numpy(), rtol=1e-4, atol=1e-5)
    features = create_model("FasterNet_T0", features_only=True, spatial_mixing=kind)(x)
    assert [feature.shape[1:] for feature in features] == [[c, n, n] for _, c, n in STAGES]


def test_the_default_is_pconv_with_the_published_keys():
    assert set(create_model("FasterNet_T0").state_dict()) == set(
        create_model("FasterNet_T0", spatial_mixing="pconv").state_dict()
    )
    keys = create_model("FasterNet_T0", depths=(1, 1, 1, 1)).state_dict()
    assert [key for key in keys if "spatial_mixing" in key] == [
        f"stages.{i}.blocks.0.spatial_mixing.partial_conv3.weight" for i in (0, 2, 4, 6)
    ]


# FLOPs (multiply-adds, M) of ten layers in the paper's table 1; r = 1/4, 16 groups.
@pytest.mark.parametrize(
    ("kind", "millions"),
    [("conv", [2601] * 4), ("gconv", [163] * 4), ("pconv", [163] * 4), ("dwconv", [27.1, 13.5, 6.8, 3.4])],
)
def test_ten_layers_cost_what_the_papers_table_says(kind, millions):
    pairs = [(96, 56), (192, 28), (384, 14), (768, 7)]
    counted = [
        10 * profile(nn.Sequential(mixing_layer(kind, dim)), (dim, size, size)).multiply_adds / 1e6
        for dim, size in pairs
    ]
    np.testing.assert_allclose(counted, millions, rtol=0.01)


def test_an_unknown_mixing_is_one_clear_line():
    with pytest.raises(ConfigError, match=r"unknown spatial mixing 'dw'; known: pconv, dwconv, gconv, conv"):
        mixing_layer("dw", 8)
    with pytest.raises(ConfigError, match=r"spatial_mixing: expected one of .*did you mean 'dwconv'"):
        create_model("FasterNet_T0", spatial_mixing="dw_conv")


def test_a_block_adds_its_shortcut_within_its_last_convolution_unless_that_is_watched(own_operators):
    paddle.seed(0)
    block = create_model("FasterNet_T0", class_num=3, depths=(1, 1, 1, 1)).stages[0].blocks[0]
    x = paddle.randn([2, 40, 9, 9])
    together, seen = block(x), []
    hook = block.mlp[3].register_forward_post_hook(lambda layer, inputs, output: seen.append(output))
    apart = block(x)
    hook.remove()
    np.testing.assert_allclose(apart.numpy(), (x + seen[0]).numpy())
    np.testing.assert_allclose(together.numpy(), apart.numpy(), rtol=1e-5, atol=1e-6)
