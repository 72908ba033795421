"""Files that no header bounds: the process that decodes them is ended, and the next file gets another one."""

import contextlib
import io
import os
import signal
import struct
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ppcls_light.data.decode import decode_image, image_size
from ppcls_light.data.formats import NoFormatError
from ppcls_light.data.guards import decoder_process
from ppcls_light.errors import DataError

NOISE = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
limited = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limits of Linux")


def encode(image, form, **options):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, form, **options)
    return buffer.getvalue()


def slow_qoi(side=5000):
    """A picture of one pixel a byte: Pillow's reader is a loop in Python."""
    return b"qoif" + struct.pack(">IIBB", side, side, 3, 0) + b"\x55" * (side * side)


def run_length_bmp(side=5000):
    """Runs of one pixel, and another loop in Python."""
    head = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, 0, 0, 0, 256, 0) + bytes(1024)
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + len(head)) + head + b"\1\7" * (side * side)


def tiff(tags, content=b""):
    """A little-endian TIFF of these {tag: value} as 32-bit numbers; an offset of None is that of `content`."""
    start = 8 + 2 + 12 * len(tags) + 4
    entries = [struct.pack("<HHII", tag, 4, 1, start if v is None else v) for tag, v in sorted(tags.items())]
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(entries) + bytes(4) + content


Image.init()


def process_ids():
    return {process.pid for process in decoder_process._idle}


@limited
@pytest.mark.parametrize("data", [slow_qoi, run_length_bmp])
def test_what_takes_too_long_is_given_up(data, monkeypatch):
    data = data()
    assert image_size(data) == (5000, 5000)
    monkeypatch.setattr(decoder_process, "BUDGET", decoder_process.Budget(0.5, 0))
    with pytest.raises(DataError, match="more time than a picture of its size"):
        decode_image(data)
    assert np.array_equal(decode_image(encode(NOISE, "TIFF")), NOISE)


@limited
def test_what_takes_too_much_memory_is_given_up(monkeypatch):
    # 64 x 64 pixels in one tile of 1.6 GB, which no part of the file has to be there for.
    side = 23_168
    tags = {256: 64, 257: 64, 258: 8, 259: 8, 262: 2, 277: 3, 322: side, 323: side, 324: None, 325: 1000}
    data = tiff(tags, b"x\x9c" + bytes(1000))
    before = process_ids()
    with pytest.raises(DataError):
        decode_image(data)
    pixels = np.zeros((2000, 2000, 3), np.uint8)
    monkeypatch.setattr(decoder_process, "BUDGET", decoder_process.Budget(memory=0, memory_of_pixel=0))
    with pytest.raises(DataError, match="memory"):
        decode_image(encode(pixels, "TIFF"))
    monkeypatch.undo()
    assert np.array_equal(decode_image(encode(pixels, "TIFF")), pixels)
    assert len(process_ids() - before) <= 2


def test_one_process_serves_image_after_image_and_survives_what_is_wrong():
    decode_image(encode(NOISE, "TIFF"))
    before = process_ids()
    for _ in range(3):
        assert np.array_equal(decode_image(encode(NOISE, "TIFF")), NOISE)
        assert np.array_equal(decode_image(encode(NOISE, "PPM"), to_rgb=False), NOISE[:, :, ::-1])
        assert image_size(encode(NOISE, "TIFF")) == (56, 40)
        with pytest.raises(DataError, match="damaged"):
            decode_image(encode(NOISE, "TIFF")[:100])
    assert process_ids() == before


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="signals of POSIX")
def test_a_process_that_died_costs_nothing_later():
    decode_image(encode(NOISE, "TIFF"))
    for pid in process_ids():
        os.kill(pid, signal.SIGKILL)
        # Until it is a zombie, it may be asked.
        while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT).si_pid != pid:
            pass
    assert np.array_equal(decode_image(encode(NOISE, "TIFF")), NOISE)


def test_threads_do_not_share_a_process():
    images = [np.full((30 + i % 5, 40, 3), i, np.uint8) for i in range(40)]
    with ThreadPoolExecutor(4) as threads:
        decoded = list(threads.map(decode_image, [encode(image, "TIFF") for image in images]))
    assert all(map(np.array_equal, decoded, images))
    assert 1 <= len(process_ids()) <= 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks of POSIX")
def test_a_forked_process_starts_its_own():
    data = encode(NOISE, "TIFF")
    code = """
import os, sys, numpy as np
from ppcls_light.data.guards import decoder_process
from ppcls_light.data.decode import decode_image
data = sys.stdin.buffer.read()
expected = decode_image(data)
pid = os.fork()
for _ in range(50):
    assert np.array_equal(decode_image(data), expected)
if not pid:
    decoder_process._close_all()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
"""
    subprocess.run([sys.executable, "-c", code], input=data, check=True)


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_it_ends_with_its_caller(number):
    code = """
import sys, time
from ppcls_light.data.guards import decoder_process
from ppcls_light.data.decode import decode_image
decode_image(sys.stdin.buffer.read())
print(decoder_process._idle[0].pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=subprocess.PIPE) as caller:
        caller.stdin.write(encode(NOISE, "TIFF"))
        caller.stdin.close()
        pid = int(caller.stdout.readline())
        caller.send_signal(number)
    deadline = time.monotonic() + 30
    while os.path.exists(f"/proc/{pid}") and "zombie" not in state(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not os.path.exists(f"/proc/{pid}") or "zombie" in state(pid)


def state(pid):
    try:
        with open(f"/proc/{pid}/status") as file:
            return next(line for line in file if line.startswith("State"))
    except (OSError, StopIteration):
        return "zombie"


def test_modules_of_the_working_folder_are_not_run(tmp_path):
    (tmp_path / "numpy.py").write_text("raise SystemExit(1)")
    (tmp_path / "a.tif").write_bytes(encode(NOISE, "TIFF"))
    code = (
        "import sys; sys.path.pop(0); import numpy, ppcls_light.data as d; print(d.read_image('a.tif').shape)"
    )
    root = str(Path(decoder_process.__file__).parents[3])
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "(40, 56, 3)\n", done.stderr


def test_errors_keep_their_kind():
    with pytest.raises(NoFormatError):
        decode_image(b"nothing")
    with pytest.raises(DataError, match="32-bit floats"):
        decode_image(encode(np.ones((4, 4), np.float32), "TIFF"))


def test_damage_of_any_byte_is_a_reason():
    """AVIF raises RuntimeError, TIFF struct.error, ...: whatever it is, it names the file in a row."""
    for form in ("AVIF", "TIFF", "GIF", "QOI", "JPEG2000", "TGA"):
        if form not in Image.SAVE:
            continue
        data = encode(NOISE[:16, :16], form)
        rng = np.random.default_rng(1)
        for place in rng.integers(0, len(data), 60):
            damaged = bytearray(data)
            damaged[place] ^= 1 << rng.integers(8)
            with contextlib.suppress(DataError):
                assert decode_image(bytes(damaged)).shape[2] == 3
