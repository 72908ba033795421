import logging
import os

import numpy as np
import paddle
import pytest
from paddle import inference, nn

from ppcls_light.base.machine import physical_cores
from ppcls_light.bundle import read_bundle
from ppcls_light.errors import ConfigError, DeviceError
from ppcls_light.export.static import save_static
from ppcls_light.runtime.options import EngineOptions
from ppcls_light.runtime.paddle_engine import Build, PaddleEngine, check_options, plan
from ppcls_light.runtime.paddle_library import FREEING_FLAG

CPU_BUILD = Build(version="3.3.1", cuda=False, gpus=0, tensorrt=False, reads_json=True)
GPU_BUILD = Build(version="3.3.1", cuda=True, gpus=1, tensorrt=True, reads_json=True)


def configured(folder, **options):
    bundle = read_bundle(folder)
    config = inference.Config(bundle.graph_file, bundle.params_file)
    for method, arguments in plan(EngineOptions(**options), bundle.format):
        getattr(config, method)(*arguments)
    return config


@pytest.mark.parametrize("onednn", [True, False])
def test_paddle_takes_what_the_plan_says(exported, onednn):
    config = configured(exported, onednn=onednn, cpu_threads=3)
    assert config.mkldnn_enabled() is onednn
    assert config.cpu_math_library_num_threads() == 3
    assert not config.use_gpu()
    assert config.ir_optim()


def test_threads_default_to_the_physical_cores(exported):
    assert configured(exported).cpu_math_library_num_threads() == physical_cores()


def test_the_order_that_paddle_3_needs():
    methods = [method for method, _ in plan(EngineOptions(), "json")]
    assert methods.index("enable_new_executor") < methods.index("enable_memory_optim")
    assert "enable_new_ir" in methods
    assert "enable_new_ir" not in [method for method, _ in plan(EngineOptions(), "pdmodel")]
    assert ("set_optimization_level", (0,)) in plan(EngineOptions(ir_optim=False), "json")
    assert ("switch_ir_optim", (False,)) in plan(EngineOptions(ir_optim=False), "pdmodel")


def test_gpu_switches():
    half, single = inference.PrecisionType.Half, inference.PrecisionType.Float32
    calls = dict(plan(EngineOptions(device="gpu", gpu_mem=500, gpu_id=1), "json"))
    assert calls["enable_use_gpu"] == (500, 1, single)
    assert not {"disable_gpu", "enable_mkldnn", "disable_mkldnn"} & set(calls)
    options = EngineOptions(device="gpu", precision="fp16", use_tensorrt=True, batch_size=8)
    calls = dict(plan(options, "pdmodel", (3, 32, 48)))
    assert calls["enable_use_gpu"][2] == half
    assert calls["enable_tensorrt_engine"][3] == half
    assert calls["set_trt_dynamic_shape_info"] == (
        {"x": [1, 3, 32, 48]},
        {"x": [8, 3, 32, 48]},
        {"x": [8, 3, 32, 48]},
    )
    with pytest.raises(DeviceError, match="use_tensorrt=True needs the image shape"):
        plan(options, "pdmodel")


@pytest.mark.parametrize(
    ("options", "build", "graph_format", "message"),
    [
        ({"device": "gpu"}, CPU_BUILD, "json", "use_gpu=True.*built for the CPU.*use_gpu=False"),
        ({"device": "gpu", "gpu_id": 1}, GPU_BUILD, "json", "wants GPU 1, but Paddle sees 1"),
        ({"use_tensorrt": True}, GPU_BUILD, "pdmodel", "use_tensorrt=True needs a GPU"),
        (
            {"use_tensorrt": True, "device": "gpu"},
            Build("3.3.1", True, 1, False, True),
            "pdmodel",
            "without TensorRT",
        ),
        ({"use_tensorrt": True, "device": "gpu"}, GPU_BUILD, "json", "takes inference.pdmodel"),
        ({"precision": "fp16"}, CPU_BUILD, "json", r"use_fp16=True\) needs a GPU"),
        ({}, Build("2.6.2", False, 0, False, False), "json", "Paddle 2.6.2 cannot read"),
    ],
)
def test_what_the_build_cannot_do_is_refused(options, build, graph_format, message):
    with pytest.raises(DeviceError, match=message):
        check_options(EngineOptions(**options), build, graph_format)


def test_what_the_build_can_do_is_not_refused():
    check_options(EngineOptions(), CPU_BUILD, "json")
    check_options(EngineOptions(device="gpu", precision="fp16"), GPU_BUILD, "json")
    check_options(EngineOptions(device="gpu", use_tensorrt=True), GPU_BUILD, "pdmodel")


def test_the_installed_build(exported):
    build = Build.installed()
    assert build.reads_json == (int(build.version.split(".")[0]) >= 3)
    if build.cuda:
        pytest.skip("this Paddle is built for GPUs")
    with pytest.raises(DeviceError, match=f"Paddle {build.version} here is built for the CPU"):
        PaddleEngine(read_bundle(exported), EngineOptions(device="gpu"))


class Upsampling(nn.Layer):
    """Paddle 3.3.0 and 3.3.1 cannot run nearest interpolation under oneDNN."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2D(3, 3, 1)
        self.conv.weight.set_value(np.eye(3, dtype="float32").reshape(3, 3, 1, 1))

    def forward(self, x):
        return nn.functional.interpolate(self.conv(x), scale_factor=2, mode="nearest").mean([2, 3])


def test_onednn_is_switched_off_where_paddle_cannot_run_it(tmp_path, caplog):
    save_static(Upsampling(), str(tmp_path), (3, 8, 8))
    engine = PaddleEngine(read_bundle(tmp_path), EngineOptions())
    images = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype("float32")
    with caplog.at_level(logging.WARNING, "ppcls_light"):
        probs = engine.run(images)
    means = images.mean(axis=(2, 3))
    expected = np.exp(means) / np.exp(means).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probs, expected, atol=1e-6)
    if paddle.__version__ in ("3.3.0", "3.3.1"):
        assert not engine.options.onednn
        assert len(caplog.messages) == 1
        assert "oneDNN is switched off" in caplog.messages[0]


def write_topology(folder, cores):
    for number, core in enumerate(cores):
        topology = folder / f"cpu{number}" / "topology"
        topology.mkdir(parents=True)
        (topology / "physical_package_id").write_text("0\n")
        (topology / "core_id").write_text(f"{core}\n")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux' affinity mask")
def test_physical_cores(tmp_path, monkeypatch):
    write_topology(tmp_path / "smt", [0, 0, 1, 1, 2, 2, 3, 3])
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    none = tmp_path / "none"
    assert physical_cores(tmp_path / "smt", none) == 4
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 4})
    assert physical_cores(tmp_path / "smt", none) == 2
    assert physical_cores(none, none) == 3  # no topology: every processor counts
    for text, cores in (
        ("max 100000\n", 2),
        ("100000 100000\n", 1),
        ("150000 100000\n", 2),
        ("500 100000", 1),
    ):
        (tmp_path / "cpu.max").write_text(text)
        assert physical_cores(tmp_path / "smt", tmp_path / "cpu.max") == cores


def test_results_are_kept_between_batches_unless_the_environment_says_otherwise(exported, monkeypatch):
    flags = paddle.base.core.globals()
    monkeypatch.delenv(FREEING_FLAG, raising=False)
    for asked, expected in ((None, -1.0), ("0", 0.0)):
        monkeypatch.setitem(flags, FREEING_FLAG, 0.0)
        if asked is not None:
            monkeypatch.setenv(FREEING_FLAG, asked)
        PaddleEngine(read_bundle(exported), EngineOptions())
        assert flags[FREEING_FLAG] == expected


def test_more_threads_than_openmp_can_start_are_refused():
    with pytest.raises(ConfigError, match="100000 threads are too many"):
        EngineOptions(cpu_threads=100000)
