"""Global.engine and Global.precision, and the flags of predict_cls.py that are short for them."""

import subprocess
import sys

import pytest

from ppcls_light.errors import ConfigError
from ppcls_light.prediction.deploy import predictor_from_config, read_deploy_config


def predict_cls(root, model, images, *flags):
    script = root / "deploy" / "python" / "predict_cls.py"
    paths = [f"Global.inference_model_dir={model}", f"Global.infer_imgs={images}"]
    command = [sys.executable, str(script), "-o", *paths, *flags]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--engine", "tensorflow"], ["Global.engine", "tensorflow", "onnxruntime"]),
        (["--precision", "int4"], ["Global.precision", "int4", "bf16"]),
        (["--engine", "onnxruntime", "--precision", "fp16"], ["onnxruntime"]),
        (["--precision", "int8"], ["no int8 graph for paddle", "tools/export_model.py"]),
        (
            ["--precision", "auto", "--labels", "l.txt"],
            ["--labels", "tools/export_model.py", "--max-drop 0.5"],
        ),
        (["--image-root", "photos"], ["error: --image-root has no use here", "leave it out"]),
        (["--max-drop", "1.0"], ["error: --max-drop has no use here", "leave it out"]),
        (["-o", "Global.labels=l.txt"], ["error: -o Global.labels=l.txt: Global.labels has no use here"]),
        (["-o", "Global.infer_imgs="], ["Global.infer_imgs is not set"]),
    ],
)
def test_a_bad_flag_is_one_line(run_tool, capfd, model, images, flags, words):
    paths = [f"Global.inference_model_dir={model}", f"Global.infer_imgs={images}"]
    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        run_tool("../deploy/python/predict_cls", "-o", *paths, *flags)
    out, err = capfd.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert len(err.splitlines()) == 1
    for word in words:
        assert word in err


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_other_engines_print_the_same_rows(root, model, images, engine):
    pytest.importorskip(engine, reason=f"the extra of engine {engine} is not installed")
    pytest.importorskip("paddle2onnx", reason="the extra onnx is not installed")
    plain, other = (predict_cls(root, model, images, "-q", *flags) for flags in ([], ["--engine", engine]))
    assert (other.returncode, other.stdout) == (0, plain.stdout), other.stderr
    assert other.stdout.count("\n") == 3


def test_fp16_twice_and_fp16_against_another(root, model):
    path = root / "deploy" / "configs" / "inference_cls.yaml"
    given = [f"Global.inference_model_dir={model}", "Global.infer_imgs=x", "Global.use_fp16=true"]
    with pytest.raises(
        ConfigError, match=r"Global\.precision=bf16 and Global\.use_fp16=True exclude each other"
    ):
        predictor_from_config(read_deploy_config(path, [*given, "Global.precision=bf16"]))
