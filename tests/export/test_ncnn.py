"""ncnn as its own programs use it, without this package."""

import importlib.util

import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls_light.errors import ExportError
from ppcls_light.export import export_model
from ppcls_light.export.targets import TARGETS
from ppcls_light.prediction import Predictor

SHAPE = (3, 32, 40)
OPS = [("ResizeImage", {"size": [40, 32]}), ("NormalizeImage", {"order": ""})]


class Gates(nn.Layer):
    """Two gates per channel, as those of MicroNet's Dynamic Shift-Max."""

    def __init__(self):
        super().__init__()
        self.gates = nn.Sequential(nn.AdaptiveAvgPool2D(1), nn.Conv2D(8, 16, 1), nn.ReLU6())

    def forward(self, x):
        factors, shifts = paddle.split(self.gates(x), 2, axis=1)
        return factors * x + shifts


def network():
    paddle.seed(0)
    layers = [
        nn.Conv2D(3, 8, 3, 2),
        nn.Hardswish(),
        Gates(),
        nn.AdaptiveAvgPool2D(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    ]
    return nn.Sequential(*layers)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    for package in ("paddle2onnx", *TARGETS["ncnn"].packages):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package}: the extras onnx and ncnn, and pip install --no-deps pnnx")
    path = tmp_path_factory.mktemp("ncnn")
    export_model(network(), path, SHAPE, OPS, formats=["ncnn"], embedding=True)
    return path


def test_program_of_ncnn_gets_the_answers_from_pixels(folder):
    """The lines of docs/formats.md: pixels, then mean and 1 / std on the scale of 0 to 255."""
    import ncnn

    pixels = np.random.default_rng(0).integers(0, 256, (32, 40, 3)).astype("uint8")
    net = ncnn.Net()
    net.load_param(str(folder / "inference.ncnn.param"))
    net.load_model(str(folder / "inference.ncnn.bin"))
    image = ncnn.Mat.from_pixels(pixels, ncnn.Mat.PixelType.PIXEL_RGB, 40, 32)
    image.substract_mean_normalize(
        [255 * mean for mean in (0.485, 0.456, 0.406)], [1 / (255 * std) for std in (0.229, 0.224, 0.225)]
    )
    extractor = net.create_extractor()
    extractor.input("in0", image)
    runner = Predictor(folder, engine="paddle", cpu_threads=1)
    expected = runner.run_all(runner.preprocess(pixels)[None])
    for blob, name in (("out0", "probs"), ("out1", "embedding")):
        _, found = extractor.extract(blob)
        # ncnn computes in half precision by default, where the processor does
        np.testing.assert_allclose(np.array(found), expected[name][0], atol=5e-3)


def test_folder_has_no_other_files_of_the_converter(folder):
    assert {path.name for path in folder.iterdir()} == {
        *("inference.json", "inference.pdiparams", "inference.yml", "inference.metadata.json"),
        *("inference.ncnn.param", "inference.ncnn.bin"),
    }


def test_shapes_are_numbers_which_older_versions_read(folder):
    assert '"' not in (folder / "inference.ncnn.param").read_text(encoding="utf-8")


def test_missing_converter_is_named_with_the_way_to_get_it(tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "pnnx" else found(name))
    with pytest.raises(ExportError, match=r"needs pnnx.*pip install --no-deps .pnnx"):
        export_model(network(), tmp_path / "out", SHAPE, OPS, formats=["ncnn"])
    assert not (tmp_path / "out").exists()
