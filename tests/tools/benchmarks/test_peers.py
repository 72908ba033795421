"""tools/benchmarks/peers.py on small checkouts of the same layout as the real ones."""

import functools
import importlib.util
import runpy
import sys

import numpy as np
import paddle
import pytest

from ppcls_light.bundle.folder import read_bundle
from ppcls_light.runtime.engines import create_engine
from ppcls_light.runtime.options import EngineOptions

BROKEN = "raise ImportError('needs all of PaddleClas')\n"
NETWORK = """
from paddle import nn
from ....utils import logger
from ..base.block import Block

def Tiny_M0(pretrained=False, **kwargs):
    logger.said.append("Tiny_M0")
    return nn.Sequential(Block(), nn.Linear(3, 5))
"""
BLOCK = """
from paddle import nn

class Block(nn.Layer):
    def forward(self, x):
        return x.mean([2, 3])
"""


@pytest.fixture
def paddleclas(tmp_path):
    """A checkout whose packages cannot be imported as such, as PaddleClas' cannot with today's libraries."""
    files = {
        "ppcls/__init__.py": BROKEN,
        "ppcls/utils/__init__.py": BROKEN,
        "ppcls/utils/logger.py": "said = []\n",
        "ppcls/arch/__init__.py": BROKEN,
        "ppcls/arch/backbone/__init__.py": BROKEN,
        "ppcls/arch/backbone/base/__init__.py": "",
        "ppcls/arch/backbone/base/block.py": BLOCK,
        "ppcls/arch/backbone/model_zoo/__init__.py": "",
        "ppcls/arch/backbone/model_zoo/tiny.py": NETWORK,
        "ppcls/arch/backbone/model_zoo/lost.py": "import no_such_package\ndef Lost_M0():\n    pass\n",
        "ppcls/arch/backbone/model_zoo/torn.py": "def Torn_M0(size):\n    pass\n",
    }
    for name, text in files.items():
        path = tmp_path / "PaddleClas" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    yield tmp_path / "PaddleClas"
    for name in [name for name in sys.modules if name == "ppcls" or name.startswith("ppcls.")]:
        del sys.modules[name]


@pytest.fixture
def tool(run_tool):
    """A function that runs the tool with arguments."""
    return functools.partial(run_tool, "benchmarks/peers")


def test_paddleclas_network_is_saved_with_a_softmax_and_any_batch(tool, paddleclas, tmp_path, capsys):
    paddle.seed(3)
    tool("paddleclas", "Tiny_M0", "--repo", paddleclas, "--out", tmp_path / "peers", "--size", 4)
    folder = tmp_path / "peers/paddleclas/Tiny_M0"
    assert capsys.readouterr().out == f"{folder}\n"
    paddle.seed(3)
    linear = paddle.nn.Linear(3, 5)
    images = np.random.default_rng(0).standard_normal((3, 3, 4, 4)).astype("float32")
    logits = images.mean((2, 3)) @ linear.weight.numpy() + linear.bias.numpy()
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    engine = create_engine(read_bundle(folder), EngineOptions())
    np.testing.assert_allclose(engine.run(images), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["paddleclas", "Tiny_M9", "--repo", "{repo}"], "no file here defines Tiny_M9"),
        (["paddleclas", "Lost_M0", "--repo", "{repo}"], "lost.py needs no_such_package; pip install it"),
        (
            ["paddleclas", "Torn_M0", "--repo", "{repo}"],
            "torn.py cannot make Torn_M0 (TypeError: Torn_M0() missing",
        ),
        (["paddleclas", "Tiny_M0", "--repo", "nowhere"], "no file here defines Tiny_M0"),
        (["paddleclas", "Tiny_M0"], "paddleclas needs --repo"),
        (["timm", "FasterNet_T0"], "timm needs --python"),
        (["timm", "FasterNet_T0", "--python", "no/python"], "--python no/python: No such file"),
        (["authors", "MicroNet_M0", "--python", "x"], "authors needs --repo"),
    ],
)
def test_errors_are_one_line(tool, paddleclas, tmp_path, capsys, arguments, message):
    arguments = [text.format(repo=paddleclas) for text in arguments]
    with pytest.raises(SystemExit) as stop:
        tool(*arguments, "--out", tmp_path / "peers")
    assert stop.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="for an interpreter without torch")
def test_an_interpreter_without_torch_is_named(tool, tmp_path, capsys):
    with pytest.raises(SystemExit):
        tool("timm", "FasterNet_T0", "--python", sys.executable, "--out", tmp_path)
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{sys.executable} cannot export FasterNet_T0" in line
    assert "the package torch is not installed" in line
    assert list(tmp_path.rglob("*.onnx")) == []


@pytest.mark.parametrize("folder", ["scripts", "script"])
def test_micronet_is_configured_by_the_authors_script(root, tmp_path, monkeypatch, folder):
    files = {
        "backbone/__init__.py": "",
        "backbone/micronet.py": "class MicroNet:\n    def __init__(self, cfg):\n        self.cfg = cfg\n",
        f"{folder}/eval_micronet_m3.sh": "python main.py -b 512 \\\n MODEL.MICRONETS.BLOCK DYMicroBlock \\\n"
        "  MODEL.MICRONETS.STEM_GROUPS 4,3\\\n  MODEL.ACTIVATION.INIT_A 1.0,0.5 \\\n"
        "\t MODEL.MICRONETS.SHUFFLE True \\\n MODEL.MICRONETS.STEM_CH 12 \\\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("backbone", "backbone.micronet"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    torch_side = runpy.run_path(str(root / "tools/benchmarks/torch_side.py"))
    cfg = torch_side["AUTHORS"]["MicroNet"](str(tmp_path), "MicroNet_M3").cfg
    assert vars(cfg.MODEL.MICRONETS) == {
        "BLOCK": "DYMicroBlock",
        "STEM_GROUPS": (4, 3),
        "SHUFFLE": True,
        "STEM_CH": 12,
    }
    assert vars(cfg.MODEL.ACTIVATION) == {"INIT_A": (1.0, 0.5)}
    with pytest.raises(SystemExit, match=r"has no scripts/eval_micronet_m2\.sh; give a checkout of"):
        torch_side["AUTHORS"]["MicroNet"](str(tmp_path), "MicroNet_M2")
    for name in ("backbone", "backbone.micronet"):
        sys.modules.pop(name, None)
