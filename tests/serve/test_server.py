import base64
import contextlib
import io
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.parse
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from PIL import Image

from ppcls_light import Predictor
from ppcls_light.errors import ConfigError
from ppcls_light.serve.server import listen

pytest.importorskip("fastapi", reason="the server needs the extra `serving`")
httpx = pytest.importorskip("httpx", reason="a real HTTP client")

LOAD_TEST = Path(__file__).parents[2] / "deploy" / "serving" / "load_test.py"


def metric(client, name):
    found = re.search(rf"^{re.escape(name)} (\S+)$", client.get("/metrics").text, re.M)
    return float(found[1]) if found else 0.0


def predict(client, *paths, **query):
    return client.post("/predict", files=[("file", (p.name, p.read_bytes())) for p in paths], params=query)


def as_row(expected, name):
    return {key: expected[key] for key in ("class_ids", "scores", "label_names")} | {"file_name": name}


def png_of(width, height):
    """Return a PNG file of a few bytes whose header speaks of this size."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_rows_are_those_of_predictor(client, model, photo):
    paths = [photo(0), photo(1, ".png"), photo(2, ".webp"), photo(1, ".gif")]
    expected = Predictor(model).predict(paths)
    several = predict(client, *paths)
    assert several.status_code == 200
    assert several.json()["results"] == [as_row(row, path.name) for row, path in zip(expected, paths)]
    for path, row in zip(paths, expected):
        assert predict(client, path).json()["results"] == [as_row(row, path.name)]
    texts = [base64.b64encode(path.read_bytes()).decode() for path in paths]
    assert client.post("/predict", json={"images": texts}).json()["results"] == [
        as_row(row, None) for row in expected
    ]
    one = client.post("/predict", json={"image": texts[2], "topk": 1}).json()["results"][0]
    assert one["label_names"] == expected[2]["label_names"][:1] == ["blue"]


def lines_of(data):
    return base64.encodebytes(data).decode()


@pytest.mark.parametrize(
    "encode",
    [
        lines_of,
        lambda data: lines_of(data).replace("\n", "\r\n"),
        lambda data: " \t" + base64.b64encode(data).decode() + "\n",
        lambda data: base64.b64encode(data).decode().rstrip("="),
        lambda data: base64.urlsafe_b64encode(data).decode(),
        lambda data: "data:image/png;base64," + base64.b64encode(data).decode(),
        lambda data: "DATA:image/svg+xml;charset=utf-8;BASE64," + lines_of(data),
        lambda data: "data:;base64," + urllib.parse.quote(base64.b64encode(data).decode(), safe=""),
    ],
)
def test_base64_as_tools_and_browsers_write_it(client, photo, encode):
    data = photo(2, ".png").read_bytes()
    for size in range(3):  # what follows the end of a PNG is nothing, but moves the padding
        text = encode(data + bytes(size))
        answer = client.post("/predict", json={"image": text})
        assert answer.status_code == 200, answer.text
        assert answer.json()["results"][0]["label_names"][0] == "blue"


@pytest.mark.parametrize(
    "text",
    [
        "data:image/png,abcd",
        "data:image/png;base64",
        "aGk",
        "aGkaa",
        "aG=k",
        "aG.k",
        "http://a/b.png",
        "\u00e9",
        None,
        7,
        [],
    ],
)
def test_what_is_no_base64(client, text):
    answer = client.post("/predict", json={"images": [text]})
    if text == "aGk":  # two bytes, without padding
        assert answer.status_code == 415
    else:
        assert answer.status_code == 400
        assert answer.json()["error"].startswith("image 0 is not base64; send")


def test_topk_of_the_request(client, photo):
    assert [len(predict(client, photo(0), topk=k).json()["results"][0]["scores"]) for k in (1, 5, 99)] == [
        *(1, 5, 6)
    ]
    form = client.post("/predict", files={"x": photo(0).read_bytes()}, data={"topk": "2"})
    assert len(form.json()["results"][0]["scores"]) == 2
    for wrong in ("0", "-1", "x", "1.5", "99999999", "0000099999999"):
        refused = predict(client, photo(0), topk=wrong)
        assert refused.status_code == 400
        assert f"not '{wrong}'" in refused.json()["error"]


def test_requests_at_a_time_run_together_and_each_gets_its_own(client, model, photo):
    paths = [photo(index % 3, size=(60 + index, 50)) for index in range(24)]
    expected = [as_row(row, path.name) for row, path in zip(Predictor(model).predict(paths), paths)]
    batches, images = metric(client, "ppcls_batch_size_count"), metric(client, "ppcls_batch_size_sum")
    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(lambda path: predict(client, path).json()["results"][0], paths))
    assert answers == expected
    assert metric(client, "ppcls_batch_size_sum") - images == 24
    assert metric(client, "ppcls_batch_size_count") - batches <= 16


def test_a_bad_file_is_named_and_costs_no_other(client, photo, tmp_path):
    cut, text = tmp_path / "cut.jpg", tmp_path / "notes.pdf"
    cut.write_bytes(photo(0).read_bytes()[:300])
    text.write_bytes(b"%PDF-1.4 no image")
    answer = predict(client, photo(0), cut, photo(1), text)
    content = answer.json()
    assert answer.status_code == 422
    assert content["error"].startswith("cut.jpg: damaged image: ")
    assert [row.get("status", 200) for row in content["results"]] == [200, 422, 200, 415]
    assert content["results"][2]["label_names"][0] == "green"
    assert "JPEG, PNG" in content["results"][3]["error"]
    assert predict(client, text).status_code == 415
    (tmp_path / "empty.png").write_bytes(b"")
    assert predict(client, tmp_path / "empty.png").json()["error"] == (
        "empty.png: the file is empty (0 bytes)"
    )


def test_what_the_other_tools_read_is_answered(client, photo):
    for form in ("GIF", "JPEG2000", "PPM", "ICO"):
        file = io.BytesIO()
        Image.open(photo(1)).convert("RGB").save(file, form)
        answer = client.post("/predict", files={"file": ("a", file.getvalue())})
        assert answer.json()["results"][0]["label_names"][0] == "green", form


def test_files_that_run_programs_in_pillow_are_refused(client):
    file = io.BytesIO()
    Image.new("RGB", (20, 20)).save(file, "EPS")
    answer = client.post("/predict", files={"file": ("a.jpg", file.getvalue())})
    assert answer.status_code == 415


@pytest.mark.parametrize(
    ("size", "status", "words"),
    [
        ((30_000, 30_000), 413, "more than 400,000"),
        ((700, 600), 413, "700 x 600 pixels, more than 400,000"),
        ((9_000, 2), 422, "one side is over 50 times the other"),
        ((20, 20), 422, "damaged image"),
    ],
)
def test_decompression_bombs_and_strips(client, size, status, words):
    answer = client.post("/predict", files={"file": ("bomb.png", png_of(*size))})
    assert answer.status_code == status
    assert answer.json()["error"].startswith("bomb.png: ")
    assert words in answer.json()["error"]


def test_bodies_over_the_limit_with_and_without_a_length(client, photo):
    assert "content-length" in client.build_request("POST", "/predict", content=b"x").headers
    form = {"Content-Type": "multipart/form-data; boundary=b"}
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'

    def chunks(size):
        yield head
        for _ in range(size // 10_000):
            yield bytes(10_000)
        yield b"\r\n--b--\r\n"

    for content in (b"".join(chunks(900_000)), chunks(900_000)):
        answer = client.post("/predict", content=content, headers=form)
        assert answer.status_code == 413
        assert answer.json()["error"].startswith("the request has more than 300,000 bytes")
    assert (
        client.post("/predict", content=chunks(100_000), headers=form).status_code == 415
    )  # zeros, no image
    assert predict(client, *[photo(0)] * 5).status_code == 413
    assert client.post("/predict", json={"images": ["aGk="] * 5}).status_code == 413


def test_every_answer_has_an_id_and_the_headers(client, photo):
    given = client.get("/health", headers={"X-Request-ID": "trace-1.a"})
    assert given.json() == {"status": "alive"}
    assert given.headers["x-request-id"] == "trace-1.a"
    for path in (
        "/health",
        "/",
        "/nothing",
        "/static/page.css",
        "/static/../server.py",
        "/static/%2e%2e/app.py",
    ):
        answer = client.get(path, headers={"X-Request-ID": "a b\tc"})
        assert re.fullmatch("[0-9a-f]{16}", answer.headers["x-request-id"])
        assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'; ")
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.status_code == (404 if path.endswith((".py", "nothing")) else 200)
    answer = predict(client, photo(0))
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert client.get("/predict").status_code == 405


def test_metrics_count_outcomes_and_stages(client, photo):
    names = [
        *('ppcls_requests_total{outcome="ok"}', 'ppcls_requests_total{outcome="wrong_type"}'),
        *('ppcls_stage_seconds_count{stage="decode"}', 'ppcls_stage_seconds_count{stage="total"}'),
    ]
    before = [metric(client, name) for name in names]
    predict(client, photo(0), photo(1))
    client.post("/predict")
    assert [metric(client, name) - old for name, old in zip(names, before)] == [1, 1, 2, 2]
    assert metric(client, "ppcls_queue_images") == 0
    assert metric(client, "ppcls_workers") == 1


def test_the_page_refers_to_this_server_only(client):
    texts = [client.get(path).text for path in ("/", "/static/page.js", "/static/page.css")]
    assert not [link for text in texts for link in re.findall(r"(?:https?:)?//[\w.]+", text)]
    assert "style=" not in texts[0]
    assert ready(client)["engine"] == "paddle"


def ready(client):
    answer = client.get("/ready")
    return answer.json() if answer.status_code == 200 else None


@pytest.mark.slow
def test_a_worker_that_dies_is_started_anew(launch, model, photo):
    with launch.running(model) as server, httpx.Client(base_url=server.url, timeout=30) as client:
        (old,) = server.children()
        os.kill(old, signal.SIGKILL)
        while predict(client, photo(1)).status_code != 200:
            assert client.get("/health").status_code == 200
            time.sleep(0.05)
        assert server.children() != [old]
        assert metric(client, "ppcls_worker_restarts_total") == 1


@pytest.mark.slow
def test_a_full_queue_time_limits_and_draining(launch, model, photo):
    # A batch that cannot fill waits its whole delay, so that the queue is full for as long as the test needs.
    options = ["--queue", 3, "--max-batch", 4, "--max-delay", 2000, "--drain", 1]
    with (
        launch.running(model, *options) as server,
        httpx.Client(base_url=server.url, timeout=30) as client,
        ThreadPoolExecutor(3) as threads,
    ):
        address = ("127.0.0.1", int(server.url.rsplit(":", 1)[1]))
        with socket.create_connection(address) as leaving:
            head = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n"
            leaving.sendall(head + b"Content-Type: application/json\r\n\r\n{")
        first = [threads.submit(predict, client, photo(channel)) for channel in range(3)]
        while metric(client, "ppcls_queue_images") < 3:
            assert not first[0].done()
        full = predict(client, photo(0))
        assert full.status_code == 503
        assert full.headers["retry-after"] == "1"
        idle, begun = (socket.create_connection(address, 30) for _ in range(2))
        begun.sendall(b"GET /health HTTP/1.1\r\nHo")
        server.terminate()
        while ready(client):
            assert not first[0].done()
        assert client.get("/ready").json() == {"ready": False, "status": "draining"}
        assert client.get("/health").headers["connection"] == "close"
        assert idle.recv(1) == b""
        begun.sendall(b"st: a\r\n\r\n")  # the port is closed by now
        answer = b"".join(iter(lambda: begun.recv(4096), b""))
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close" in answer.lower()
        rows = [one.result().json()["results"][0] for one in first]
        assert [row["label_names"][0] for row in rows] == ["red", "green", "blue"]
        code, log = server.end()
        assert code == 0
        assert "Traceback" not in log
        assert re.search(r"request [0-9a-f]{16}: POST 503, \d+\.\d ms", log)
        with pytest.raises(OSError):
            socket.create_connection(address, 1)


@pytest.mark.slow
def test_an_answer_that_comes_too_late_is_504(launch, model, photo):
    options = ["--timeout", 0.2, "--max-batch", 2, "--max-delay", 5000]
    with launch.running(model, *options) as server, httpx.Client(base_url=server.url) as client:
        late = predict(client, photo(0))
        assert late.status_code == 504
        assert late.json()["error"].endswith("no answer within 0.2 s")
        # The late one has left the queue; two that fill a batch are in time, and all that ran.
        assert metric(client, "ppcls_queue_images") == 0
        assert predict(client, photo(0), photo(1)).status_code == 200
        assert metric(client, "ppcls_batch_size_sum") == 2

        def slow():
            yield b"--b\r\n"
            time.sleep(0.6)
            yield b"--b--\r\n"

        form = {"Content-Type": "multipart/form-data; boundary=b"}
        assert client.post("/predict", content=slow(), headers=form).status_code == 408
        server.terminate()
        assert server.end()[0] == 0


def test_errors_of_the_command_line_are_one_line(launch, model, tmp_path):
    def error(*arguments):
        process = launch(*arguments)
        out, lines = process.communicate(timeout=60)
        assert process.returncode == 2
        assert out == ""  # an address is that of a server
        return lines.splitlines()

    (line,) = error("--model", tmp_path / "nothing")
    assert re.match(r"error: .*nothing: no such folder", line)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        (line,) = error("--model", model, "--port", port)
        assert line.startswith(
            f"error: cannot listen on 127.0.0.1 port {port}: Address already in use; choose"
        )
    (line,) = error("--model", model, "--max-connections", 10**9)
    assert re.match(
        r"error: --max-connections 1000000000 needs more open files .* ulimit -n 1000000128", line
    )
    (tmp_path / "token").write_text("two words\n")
    (line,) = error("--model", model, "--token-file", tmp_path / "token")
    assert "a token is one word of ASCII" in line
    assert "two words" not in line
    (line,) = error("--model", model, "--host", "é..x")
    assert line.startswith("error: cannot listen on é..x port 0")
    assert error("--model", model, "--max-batch", "0")[-1].endswith(
        "argument --max-batch: invalid number of at least 1 value: '0'"
    )


@pytest.mark.slow
def test_its_folder_may_have_any_name(launch, model, photo, root, tmp_path):
    """A copy of the folder elsewhere, and another package `deploy` on the way to it."""
    copy = shutil.copytree(root / "deploy" / "serving", tmp_path / "my server")
    (tmp_path / "path" / "deploy").mkdir(parents=True)
    (tmp_path / "path" / "deploy" / "__init__.py").write_text("")
    path = os.pathsep.join([str(tmp_path / "path"), str(root)])
    with launch.running(model, script=copy / "server.py", path=path) as server:
        with httpx.Client(base_url=server.url, timeout=30) as client:
            assert predict(client, photo(1)).json()["results"][0]["label_names"][0] == "green"
            os.kill(server.children()[0], signal.SIGKILL)  # the next worker finds its modules, too
            while predict(client, photo(1)).status_code != 200:
                time.sleep(0.05)
        server.terminate()
        assert server.end()[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize("recorded", [True, False])
def test_a_folder_without_a_resize(launch, model, photo, tmp_path, recorded):
    folder = shutil.copytree(model, tmp_path / "inference")
    content = yaml.safe_load((folder / "inference.yml").read_text())
    ops = content["PreProcess"]["transform_ops"]
    ops[:] = [op for op in ops if "ResizeImage" not in op and "CropImage" not in op]
    if not recorded:
        del content["ppcls_light"]["image_shape"]
    (folder / "inference.yml").write_text(yaml.safe_dump(content))
    with launch.running(folder) as server, httpx.Client(base_url=server.url, timeout=30) as client:
        assert ready(client)["classes"] == 6
        fits = predict(client, photo(1, ".png", (32, 32)))
        assert fits.json()["results"][0]["label_names"][0] == "green"
        other = predict(client, photo(1))
        assert other.status_code == (422 if recorded else 200)


@pytest.mark.parametrize("package", ["fastapi", "uvicorn", "prometheus_client", "multipart"])
def test_a_package_that_is_missing_is_named(launch, model, package, tmp_path):
    hide = "import sys\n" + "".join(
        f"sys.modules[{name!r}] = None\n" for name in (package, f"python_{package}")
    )
    (tmp_path / "sitecustomize.py").write_text(hide)
    out, log = launch("--model", model, path=tmp_path).communicate(timeout=60)
    assert re.fullmatch(
        rf"error: serving needs the package (python-)?{package}: pip install .*serving.*\n", log
    )
    assert out == ""


def test_the_process_that_answers_clients_has_nothing_of_its_workers_in_memory(root):
    own = {f"ppcls_light.{name}" for name in ("config.tree", "data.decode", "prediction.predictor")}
    code = f"import sys, ppcls_light.serve.app; print(sorted({own} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_bodies_do_not_wait_until_headers_are_acknowledged(host):
    with contextlib.ExitStack() as open_sockets:
        try:
            listening = open_sockets.enter_context(listen(host, 0))
        except ConfigError:
            pytest.skip(f"this machine has no {host}")
        open_sockets.enter_context(socket.create_connection(listening.getsockname()[:2]))
        connection = open_sockets.enter_context(listening.accept()[0])
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def load_test(*arguments):
    command = [sys.executable, str(LOAD_TEST), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_load_test_loses_nothing_and_stays_on_this_machine(server, client):
    before = metric(client, 'ppcls_requests_total{outcome="ok"}')
    done = load_test("--url", server.url, "--clients", "8", "--requests", "48", "--rounds", "1")
    assert done.returncode == 0, done.stderr
    assert re.search(r"server +48 answered, 0 lost, 0 different; .* p99 \d+", done.stdout)
    assert metric(client, 'ppcls_requests_total{outcome="ok"}') - before == 48 + 2 * 8
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    done = load_test(
        "--url", f"http://127.0.0.1:{port}", "--clients", "2", "--requests", "4", "--rounds", "1"
    )
    assert done.returncode == 1
    assert done.stdout.split() == ["server", "0", "answered,", "4", "lost,", "0", "different"]
    elsewhere = load_test("--url", "http://192.0.2.1:8080")
    assert elsewhere.returncode == 1
    assert elsewhere.stderr == "error: 192.0.2.1 is not this machine; add --remote if you may load it\n"
