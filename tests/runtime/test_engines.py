"""The engines against each other, on the four families."""

import hashlib
import os
import shutil
import subprocess
import sys
import threading

import numpy as np
import paddle
import pytest

from ppcls_light import create_model
from ppcls_light.base.machine import forbidden, supports, usable_flags
from ppcls_light.bundle import onnx, read_bundle
from ppcls_light.bundle.folder import write_inference_yml
from ppcls_light.config.postprocess import Topk
from ppcls_light.errors import ConfigError, DeviceError, ExportError, WeightsError
from ppcls_light.export.fold.steps import fold
from ppcls_light.export.static import save_static
from ppcls_light.prediction import Predictor
from ppcls_light.runtime.engines import ENGINES, create_engine
from ppcls_light.runtime.options import EngineOptions
from ppcls_light.runtime.race import measure

LIBRARIES = [engine for engine, kind in ENGINES.items() if kind.library]
ONNX_ENGINES = {"onnxruntime": "onnxruntime", "openvino": "openvino"}
SIZE, CLASSES = 64, 5
IMAGES = np.random.default_rng(1).normal(size=(8, 3, SIZE, SIZE)).astype("float32")


def supports_avx512():
    return "avx512f" in usable_flags()


def needs(engine):
    pytest.importorskip(ENGINES[engine].library, reason=f"the extra of engine {engine} is not installed")


def require_conversion():
    pytest.importorskip("paddle2onnx", reason="the extra onnx is not installed")


def random_network(name):
    """Return a network whose answers differ from image to image and class to class, as a trained one's do."""
    paddle.seed(0)
    model = create_model(name, class_num=CLASSES)
    images = paddle.to_tensor(IMAGES)
    for layer in model.sublayers():
        if hasattr(layer, "_mean"):
            layer._momentum = 0.0  # its statistics become those of the images
    model.train()
    model(images)
    model.eval()
    for key in model.head_keys:
        if key.endswith(("weight", "bias")):
            value = model.state_dict()[key]
            value.set_value(value / model(images).std())
    return model


@pytest.fixture(scope="module", params=["PPLCNet_x0_25", "FasterNet_T0", "MicroNet_M0", "EdgeNeXt_XX_Small"])
def family(request, tmp_path_factory):
    """A folder with a network of a family, in Paddle's graph and in ONNX."""
    require_conversion()
    folder = tmp_path_factory.mktemp(request.param)
    save_static(fold(random_network(request.param)), str(folder), [3, SIZE, SIZE])
    ops = [("ResizeImage", {"size": SIZE}), ("NormalizeImage", {"order": ""})]
    own = {"arch": request.param, "class_num": CLASSES, "image_shape": [3, SIZE, SIZE]}
    write_inference_yml(str(folder), ops, Topk(topk=1), None, own)
    shutil.copy(onnx.onnx_file(read_bundle(folder)), folder / "inference.onnx")
    return folder


@pytest.fixture(scope="module")
def converted(exported, tmp_path_factory):
    """The folder of colours, with inference.onnx and without Paddle's files."""
    require_conversion()
    folder = shutil.copytree(exported, tmp_path_factory.mktemp("converted") / "inference")
    bundle = read_bundle(folder)
    shutil.move(onnx.onnx_file(bundle), folder / "inference.onnx")
    for path in (bundle.graph_file, bundle.params_file):
        (folder / path.rsplit("/", 1)[1]).unlink()
    return folder


@pytest.mark.slow
def test_engines_answer_alike(family):
    images = IMAGES[:3]
    expected = Predictor(family, cpu_threads=1).run(images)
    assert 0.05 < np.ptp(expected, axis=1).min() < 0.95
    # OpenVINO 2026.4 is right on processors without AVX-512, but not where oneDNN alone may not use it.
    crashes = "EdgeNeXt" in read_bundle(family).model_name and forbidden() and not supports_avx512()
    for engine in ["onnxruntime"] if crashes else ONNX_ENGINES:
        needs(engine)
        # the engine prepares for the batch that it is told, and takes any other
        predictor = Predictor(family, engine=engine, cpu_threads=1, batch_size=2)
        for count in (1, 2, 3):
            np.testing.assert_allclose(predictor.run(images[:count]), expected[:count], atol=1e-4, rtol=0)


@pytest.mark.parametrize("engine", ["paddle", "openvino"])
@pytest.mark.slow
def test_bf16_is_near_fp32_and_not_the_same(family, engine):
    needs(engine)
    if not supports("bf16"):
        pytest.skip("this processor has no bf16")
    if engine == "paddle" and read_bundle(family).format != "json":
        pytest.skip("Paddle 2 rounds less of the graph")
    images = IMAGES[:2]
    expected = Predictor(family, cpu_threads=1, batch_size=2).run(images)
    got = Predictor(family, engine=engine, precision="bf16", cpu_threads=1, batch_size=2).run(images)
    assert 1e-5 < np.abs(got - expected).max() < 0.3


def test_bf16_is_refused_where_it_would_be_slow(exported, on_processor):
    on_processor("avx2", "avx512f")
    for engine in ("paddle", "openvino"):
        needs(engine)
        with pytest.raises(
            DeviceError, match=r"bf16 needs a processor with AVX512-BF16 or AMX.*precision=fp32"
        ):
            Predictor(exported, engine=engine, precision="bf16")
    with pytest.raises(DeviceError, match="precision bf16 is for the CPU with oneDNN"):
        Predictor(exported, precision="bf16", onednn=False)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("engine", LIBRARIES)
def test_threads_share_a_predictor_or_have_clones(converted, exported, engine, shared):
    needs(engine)
    folder = exported if engine == "paddle" else converted
    predictor, rng = Predictor(folder, engine=engine, cpu_threads=1), np.random.default_rng(0)
    inputs = [rng.normal(size=(40, 1 + index % 2, 3, 32, 32)).astype("float32") for index in range(4)]
    expected = [[predictor.run(images) for images in batches] for batches in inputs]
    got = [None] * len(inputs)

    def work(index, own):
        got[index] = [own.run(images) for images in inputs[index]]

    threads = [
        threading.Thread(target=work, args=(index, predictor if shared else predictor.clone()))
        for index in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(expected, got):
        np.testing.assert_array_equal(np.stack(one), np.stack(other))


@pytest.mark.parametrize("engine", ONNX_ENGINES)
def test_a_machine_without_paddle(converted, exported, photos, engine, tmp_path):
    needs(engine)
    code = (
        "import sys; sys.modules['paddle'] = None\n"
        "from ppcls_light import Predictor\n"
        f"row = Predictor(sys.argv[1], engine={engine!r}).predict([sys.argv[2]])[0]\n"
        "print(row['label_names'], [round(score, 4) for score in row['scores']])\n"
        "assert not [name for name in sys.modules if name.startswith('paddle.')]\n"
    )
    command = [sys.executable, "-c", code, str(converted), str(photos[2])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    row = Predictor(exported).predict([photos[2]])[0]
    scores = [round(float(score), 4) for score in row["scores"]]
    assert (done.returncode, done.stdout.strip()) == (0, f"{row['label_names']} {scores}"), done.stderr


def test_paddle_refuses_a_folder_of_onnx_alone(converted):
    with pytest.raises(DeviceError, match=r"inference\.onnx alone.*onnxruntime or openvino"):
        Predictor(converted)


@pytest.mark.parametrize("engine", LIBRARIES)
def test_a_library_that_is_missing(exported, engine, monkeypatch):
    kind = ENGINES[engine]
    monkeypatch.setitem(sys.modules, kind.library, None)
    with pytest.raises(DeviceError) as caught:
        create_engine(read_bundle(exported), EngineOptions(engine=engine))
    assert f'needs {kind.library}, which is not installed; pip install "ppcls_light[{kind.extra}]"' in str(
        caught.value
    )


def test_a_library_that_is_broken(converted, tmp_path):
    (tmp_path / "openvino.py").write_text("raise ImportError('libgone.so: cannot open shared object file')")
    code = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from ppcls_light import Predictor; from ppcls_light.errors import DeviceError\n"
        "try: Predictor(sys.argv[1], engine='openvino')\n"
        "except DeviceError as error: print(error)\n"
    )
    command = [sys.executable, "-c", code, str(converted), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "openvino is installed but cannot be imported (libgone.so" in done.stdout, done.stderr
    assert '--force-reinstall "ppcls_light[openvino]"' in done.stdout


@pytest.mark.parametrize("engine", ONNX_ENGINES)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "gpu"}, "is for the CPU here; set Global.use_gpu=False"),
        ({"use_tensorrt": True}, "Global.use_tensorrt=True is a switch of Paddle"),
        ({"ir_optim": False}, "Global.ir_optim=False is a switch of Paddle"),
        ({"profile": True}, "Global.enable_profile=True is a switch of Paddle"),
        ({"precision": "fp16"}, "has no precision fp16, only fp32 and "),
    ],
)
def test_what_is_paddles_alone_is_refused(converted, engine, options, message):
    needs(engine)
    with pytest.raises(DeviceError, match=message):
        Predictor(converted, engine=engine, **options)


def test_onnx_runtime_has_no_bf16(converted):
    needs("onnxruntime")
    with pytest.raises(DeviceError, match="engine onnxruntime has no precision bf16"):
        Predictor(converted, engine="onnxruntime", precision="bf16")


def test_names_that_are_none(exported):
    with pytest.raises(ConfigError, match="no engine 'tensorflow'; choose one of paddle, onnxruntime"):
        Predictor(exported, engine="tensorflow")
    with pytest.raises(ConfigError, match="no precision 'int4'; choose one of fp32"):
        Predictor(exported, precision="int4")


@pytest.mark.parametrize("engine", ONNX_ENGINES)
def test_a_damaged_graph_and_a_wrong_input(converted, tmp_path, engine):
    needs(engine)
    with pytest.raises(ConfigError, match=r"fails on an input of shape \[1, 1, 8, 8\].*transform_ops"):
        Predictor(converted, engine=engine).run(np.zeros((1, 1, 8, 8)))
    folder = shutil.copytree(converted, tmp_path / "cut")
    data = (folder / "inference.onnx").read_bytes()
    (folder / "inference.onnx").write_bytes(data[: len(data) // 2])
    with pytest.raises(WeightsError, match=r"inference\.onnx: .*damaged or incomplete.*export it again"):
        Predictor(folder, engine=engine)


@pytest.mark.parametrize("engine", ONNX_ENGINES)
def test_a_damaged_conversion_is_to_be_deleted(exported, tmp_path, engine):
    needs(engine)
    require_conversion()
    folder = shutil.copytree(exported, tmp_path / "inference")
    path = onnx.onnx_file(read_bundle(folder))
    with open(path, "r+b") as file:
        file.truncate(100)
    with pytest.raises(WeightsError, match=r"inference_\w+\.onnx: .*delete this file, and it is made again"):
        Predictor(folder, engine=engine)


def test_the_conversion_is_kept_and_follows_the_graph(exported, tmp_path):
    require_conversion()
    folder = shutil.copytree(exported, tmp_path / "inference")
    first = onnx.onnx_file(read_bundle(folder))
    made = (folder / first.rsplit("/", 1)[1]).stat().st_mtime_ns
    assert onnx.onnx_file(read_bundle(folder)) == first
    assert (folder / first.rsplit("/", 1)[1]).stat().st_mtime_ns == made
    bundle = read_bundle(folder)
    with open(bundle.graph_file, "a") as file:  # white space after JSON is nothing, and another checksum
        file.write("\n")
    if bundle.format == "json":
        second = onnx.onnx_file(bundle)
        assert second != first
        assert sorted(folder.glob("*.onnx")) == [folder / second.rsplit("/", 1)[1]]


def test_a_conversion_that_the_export_listed_is_made_again_when_it_is_damaged(exported, tmp_path):
    require_conversion()
    folder = shutil.copytree(exported, tmp_path / "inference")
    bundle = read_bundle(folder)
    path = onnx.onnx_file(bundle)
    with open(path, "rb") as file:
        content = file.read()
    bundle.files[os.path.basename(path)] = hashlib.sha256(content).hexdigest()
    with open(path, "wb") as file:
        file.write(content[:-50] + bytes([content[-50] ^ 64]) + content[-49:])
    assert onnx.onnx_file(bundle) == path
    with open(path, "rb") as file:
        assert file.read() == content


def test_a_conversion_by_another_version_than_the_export_had_is_measured(exported, tmp_path):
    require_conversion()
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    folder = shutil.copytree(exported, tmp_path / "inference")
    bundle = read_bundle(folder)
    bundle.files[os.path.basename(onnx.onnx_file(bundle))] = "0" * 64
    (result,) = measure(bundle, [EngineOptions(engine="onnxruntime", cpu_threads=1)], (1, 3, 32, 32))
    assert not result.left_out


def test_a_graph_that_does_not_convert(exported, tmp_path, without_checksums):
    require_conversion()
    folder = without_checksums(shutil.copytree(exported, tmp_path / "inference"))
    open(read_bundle(folder).graph_file, "w").close()
    with pytest.raises(ExportError, match="cannot convert"):
        Predictor(folder, engine="onnxruntime")
    assert not list(folder.glob("*.onnx"))


def test_openvino_leaves_the_choice_of_cores_to_the_system(converted):
    needs("openvino")
    engine = create_engine(read_bundle(converted), EngineOptions(engine="openvino", cpu_threads=1))
    # Pinned, two processes of one thread each would share the first core.
    assert engine._compiled[1].get_property("ENABLE_CPU_PINNING") is False
    assert engine._compiled[1].get_property("INFERENCE_NUM_THREADS") == 1


def test_openvino_fills_up_the_first_smaller_batch(converted):
    needs("openvino")
    bundle = read_bundle(converted)
    alone, engine = (
        create_engine(bundle, EngineOptions(engine="openvino", batch_size=batch)) for batch in (1, 4)
    )
    images = np.random.default_rng(0).normal(size=(5, *bundle.image_shape)).astype("float32")
    expected = np.concatenate([alone.run(image[None]) for image in images])
    for count, networks in (3, {4}), (4, {4}), (2, {4, None}), (5, {4, None}):
        np.testing.assert_allclose(engine.run(images[:count]), expected[:count], atol=1e-5)
        assert set(engine._compiled) == networks


def test_a_signal_after_two_networks_came_and_went_is_only_a_signal(converted, root):
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    code = f"""
import gc, os, signal
from ppcls_light import Predictor
predictors = [Predictor({str(converted)!r}, engine="openvino") for _ in range(2)]
while predictors:
    predictors.pop(0)
    gc.collect()
signal.signal(signal.SIGTERM, lambda *_: print("heard"))
os.kill(os.getpid(), signal.SIGTERM)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "heard\n"), done.stderr


@pytest.mark.parametrize("engine", ["paddle", "onnxruntime", "openvino"])
def test_no_engine_opens_a_connection(exported, converted, engine, tmp_path):
    """OpenVINO's telemetry looked up a host of an analytics service at every start."""
    needs(engine)
    code = (
        "import sys, numpy as np\n"
        "calls = []\n"
        "sys.addaudithook(lambda event, _: event.startswith('socket.') and calls.append(event))\n"
        "from ppcls_light import Predictor\n"
        "Predictor(sys.argv[1], engine=sys.argv[2]).predict(np.zeros((40, 40, 3), 'uint8'))\n"
        "print(calls)\n"
    )
    folder = exported if engine == "paddle" else converted
    command = [sys.executable, "-c", code, str(folder), engine]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
