"""int8 by calibration at export: a folder with its change in top-1, or a refusal that leaves what was there."""

import os
import sys

import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls_light import Predictor, jobs
from ppcls_light.bundle import read_bundle
from ppcls_light.config import load_config
from ppcls_light.errors import ConfigError, DataError, DeviceError, ExportError
from ppcls_light.export import export_model
from ppcls_light.export.post_training import export_calibrated
from ppcls_light.models import create_model
from ppcls_light.weights import write_weights

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
        f"Global.save_inference_dir={tmp_path}/inference/int8",
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("int8_instructions")
def test_int8_is_exported_with_its_change_in_top1_or_not_at_all(
    config_file, options, photos, tmp_path, monkeypatch
):
    config = load_config(config_file, options)
    report = jobs.export(config, max_drop=100)
    assert (report.precision, report.format) == ("int8", "pdmodel")
    sizes = [os.path.getsize(tmp_path / "inference" / name / "inference.pdiparams") for name in ("", "int8")]
    assert sizes[1] < 0.5 * sizes[0]
    assert read_bundle(tmp_path / "inference").weights == read_bundle(report.folder).weights != ""
    log = (tmp_path / "output/export.log").read_text()
    # The labels are fp32's own answers; 26 training images are in the list too, and 16 of them calibrated.
    assert "int8, calibrated on 16 other images: top-1 " in log
    assert "100.00 % in fp32) on 21 images" in log
    # Beside the network in float it is what precision int8 runs.
    paths = sorted((photos / "val").iterdir())
    of_folder, by_precision = (
        [row["scores"][:2] for row in Predictor(*folder, precision=precision).predict(paths)]
        for folder, precision in (([report.folder], "fp32"), ([tmp_path / "inference"], "int8"))
    )
    assert of_folder == by_precision

    before = {path.name: path.read_bytes() for path in (tmp_path / "inference/int8").iterdir()}
    # Scales that are too small leave nothing of the activations.
    calibrate = sys.modules["ppcls_light.compress.calibrate"]
    monkeypatch.setattr(calibrate, "_observer", lambda seen: lambda *_: seen.append(1e-4))
    with pytest.raises(ExportError, match=r"int8 loses .* \(--max-drop\); nothing was exported"):
        jobs.export(config, max_drop=0)
    assert {path.name: path.read_bytes() for path in (tmp_path / "inference/int8").iterdir()} == before


def test_a_refusal_comes_before_calibration(on_processor, monkeypatch):
    on_processor("avx2", "avx512f", "avx512_vnni")
    with pytest.raises(
        ExportError, match=r"export the network in fp32 \(without Global\.export_precision=int8"
    ):
        export_calibrated(None, None, None, [], None, onnx=True)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE")
    with pytest.raises(
        DeviceError, match="AVX512-VNNI, AVX-VNNI or AMX, which ONEDNN_MAX_CPU_ISA=AVX512_CORE"
    ):
        export_calibrated(None, None, None, [], None)


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
