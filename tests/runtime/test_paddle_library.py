import subprocess
import sys

import pytest

from ppcls_light.runtime import paddle_library

# Paddle is imported after the predictor was made and has run, trains, and both go on.
AFTERWARDS = """
import sys
import numpy as np
from ppcls_light.prediction import Predictor
predictor = Predictor(sys.argv[1])
images = np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype("float32")
before = predictor.run(images)
assert not {"paddle", "paddle.base", "paddle.nn"} & set(sys.modules), "all of Paddle was imported"
import paddle
from paddle import inference
assert inference.Config is sys.modules["ppcls_light.runtime.paddle_engine"].inference.Config
layer = paddle.nn.Linear(3, 2)
layer(paddle.ones([1, 3])).sum().backward()
assert layer.weight.grad.numpy().tolist() == [[1, 1]] * 3
assert (predictor.run(images) == before).all()
assert (Predictor(sys.argv[1]).run(images) == before).all()
"""

UNKNOWN_FLAG_IS_NO_MATTER = {"FLAGS_no_such_flag": "1", "FLAGS_use_mkldnn": "0", "OMP_NUM_THREADS": "1"}


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the whole of Paddle is imported")
def test_paddle_can_be_imported_later(exported, root, monkeypatch):
    for name, value in UNKNOWN_FLAG_IS_NO_MATTER.items():
        monkeypatch.setenv(name, value)
    done = subprocess.run(
        [sys.executable, "-c", AFTERWARDS, str(exported)],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    if "all of Paddle was imported" in done.stderr and paddle_library.load().cuda:
        pytest.skip("this Paddle is built for GPUs, which takes all of it")
    assert done.returncode == 0, done.stderr


def test_a_flag_of_the_environment_reaches_the_library(root):
    code = (
        "import sys; from ppcls_light.runtime import paddle_library; paddle_library.load(); "
        "print(sys.modules['paddle.base.libpaddle'].globals()['FLAGS_check_nan_inf'])"
    )
    for value in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=root,
            env={"PATH": "", "FLAGS_check_nan_inf": value},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == str(value == "1")


def test_of_an_imported_paddle_it_is_the_same():
    import paddle
    from paddle import inference

    library = paddle_library.load()
    assert library.Config is inference.Config
    assert library.create_predictor is inference.create_predictor
    assert library.version == paddle.__version__
    assert library.cuda is paddle.is_compiled_with_cuda()
