"""The kernels under the sanitizers of addresses and undefined behaviour, compiled without a warning."""

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from ppcls_light.ops import build
from ppcls_light.ops.plan import AddHeld, Hold, Linear, Softmax, encode
from tests.ops.test_micronet import CHANNELS, CLASSES, Draw, reference

DRIVER = Path(__file__).parent / "sanitize.cc"
SANITIZERS = ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
WARNINGS = ("-Wall", "-Wextra", "-Werror")


@pytest.fixture(scope="module")
def compiler():
    found = next(filter(None, map(shutil.which, build.COMPILERS)), None)
    if found is None:
        pytest.skip("there is no C++ compiler")
    return found


@pytest.fixture(scope="module")
def sanitized(compiler, tmp_path_factory):
    """The path of a program that calls every kernel."""
    folder = tmp_path_factory.mktemp("sanitized")
    command = [compiler, *build.FLAGS, *build.kernel_flags(), *SANITIZERS]
    (folder / "empty.cc").write_text("int main() {}")
    tried = subprocess.run(
        [*command, folder / "empty.cc", "-o", folder / "empty"], capture_output=True, text=True, check=False
    )
    if tried.returncode or subprocess.run([folder / "empty"], check=False).returncode:
        pytest.skip(f"{compiler} has no sanitizers here: {tried.stderr.strip()[-200:]}")

    def object_of(source):
        path = folder / f"{source.stem}.o"
        subprocess.run(
            [*command, *WARNINGS, "-I", build.SOURCES / "kernels", "-c", source, "-o", path], check=True
        )
        return path

    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(object_of, [DRIVER, *(build.SOURCES / name for name in build.KERNELS)]))
    subprocess.run([*command, *objects, "-o", folder / "kernels"], check=True)
    return folder / "kernels"


def micronets():
    """Yield (steps, batch, height, width) that take every step, planes narrower and wider than a vector, and teams."""
    draw = Draw(0)
    layers = [draw.factorized(12, 12, 12, 12), draw.shift_max(12, 2), draw.pointwise(12, 12)]
    shortcuts = [Hold(), *layers, AddHeld()]
    head = [Linear(draw.array(CLASSES, 5), draw.array(5)), Softmax()]
    yield [*draw.network(*shortcuts, relu6=True), *head], 1, 20, 24
    yield draw.network(draw.shift_max(12, 1), draw.pointwise(12, 60, 3), draw.pointwise(60, 12, 12)), 3, 5, 5
    for kernel, stride in (((3, 3), (2, 2)), ((7, 7), (1, 3)), ((5, 3), (16, 16))):
        step = draw.factorized(CHANNELS, 12, 24, 12, kernel, stride)
        yield draw.network(step, draw.pointwise(24, CHANNELS)), 2, 33, 40


@pytest.mark.slow
def test_the_kernels_keep_to_their_arrays_and_to_defined_behaviour(sanitized, tmp_path):
    for number, (steps, batch, height, width) in enumerate(micronets()):
        images = np.random.RandomState(number).standard_normal((batch, 3, height, width)).astype("float32")
        (plan, weights, _), expected = encode(steps), reference(steps, images).astype("float32")
        sizes = np.array([batch, height, width, plan.size, weights.size, expected.size], "int64")
        arrays = (sizes, plan, weights, images, expected)
        (tmp_path / f"{number}.run").write_bytes(b"".join(array.tobytes() for array in arrays))
    for threads in ("1", "3"):
        done = subprocess.run(
            [sanitized, *sorted(tmp_path.glob("*.run"))],
            env={
                "OMP_NUM_THREADS": threads,
                "ASAN_OPTIONS": "detect_leaks=0",
            },  # needs ptrace, often forbidden
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout == "all kernels ran\n", done.stderr
