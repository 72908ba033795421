"""int8 made at export for every engine: what passes is in the folder with its top-1, what does not is refused."""

import os
import sys
from importlib.util import find_spec

import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls_light import Predictor, jobs
from ppcls_light.bundle import read_bundle
from ppcls_light.bundle.folder import INT8_STEM
from ppcls_light.config import load_config
from ppcls_light.errors import ConfigError, DataError, DeviceError, ExportError
from ppcls_light.export import export_model
from ppcls_light.export.accuracy import AccuracyGate, Labelled
from ppcls_light.models import create_model
from ppcls_light.runtime.engines import ENGINES, missing_library
from ppcls_light.weights import write_weights
from tests.runtime.test_engines import LIBRARIES

INT8 = ["Global.export_precision=int8", "Global.calibration_images=16"]


@pytest.fixture
def network(photos):
    """PPLCNet_x0_25 with batch norms that fit the photos, and a list whose labels are its own answers."""
    model = create_model("PPLCNet_x0_25", class_num=3, stride_list=[1, 2, 2, 2, 2])
    lists = "".join((photos / f"{split}_list.txt").read_text() for split in ("train", "val"))
    names = [line.split()[0] for line in lists.splitlines()]
    images = np.stack([paddle.vision.image_load(str(photos / name), backend="cv2") for name in names])
    x = np.ascontiguousarray(images[:, 4:36, 4:36, ::-1].transpose(0, 3, 1, 2) / 255, dtype="float32")
    for layer in model.sublayers():
        if isinstance(layer, (nn.BatchNorm1D, nn.BatchNorm2D)):
            layer._momentum = 0.0  # the statistics of these images
    model.train()
    with paddle.no_grad():
        model(paddle.to_tensor(x))
    model.eval()
    return model, names


@pytest.fixture
def options(network, photos, tmp_path):
    """Overrides with which the network, its own labels and transforms are exported."""
    model, names = network
    write_weights(tmp_path / "w.pdparams", model.state_dict())
    ops = [
        ("DecodeImage", {}),
        ("ResizeImage", {"size": 32}),
        ("NormalizeImage", {"scale": "1.0/255.0", "order": ""}),
    ]
    export_model(model, tmp_path / "inference", (3, 32, 32), ops)
    rows = Predictor(tmp_path / "inference").predict([photos / name for name in names])
    (photos / "val_list.txt").write_text(
        "".join(f"{name} {row['class_ids'][0]}\n" for name, row in zip(names, rows))
    )
    return [
        *INT8,
        f"Global.pretrained_model={tmp_path}/w",
        f"Global.save_inference_dir={tmp_path}/inference",
    ]


@pytest.fixture
def only_paddle(monkeypatch):
    """Let the libraries of the other engines pass for not installed."""
    for name in ("onnxruntime", "openvino"):
        monkeypatch.setitem(sys.modules, ENGINES[name].library, None)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.slow
@pytest.mark.usefixtures("int8_instructions")
def test_each_installed_engine_gets_an_int8_graph_with_its_top1(config_file, options, photos, tmp_path):
    before = Predictor(tmp_path / "inference").predict(photos / "val/00.png")
    report = jobs.export(load_config(config_file, options), max_drop=100)
    bundle = read_bundle(report.folder)
    assert (report.precision, bundle.precision) == ("fp32", "fp32")
    assert bundle.precisions == report.precisions
    # The labels are fp32's own answers; 26 training images are in the list too, and 16 of them calibrated.
    log = (tmp_path / "output/export.log").read_text()
    names = [line.split()[0] for line in (photos / "val_list.txt").read_text().splitlines()]
    labels = [int(line.split()[1]) for line in (photos / "val_list.txt").read_text().splitlines()]
    for engine in LIBRARIES:
        if missing_library(engine) or (engine == "openvino" and not find_spec("nncf")):
            continue
        top1 = report.precisions[engine]
        assert top1["fp32"] == 100
        assert f"{engine} int8: top-1 {top1['int8']:.2f} % (" in log
        predictor = Predictor(report.folder, engine=engine, precision="int8")
        assert predictor.engine_options.precision == "int8"
        rows = predictor.predict([photos / name for name in names])
        wrong = sum(row["class_ids"][0] != label for row, label in zip(rows, labels))
        # of the 37 images 21 are scored
        assert (100 - top1["int8"]) * 21 / 100 <= wrong + 0.01
        assert (
            Predictor(report.folder, engine=engine).predict(photos / "val/00.png")[0]["class_ids"][0]
            == (before[0]["class_ids"][0])
        )
    assert "100.00 % in fp32) on 21 images" in log
    sizes = [
        os.path.getsize(tmp_path / "inference" / f"{stem}.pdiparams") for stem in ("inference", INT8_STEM)
    ]
    assert sizes[1] < 0.5 * sizes[0]
    # An export without int8 leaves nothing of it.
    report = jobs.export(load_config(config_file, [*options, "Global.export_precision=fp32"]))
    assert report.precisions == read_bundle(report.folder).precisions == {}
    assert not list((tmp_path / "inference").glob(f"{INT8_STEM}.*"))


@pytest.mark.slow
@pytest.mark.usefixtures("int8_instructions", "only_paddle")
def test_what_loses_top1_is_refused_and_leaves_the_folder_as_it_was(
    config_file, options, tmp_path, monkeypatch
):
    before = contents(tmp_path / "inference")
    # Scales that are too small leave nothing of the activations.
    calibrate = sys.modules["ppcls_light.compress.calibrate"]
    monkeypatch.setattr(calibrate, "_observer", lambda seen: lambda *_: seen.append(1e-4))
    with pytest.raises(
        ExportError,
        match=r"no engine passes in int8 \(.*paddle int8: top-1 .* --max-drop allows 0\); nothing was exported",
    ):
        jobs.export(load_config(config_file, options), max_drop=0)
    assert contents(tmp_path / "inference") == before
    log = (tmp_path / "output/export.log").read_text()
    assert "left out: engine openvino needs openvino, which is not installed" in log
    assert "left out: paddle int8: top-1" in log


def test_a_refusal_comes_before_any_work(on_processor, monkeypatch, tmp_path):
    gate = AccuracyGate(Labelled([], [], np.zeros(0)))
    arguments = (nn.Linear(2, 2), tmp_path / "inference", (3, 32, 32), [])
    on_processor("avx2", "avx512f")
    with pytest.raises(DeviceError, match=r"an int8 export needs .*AVX512-VNNI.*, or in fp32"):
        export_model(*arguments, gate=gate)
    on_processor("avx2", "avx512f", "avx512_vnni")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE")
    with pytest.raises(
        DeviceError, match="AVX512-VNNI, AVX-VNNI or AMX, which ONEDNN_MAX_CPU_ISA=AVX512_CORE"
    ):
        export_model(*arguments, gate=gate)


def test_what_cannot_be_compared_is_refused(config_file, tmp_path):
    model = create_model("PPLCNet_x0_25", class_num=3, stride_list=[1, 2, 2, 2, 2])
    write_weights(tmp_path / "w.pdparams", model.state_dict())
    options = [*INT8, f"Global.pretrained_model={tmp_path}/w"]
    with pytest.raises(
        DataError, match="16 images to calibrate int8 with and 11 others to score are too few"
    ):
        jobs.export(load_config(config_file, options))
    with pytest.raises(
        ConfigError, match=r"Global\.export_precision: .*DataLoader\.Eval\.dataset has none here"
    ):
        jobs.export(load_config(config_file, [*options, f"DataLoader.Eval.dataset.image_root={tmp_path}/no"]))
    with pytest.raises(ConfigError, match=r"--max-drop .* add -o Global\.export_precision=int8"):
        jobs.export(load_config(config_file, options[2:]), max_drop=1.0)
    with pytest.raises(ConfigError, match=r"Global\.export_precision: .*Slim\.quant"):
        load_config(config_file, [*options, "Slim.quant.name=pact"])
    assert not (tmp_path / "inference").exists()
