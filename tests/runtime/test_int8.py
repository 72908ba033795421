"""int8 graphs of a folder: found where the export listed them, otherwise one line that says how they are made."""

import shutil

import pytest
import yaml

from ppcls_light.base.files import checksum
from ppcls_light.bundle import read_bundle
from ppcls_light.errors import DeviceError, WeightsError
from ppcls_light.prediction import Predictor
from ppcls_light.runtime.int8 import int8_bundle

MADE_AT_EXPORT = r"int8 is made at export: .* export -o Global\.export_precision=int8"


@pytest.fixture
def folder(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "inference")


def describe(folder, **own):
    path = folder / "inference.yml"
    described = yaml.safe_load(path.read_text())
    described["ppcls_light"].update(own)
    path.write_text(yaml.safe_dump(described, sort_keys=False))
    return read_bundle(folder)


@pytest.mark.parametrize("engine", ["paddle", "onnxruntime", "openvino", "auto"])
def test_a_folder_without_int8_says_how_it_is_made(folder, on_processor, engine):
    on_processor("avx2", "avx512_vnni")
    wanted = "" if engine == "auto" else f" for {engine}"
    with pytest.raises(DeviceError, match=f"inference: no int8 graph{wanted} here; {MADE_AT_EXPORT}"):
        Predictor(folder, engine=engine, precision="int8")
    on_processor("avx2")
    with pytest.raises(
        DeviceError, match=r"int8 needs a processor with AVX512-VNNI.*set Global\.precision=fp32"
    ):
        Predictor(folder, engine=engine, precision="int8")


def test_the_files_of_a_graph_that_is_listed(folder, on_processor):
    on_processor("avx512_vnni")
    for suffix in ("pdmodel", "pdiparams", "xml", "bin"):
        (folder / f"inference.int8.{suffix}").write_bytes(b"of this export")
    files = {name: checksum(folder / name) for name in ("inference.int8.pdmodel", "inference.int8.bin")}
    precisions = {"paddle": {"fp32": 90.0, "int8": 90.0}, "openvino": {"fp32": 90.0, "int8": 89.5}}
    bundle = describe(folder, precisions=precisions, files=files)
    assert bundle.precisions == precisions
    found = int8_bundle(bundle, "paddle")
    assert (found.precision, found.format) == ("int8", "pdmodel")
    assert found.graph_file == str(folder / "inference.int8.pdmodel")
    assert found.params_file == str(folder / "inference.int8.pdiparams")
    assert int8_bundle(bundle, "openvino").onnx_file == str(folder / "inference.int8.xml")
    with pytest.raises(
        DeviceError, match=rf"for onnxruntime here \(only for paddle, openvino\); {MADE_AT_EXPORT}"
    ):
        int8_bundle(bundle, "onnxruntime")
    for engine, name in (("paddle", "inference.int8.pdmodel"), ("openvino", "inference.int8.bin")):
        (folder / name).write_bytes(b"of another export")
        with pytest.raises(WeightsError, match=f"{name} is damaged, or not of the export"):
            int8_bundle(bundle, engine)
        (folder / name).unlink()
        with pytest.raises(WeightsError, match=f"{name}: no such file, though inference.yml lists its graph"):
            Predictor(folder, engine=engine, precision="int8")
