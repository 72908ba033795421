"""tools/benchmarks/trace_ops.py on a small network."""

import re
import subprocess
import sys

import pytest
from paddle import nn

from ppcls_light import create_model
from ppcls_light.export import export_model


@pytest.mark.slow
def test_operators_and_the_limit(root, tmp_path):
    network, folder = create_model("PPLCNet_x0_25", class_num=3), tmp_path / "inference"
    ops = [("ResizeImage", {"size": 64}), ("NormalizeImage", {"order": ""})]
    export_model(network, folder, (3, 64, 64), ops, list("abc"))
    command = [
        sys.executable,
        "tools/benchmarks/trace_ops.py",
        folder,
        "--batch",
        "2",
        "--runs",
        "5",
        "--limit",
    ]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = {
        row[0]: row[1:] for row in re.findall(r"^\| (\S+) \| (\d+) \| (\S+) \| (\S*) \|$", done.stdout, re.M)
    }
    convolutions = sum(int(calls) for name, (calls, *_) in rows.items() if "conv2d" in name)
    assert convolutions == sum(isinstance(layer, nn.Conv2D) for layer in network.sublayers())
    fastest = float(re.search(r"^([\d.]+) ms per run if every call", done.stdout, re.M)[1])
    assert 0 < fastest <= float(rows["all"][1]) + 0.01
    limits = re.findall(r"^(.*): ([\d.]+) ms, (\d+) GFLOPS$", done.stdout, re.M)
    assert [name for name, *_ in limits] == ["the network", "one 1x1 convolution"]
    milliseconds, gflops = map(float, limits[1][1:])
    operations = (
        2 * 2 * 512**2 * 28**2
    )  # multiply and add, of two images, for each pair of channels at each place
    assert gflops == pytest.approx(operations / milliseconds / 1e6, rel=0.02)
