import runpy
import sys

import paddle
from paddle import nn

from ppcls_light.compress import quantize
from ppcls_light.models import create_model
from ppcls_light.models.profile import profile


def test_counts_by_hand():
    model = nn.Sequential(
        nn.Conv2D(4, 6, 3, stride=2, padding=1, groups=2),  # 6 x 4 x 4 outputs of 2 x 9 products; 6 x 18 + 6
        nn.BatchNorm2D(6),  # 12 learned
        nn.AdaptiveAvgPool2D(1),
        nn.Flatten(),
        nn.Linear(6, 5),  # 30 products; 35
    )
    counted = profile(model, (4, 8, 8))
    assert [
        (row.name, row.kind, row.output_shape, row.params, row.multiply_adds) for row in counted.rows
    ] == [
        ("0", "Conv2D", (6, 4, 4), 114, 96 * 18),
        ("1", "BatchNorm2D", (6, 4, 4), 12, 0),
        ("4", "Linear", (5,), 35, 30),
    ]
    assert (counted.params, counted.multiply_adds) == (161, 96 * 18 + 30)
    assert str(counted).splitlines()[-1].split() == ["total", "161", "1,758"]


def test_a_network_that_learns_to_be_quantized_costs_as_much():
    model = create_model("PPLCNet_x0_25", class_num=4)
    whole = profile(model, (3, 32, 32))
    quantize(model, "moving_average_abs_max")
    assert profile(model, (3, 32, 32))[1:] == whole[1:]


def test_leaves_the_model_as_it_was():
    model = nn.Sequential(nn.BatchNorm2D(3))
    before = model[0]._mean.numpy().copy()
    profile(model, (3, 4, 4))
    assert model.training
    assert (model[0]._mean.numpy() == before).all()
    calls = []
    model[0].register_forward_post_hook(lambda *_: calls.append(1))
    model(paddle.zeros([1, 3, 4, 4]))
    assert calls == [1]


class Products(nn.Layer):
    """Multiplies activations, which no sublayer shows."""

    def __init__(self):
        super().__init__()
        self.scale = self.create_parameter([1])

    def forward(self, x):
        return paddle.matmul(x, x, transpose_y=True) * self.scale

    def own_multiply_adds(self, output_shape):
        return output_shape[0] * output_shape[1] * output_shape[2] * 4


def test_a_layers_own_products_and_the_models_own_shape():
    counted = profile(nn.Sequential(Products()), (2, 3, 4))
    assert (counted.rows[0].name, counted.rows[0].output_shape) == ("0", (2, 3, 3))
    assert (counted.params, counted.multiply_adds) == (1, 72)
    model = nn.Sequential(Products())
    model.image_shape = (2, 5, 4)
    assert profile(model).multiply_adds == 2 * 5 * 5 * 4


def test_summary_tool_prints_layers_and_totals(root, monkeypatch, capsys):
    flags = ["-c", str(root / "configs/pplcnet/PPLCNet_x0_25.yaml"), "-o", "Global.image_shape=[3, 112, 112]"]
    monkeypatch.setattr(sys, "argv", ["tools/summary.py", *flags])
    runpy.run_path(str(root / "tools/summary.py"), run_name="__main__")
    title, _, stem, *_, total = capsys.readouterr().out.splitlines()
    assert title == "PPLCNet_x0_25, one image of 3x112x112"
    # 8 filters of 3 x 3 x 3 on 56 x 56 positions
    assert stem.split() == ["conv1.conv", "Conv2D", "8x56x56", "216", f"{216 * 56 * 56:,}"]
    assert total.split()[:2] == ["total", "1,521,184"]
