"""deploy/batch: every image becomes one row, whatever dies on the way."""

import collections
import contextlib
import importlib
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import paddle
import pytest

from ppcls_light.bundle.folder import write_inference_yml
from ppcls_light.config.postprocess import Topk
from ppcls_light.errors import ConfigError, DataError, DeviceError
from ppcls_light.export.static import save_static
from ppcls_light.models import create_model
from ppcls_light.prediction import Predictor

SIZE = 32


@pytest.fixture
def module():
    """Import a module of the job by its name."""
    return lambda name: importlib.import_module(f"ppcls_light.prediction.{name}")


@pytest.fixture(autouse=True)
def _signals_as_found():
    """Undo what Ray does to this process."""
    found = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in found.items():
        signal.signal(number, handler)


@pytest.fixture
def inference(tmp_path):
    """An exported network that tells pictures apart."""
    paddle.seed(1)
    model, folder = create_model("PPLCNet_x0_25", class_num=7), tmp_path / "inference"
    model.fc.weight.set_value(np.random.default_rng(0).normal(0, 3, model.fc.weight.shape).astype("float32"))
    model.eval()
    folder.mkdir()
    save_static(model, folder, (3, SIZE, SIZE))
    ops = [("ResizeImage", {"size": SIZE}), ("NormalizeImage", {"scale": 1 / 255, "order": ""})]
    write_inference_yml(
        folder, ops, Topk(topk=2), None, {"arch": "PPLCNet_x0_25", "image_shape": [3, SIZE, SIZE]}
    )
    return folder


def picture(seed):
    cells = np.random.default_rng(seed).integers(0, 256, (4, 5, 3)).astype("uint8")
    return cv2.imencode(".png", cv2.resize(cells, (60, 40)))[1].tobytes()


class Photos(ThreadingHTTPServer):
    """Answers /<seed>.png; from `held_from` on only after `release` is set."""

    daemon_threads = True

    def __init__(self, held_from=1 << 30):
        self.held_from, self.release = held_from, threading.Event()
        self.asked, self.waiting, self.lock = collections.Counter(), 0, threading.Lock()
        super().__init__(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):
        """Nobody is there any more to hear the answer."""


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        server, name = self.server, self.path[1:].split(".")[0]
        if name == "elsewhere":
            self.send_response(302)
            self.send_header("Location", "ftp://127.0.0.1/photo.png")
            self.end_headers()
            return
        if not name.isdigit():
            self.send_error(404)
            return
        with server.lock:
            server.asked[int(name)] += 1
            server.waiting += int(name) >= server.held_from
        if int(name) >= server.held_from:
            server.release.wait(60)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(picture(int(name)))

    def log_message(self, *args):
        """Say nothing."""


@contextlib.contextmanager
def serving(server):
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.release.set()
        server.shutdown()
        server.server_close()
        thread.join()


def classify(root, *arguments):
    return subprocess.Popen(
        [sys.executable, root / "deploy/batch/classify.py", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def rows_of(folder):
    parts = sorted(folder.glob("part-*.jsonl"))
    return [json.loads(line) for path in parts for line in path.read_text().splitlines()]


def test_names_of_a_folder_a_list_and_a_parquet_file(module, tmp_path, caplog):
    read_names = module("sources").read_names
    for name in ("b.png", "sub/a.jpg", "notes.md"):
        (tmp_path / "photos/sub").mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).write_bytes(b"")
    assert read_names(tmp_path / "photos") == (str(tmp_path / "photos"), ["b.png", "sub/a.jpg"])
    assert caplog.messages == [f"{tmp_path / 'photos'}: left out 1 file that is no image (.md; notes.md)"]
    (tmp_path / "list.txt").write_text("photos/b.png\n\nhttp://host/c.jpg\r\n")
    assert read_names(str(tmp_path / "list.txt")) == (str(tmp_path), ["photos/b.png", "http://host/c.jpg"])
    with pytest.raises(DataError, match="no such folder, list or parquet file"):
        read_names(str(tmp_path / "absent"))

    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow: the extra batch")
    pyarrow = pytest.importorskip("pyarrow")
    path = str(tmp_path / "table.parquet")
    parquet.write_table(pyarrow.table({"id": [1, 2], "url": ["a.jpg", "http://host/b.jpg"]}), path)
    assert read_names(path) == (str(tmp_path), ["a.jpg", "http://host/b.jpg"])
    with pytest.raises(ConfigError, match="no column 'link', only: id, url; give --column"):
        read_names(path, "link")
    with pytest.raises(ConfigError, match="row 0 of column 'id' is 1, not a path or URL"):
        read_names(path, "id")
    (tmp_path / "no.parquet").write_text("text")
    with pytest.raises(DataError, match="not a parquet file"):
        read_names(str(tmp_path / "no.parquet"))
    page = tmp_path / "page.parquet"
    parquet.write_table(pyarrow.table({"url": ["a.jpg"]}), str(page))
    page.write_bytes(page.read_bytes()[:4] + b"\xff" * 40 + page.read_bytes()[44:])
    with pytest.raises(DataError, match=r"page\.parquet: not a parquet file, or a damaged one"):
        read_names(str(page))


def test_parquet_without_pyarrow_and_a_list_that_cannot_be_read_are_one_line(module, tmp_path, monkeypatch):
    read_names = module("sources").read_names
    (tmp_path / "a.parquet").write_text("text")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DeviceError, match=r"a\.parquet: parquet needs pyarrow"):
        read_names(str(tmp_path / "a.parquet"))
    with pytest.raises(DataError, match="/proc/self/mem: cannot be read"):
        read_names("/proc/self/mem")


def test_a_url_gives_bytes_or_the_reason(module):
    fetch = module("sources").fetch
    with serving(Photos(held_from=5)) as server:
        assert fetch(f"{server.url}/3.png", 10, 10_000) == picture(3)
        for url, reason in (
            (f"{server.url}/none.png", "HTTP 404 Not Found"),
            (f"{server.url}/3.png", "longer than 100 bytes"),
            (f"{server.url}/5.png", "no whole answer within 0.2 s"),
            (f"{server.url}/elsewhere.png", "cannot be fetched: unknown url type: ftp"),
            ("file:///etc/hostname", "only http and https are fetched"),
            ("http://127.0.0.1:x/", "cannot be fetched: nonnumeric port"),
        ):
            with pytest.raises(DataError, match=reason):
                fetch(url, 0.2 if "/5" in url else 10, 100)


def test_a_folder_of_another_job_is_refused(module, tmp_path):
    parts = module("rows").Parts(str(tmp_path), "jsonl", 2, 3)
    parts.claim(["a", "b", "c"], [])
    parts.claim(["a", "b", "c"], [])
    assert parts.missing() == [0, 1]
    parts.write(1, [{"id": 2, "file_name": "c", "error": "not an image"}])
    assert parts.missing() == [0]
    with pytest.raises(
        ConfigError, match=r"_job\.json: this folder has rows of another job \(list differs\)"
    ):
        parts.claim(["a", "b", "d"], [])
    job = json.loads((tmp_path / "_job.json").read_text())
    del job["precision"]  # as earlier versions wrote it, which had fp32 alone
    (tmp_path / "_job.json").write_text(json.dumps(job))
    with pytest.raises(ConfigError, match=r"rows of another job \(precision differs\)"):
        parts.claim(["a", "b", "c"], [], "int8")
    parts.claim(["a", "b", "c"], [])


@pytest.mark.parametrize("content", [b"", b"{bad", b"[]", b"null", b"\xff"])
def test_a_damaged_job_file_is_one_line_and_stays(module, tmp_path, content):
    (tmp_path / "_job.json").write_bytes(content)
    with pytest.raises(ConfigError, match=r"_job\.json: damaged.*another --output"):
        module("rows").Parts(str(tmp_path), "jsonl", 2, 3).claim(["a", "b", "c"], [])
    assert (tmp_path / "_job.json").read_bytes() == content


def test_settings_that_are_wrong_are_one_line(root, inference, tmp_path):
    for arguments, reason in (
        (["--model", tmp_path, "--input", inference], "no images in this folder"),
        (["--model", tmp_path / "no", "--input", inference / "inference.yml"], "no: no such folder"),
        (["--model", inference, "--input", inference / "inference.yml", "--precision", "int8"], "int8"),
    ):
        process = classify(root, *arguments, "--output", tmp_path / "rows")
        _, err = process.communicate()
        assert process.returncode == 2
        assert reason in err.splitlines()[-1]
        assert "Traceback" not in err


def test_a_cluster_that_is_not_there_is_one_line(root, inference, tmp_path):
    pytest.importorskip("ray.data", reason="needs Ray: the extra batch")
    (tmp_path / "list.txt").write_text("a.png\n")
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        process = classify(
            root,
            *["--model", inference, "--input", tmp_path / "list.txt", "--output", tmp_path / "rows"],
            *["--address", address],
        )
        _, err = process.communicate()
    assert process.returncode == 2
    assert f"--address {address}: no Ray cluster there" in err.splitlines()[-1]


@pytest.mark.slow
def test_a_second_run_makes_what_is_missing(module, root, inference, tmp_path):
    pytest.importorskip("ray.data", reason="needs Ray: the extra batch")
    parquet = pytest.importorskip("pyarrow.parquet")
    (tmp_path / "photos").mkdir()
    for index in range(5):
        (tmp_path / "photos" / f"{index}.png").write_bytes(picture(index))
    (tmp_path / "photos/3.png").write_text("no picture")
    rows = tmp_path / "rows"
    kept = module("rows").Parts(str(rows), "parquet", 2, 5)
    rows.mkdir()
    kept.write(0, [{"id": index, "file_name": "made before"} for index in (0, 1)])
    options = ["--format", "parquet", "--part-size", 2, "--workers", 1]
    process = classify(root, "--model", inference, "--input", tmp_path / "photos", "--output", rows, *options)
    out, err = process.communicate()
    assert process.returncode == 1, err
    assert out.startswith("2 of 5 images classified now, 1 failed; rows in ")
    table = parquet.read_table(rows).sort_by("id").to_pylist()
    assert [row["id"] for row in table] == list(range(5))
    assert [row["file_name"] for row in table] == ["made before", "made before", "2.png", "3.png", "4.png"]
    assert "not an image" in table[3]["error"]
    for row in (table[2], table[4]):
        (expected,) = Predictor(inference).predict([picture(row["id"])])
        assert row["class_ids"] == expected["class_ids"]
        np.testing.assert_allclose(row["scores"], expected["scores"], atol=2e-5)


@pytest.mark.slow
def test_every_row_comes_out_once_though_a_node_is_killed(root, inference, tmp_path):
    pytest.importorskip("ray.data", reason="needs Ray: the extra batch")
    from ray.cluster_utils import Cluster

    count, size = 40, 4
    # a killed node is missed after a second, not after Ray's fifteen
    noticed = {"health_check_period_ms": 300, "health_check_failure_threshold": 3}
    cluster = Cluster(
        initialize_head=True,
        # nobody reads the logs, and the cluster keeps its size
        head_node_args={
            "num_cpus": 1,
            "include_dashboard": False,
            "include_log_monitor": False,
            "no_monitor": True,
            "_system_config": noticed,
        },
    )
    try:
        doomed = cluster.add_node(num_cpus=1, include_log_monitor=False)
        with serving(Photos(held_from=8)) as server:
            names = [f"{server.url}/{index}.png" for index in range(count)]
            names[1], names[2] = f"{server.url}/gone.png", "broken.png"
            (tmp_path / "broken.png").write_text("no picture")
            (tmp_path / "list.txt").write_text("\n".join(names))
            process = classify(
                root,
                *["--model", inference, "--input", tmp_path / "list.txt", "--output", tmp_path / "rows"],
                *["--part-size", size, "--address", cluster.address, "--timeout", 60],
            )
            # one CPU a node, so two parts in the making are one on each node
            deadline = time.monotonic() + 120
            while server.waiting < 2 * size and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            assert server.waiting == 2 * size
            cluster.remove_node(doomed, allow_graceful=False)
            server.release.set()
            out, err = process.communicate(timeout=120)
            asked = server.asked
    finally:
        cluster.shutdown()
    assert process.returncode == 1, err
    last = out.splitlines()[-1]  # above it Ray says that a node has ended
    assert last.startswith(f"{count - 2} of {count} images classified now, 2 failed")
    assert max(asked.values()) > 1  # the part of the killed node was made again
    rows = rows_of(tmp_path / "rows")
    assert [row["id"] for row in rows] == list(range(count))
    assert [row["file_name"] for row in rows] == names
    assert rows[1]["error"] == "HTTP 404 Not Found"
    assert "broken.png: not an image" in rows[2]["error"]
    good = [index for index in range(count) if index not in (1, 2)]
    expected = Predictor(inference).predict([picture(index) for index in good])
    assert len({row["class_ids"][0] for row in expected}) > 1
    for index, row in zip(good, expected):
        assert rows[index]["class_ids"] == row["class_ids"]
