"""The kernels under the sanitizers of addresses and undefined behaviour, and for ARM; compiled without a warning.

They are built for SSE2, AVX2 and AVX-512 (`levels.LEVELS`), and run as far as this processor has them. Those for
64-bit ARM run in an emulator, and without the sanitizers.
"""

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import paddle
import pytest

from ppcls_light.base.machine import processor_flags
from ppcls_light.export.fold.micronet_plan import micronet_steps
from ppcls_light.export.fold.steps import fold
from ppcls_light.ops import build, levels
from ppcls_light.ops.build import BuildError
from ppcls_light.ops.plan import AddHeld, Hold, Linear, Softmax, encode
from tests.ops.test_network import CHANNELS, CLASSES, Draw, changed_integers, reference
from tests.runtime.test_engines import random_network

SANITIZERS = ("-O0", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
WARNINGS = ("-Wall", "-Wextra", "-Werror")
DRIVER = Path(__file__).with_name("sanitize.cc")
NETWORK_DRIVER = Path(__file__).with_name("sanitize_network.cc")


@pytest.fixture(scope="module")
def compiler():
    try:
        return build.compiler()
    except BuildError as problem:
        pytest.skip(str(problem))


@pytest.fixture(scope="module")
def sanitized(compiler, tmp_path_factory):
    """A function: {name of a usable level: path of the program of a driver and of `sources`, with the sanitizers}."""
    folder = tmp_path_factory.mktemp("sanitized")
    (folder / "empty.cc").write_text("int main() {}")
    tried = subprocess.run(
        [compiler, *SANITIZERS, folder / "empty.cc", "-o", folder / "empty"], capture_output=True, text=True
    )
    if tried.returncode or subprocess.run([folder / "empty"], check=False).returncode:
        pytest.skip(f"{compiler} has no sanitizers here: {tried.stderr.strip()[-200:]}")

    def make(driver, sources, *flags):
        command = [compiler, *flags, *SANITIZERS, *WARNINGS, "-I", build.SOURCES / "kernels"]
        paths = [driver, *(build.SOURCES / name for name in sources)]

        def object_of(level, source):
            path = folder / f"{driver.stem}-{level.name}-{source.stem}.o"
            subprocess.run([*command, *level.flags, "-c", source, "-o", path], check=True)
            return path

        with ThreadPoolExecutor(2) as pool:
            objects = {
                level: [pool.submit(object_of, level, path) for path in paths] for level in levels.LEVELS
            }
        programs = {}
        for level, made in objects.items():
            program = folder / f"{driver.stem}-{level.name}"
            subprocess.run([*command, *(one.result() for one in made), "-o", program], check=True)
            if level.needs <= processor_flags():
                programs[level.name] = program
        return programs

    return make


@pytest.fixture(scope="module")
def emulated(tmp_path_factory):
    """A function: path of the program for 64-bit ARM of a driver and of `sources`, which `run` takes."""
    compiler, emulator = shutil.which("aarch64-linux-gnu-g++"), shutil.which("qemu-aarch64")
    if not compiler or not emulator:
        pytest.skip("needs aarch64-linux-gnu-g++ and qemu-aarch64 (Debian: g++-aarch64-linux-gnu, qemu-user)")
    folder = tmp_path_factory.mktemp("emulated")

    def make(driver, sources, *flags):
        # -O3 takes a fifth longer; from -O2 on products and sums are fused.
        command = [compiler, *flags, "-O2", *WARNINGS, "-I", build.SOURCES / "kernels"]
        paths = [driver, *(build.SOURCES / name for name in sources)]
        objects = [folder / f"{driver.stem}-{path.stem}.o" for path in paths]
        with ThreadPoolExecutor(2) as pool:
            compilations = ([*command, "-c", path, "-o", made] for path, made in zip(paths, objects))
            list(pool.map(partial(subprocess.run, check=True), compilations))
        program = folder / driver.stem
        subprocess.run([*command, "-static", *objects, "-o", program], check=True, capture_output=True)
        script = folder / f"{driver.stem}.sh"
        script.write_text(f'#!/bin/sh\nexec "{emulator}" "{program}" "$@"\n')
        script.chmod(0o755)
        return script

    return make


def run(program, *arguments, **environment):
    # The search for leaks needs ptrace, which is often forbidden.
    return subprocess.run(
        [program, *arguments],
        env={"ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


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


@pytest.fixture(scope="module")
def kernels(sanitized):
    """{name of a level: the program that calls every kernel}."""
    return sanitized(DRIVER, build.KERNELS, *build.FLAGS, "-fopenmp")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A function: what a program that calls every kernel computes with a number of threads."""
    path = tmp_path_factory.mktemp("results") / "results"

    def of(program, threads):
        done = run(program, path, OMP_NUM_THREADS=str(threads))
        assert done.stdout == "all kernels ran\n", done.stderr
        return np.fromfile(path, "float32")

    return of


@pytest.fixture(scope="module")
def expected(kernels, results):
    """The results for the first level, which are not of an optimised build."""
    return results(next(iter(kernels.values())), 1)


@pytest.mark.slow
def test_the_kernels_keep_to_their_arrays_and_compute_the_same_for_every_processor(
    kernels, results, expected
):
    first, *others = kernels
    np.testing.assert_array_equal(results(kernels[first], 3), expected)
    for name in others:
        np.testing.assert_allclose(results(kernels[name], 1), expected, rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.slow
@pytest.mark.aarch64
def test_the_kernels_compute_the_same_on_arm(emulated, results, expected):
    found = results(emulated(DRIVER, build.KERNELS, *build.FLAGS, "-fopenmp"), 2)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def write_run(path, plan, images, expected):
    sizes = np.array([len(images), *images.shape[2:], len(plan), expected.size], "int64")
    path.write_bytes(
        b"".join(array.tobytes() for array in (sizes, images, np.frombuffer(plan, "u1"), expected))
    )


@pytest.mark.slow
def test_plans_keep_to_their_arrays_whoever_made_them(sanitized, tmp_path):
    programs = sanitized(NETWORK_DRIVER, levels.SOURCES, *levels.FLAGS).values()
    for number, (steps, batch, height, width) in enumerate(micronets()):
        images = np.random.RandomState(number).standard_normal((batch, 3, height, width)).astype("float32")
        write_run(
            tmp_path / f"{number}.run", encode(steps), images, reference(steps, images).astype("float32")
        )
    for program in programs:
        done = run(program, *sorted(tmp_path.glob("*.run")))
        assert done.stdout == f"{number + 1} plans ran\n", done.stdout + done.stderr
    draw = Draw(0)
    layers = [draw.factorized(12, 6, 12, 2), draw.shift_max(12, 2), draw.pointwise(12, 12, 3)]
    plan = encode([*draw.network(Hold(), *layers, AddHeld()), Softmax()])
    by_hand = [*changed_integers(plan), *(plan[:length] for length in (0, 63, 64, 100, len(plan) - 4))]
    for number, changed in enumerate(by_hand):
        write_run(
            tmp_path / f"{number}.hand", changed, np.zeros((1, 3, 9, 9), "float32"), np.zeros(0, "float32")
        )
    for program in programs:
        done = run(program, *tmp_path.glob("*.hand"))
        assert done.returncode == 0, done.stderr
        assert int(done.stdout.split()[-3]) < len(by_hand) / 2


@pytest.mark.slow
@pytest.mark.aarch64
def test_a_micronet_computes_the_same_on_arm(emulated, tmp_path):
    network = random_network("MicroNet_M0")
    images = np.random.RandomState(0).standard_normal((2, 3, 96, 96)).astype("float32")
    with paddle.no_grad():
        expected = network(paddle.to_tensor(images)).numpy()
    write_run(tmp_path / "run", encode(micronet_steps(fold(network))), images, expected)
    done = run(emulated(NETWORK_DRIVER, levels.SOURCES, *levels.FLAGS), tmp_path / "run")
    assert done.stdout == "1 plans ran\n", done.stdout + done.stderr
