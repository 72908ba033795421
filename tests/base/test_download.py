"""Downloads from a server that cuts, stalls and lies: the whole file, or none and a reason."""

import hashlib
import io
import os
import re
import subprocess
import sys
import threading

import pytest

from ppcls_light.base import download as module
from ppcls_light.base.download import DownloadError, download, sole_process
from ppcls_light.errors import WeightsError

DATA = bytes(range(256)) * 4000
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def server(file_server, monkeypatch):
    monkeypatch.setattr(module, "WAIT", 0.01)
    file_server.files["/m.bin"] = DATA
    file_server.url = f"{file_server.address}/m.bin"
    return file_server


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_arrives_whole_under_its_own_name(server, tmp_path):
    assert download(server.url, str(tmp_path / "m.bin"), SHA[:8]) == SHA
    assert (tmp_path / "m.bin").read_bytes() == DATA
    assert names(tmp_path) == ["m.bin"]


def test_after_a_cut_only_the_rest_is_asked_for(server, tmp_path):
    server.faults["/m.bin"] = [server.kinds.cut(300_000), None]
    assert download(server.url, str(tmp_path / "m.bin")) == SHA
    assert server.asked == [("/m.bin", None), ("/m.bin", "bytes=300000-")]


def test_a_later_process_goes_on_too_if_the_file_is_still_the_same(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TRIES", 1)
    path = str(tmp_path / "m.bin")
    for first, changed in ((1000, False), (2000, True)):
        server.faults["/m.bin"] = [server.kinds.cut(first)]
        with pytest.raises(DownloadError, match=f"ended after {first} of 1024000 bytes"):
            download(server.url, path)
        assert not (tmp_path / "m.bin").exists()
        if changed:
            server.files["/m.bin"] = DATA[::-1]
        download(server.url, path)
        assert server.asked[-1] == ("/m.bin", f"bytes={first}-")
        assert (tmp_path / "m.bin").read_bytes() == server.files["/m.bin"]
        (tmp_path / "m.bin").unlink()


def test_without_a_version_nothing_is_glued_together(server, tmp_path):
    server.validates = False

    def nameless_cut(handler, content):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content[:5000])

    server.faults["/m.bin"] = [nameless_cut, None]
    assert download(server.url, str(tmp_path / "m.bin")) == SHA
    assert server.asked == [("/m.bin", None), ("/m.bin", None)]


def test_cuts_that_bring_nothing_more_end_it(server, tmp_path):
    server.faults["/m.bin"] = [server.kinds.cut(0)] * 9
    with pytest.raises(DownloadError, match=r"ended after 0 of 1024000 bytes \(4 times\)"):
        download(server.url, str(tmp_path / "m.bin"))
    assert len(server.asked) == 4


def test_cuts_that_each_bring_some_do_not(server, tmp_path):
    def more(handler, content):
        start = int((handler.headers.get("Range") or "bytes=0-")[6:-1])
        handler.send_response(206 if start else 200)
        handler.send_header("ETag", '"v"')
        handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        handler.send_header("Content-Length", str(len(content) - start))
        handler.end_headers()
        handler.wfile.write(content[start : start + 150_000])

    server.faults["/m.bin"] = [more] * 7
    assert download(server.url, str(tmp_path / "m.bin")) == SHA
    assert len(server.asked) == 7


@pytest.mark.parametrize(("code", "requests"), [(404, 1), (403, 1), (503, 2), (429, 2)])
def test_only_what_passes_is_tried_again(server, tmp_path, code, requests):
    server.faults["/m.bin"] = [server.kinds.status(code, Retry_After="0"), None]
    if requests == 1:
        with pytest.raises(DownloadError, match=f"^HTTP {code}$"):
            download(server.url, str(tmp_path / "m.bin"))
    else:
        assert download(server.url, str(tmp_path / "m.bin")) == SHA
    assert len(server.asked) == requests


def test_a_server_that_is_silent_is_not_waited_for(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SECONDS", 0.1)
    server.faults["/m.bin"] = [server.kinds.late(0.4, server.answer), None]
    assert download(server.url, str(tmp_path / "m.bin")) == SHA
    server.faults["/m.bin"] = [server.kinds.late(0.4, server.answer)] * 9
    with pytest.raises(DownloadError, match=r"no answer for 0.1 s \(4 times\)"):
        download(server.url, str(tmp_path / "n.bin"))


@pytest.mark.parametrize(
    ("body", "kind", "reason"),
    [
        (b"hello", "text/html", "HTML page"),
        (b"\n <!DOCTYPE html><html>log in</html>", "application/octet-stream", "login page"),
        (b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code></Error>', "binary/octet-stream", "a page instead"),
        (DATA[:-1], "application/octet-stream", f"not {SHA}"),
    ],
)  # fmt: skip
def test_other_bytes_are_refused_and_do_not_stay(server, tmp_path, body, kind, reason):
    server.faults["/m.bin"] = [server.kinds.bare(body, kind)]
    with pytest.raises(DownloadError, match=reason):
        download(server.url, str(tmp_path / "m.bin"), SHA)
    assert names(tmp_path) == []


def test_a_file_that_fails_its_check_does_not_stay(server, tmp_path):
    def check(path):
        raise DownloadError("no weights")

    with pytest.raises(DownloadError, match="no weights"):
        download(server.url, str(tmp_path / "m.bin"), check=check)
    assert names(tmp_path) == []


def test_an_old_part_that_is_no_beginning_of_the_file_starts_anew(server, tmp_path):
    (tmp_path / ".part-m.bin").write_bytes(DATA + b"more")
    (tmp_path / ".part-m.bin.version").write_text(f'{server.url}\n"x"\n')
    server.faults["/m.bin"] = [server.kinds.status(416), None]
    assert download(server.url, str(tmp_path / "m.bin")) == SHA


def test_a_rest_of_another_version_is_not_glued_to_the_first_bytes(server, tmp_path):
    def rest(handler, content):  # of a server that does not know If-Range
        handler.send_response(206)
        handler.send_header("ETag", '"another"')
        handler.send_header("Content-Range", f"bytes 300000-{len(content) - 1}/{len(content)}")
        handler.end_headers()
        handler.wfile.write(content[:-300_001:-1])

    server.faults["/m.bin"] = [server.kinds.cut(300_000), rest, None]
    assert download(server.url, str(tmp_path / "m.bin")) == SHA
    assert [given for _, given in server.asked] == [None, "bytes=300000-", None]


def test_signs_that_an_address_cannot_have_are_quoted(server, tmp_path):
    server.files["/%C3%A4%20b.bin?c=%2F"] = DATA
    assert download(f"{server.address}/ä b.bin?c=%2F", str(tmp_path / "m.bin")) == SHA


def test_encryption_is_not_given_up_by_a_redirect():
    handler = module._StaysEncrypted()
    request = module.urllib.request.Request("https://a.example/m")
    with pytest.raises(DownloadError, match=r"http://b\.example/m, which is not encrypted"):
        handler.redirect_request(request, io.BytesIO(), 302, "Found", {}, "http://b.example/m")
    assert handler.redirect_request(request, io.BytesIO(), 302, "Found", {}, "https://b.example/m")


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/hostname",
        "ftp://example.com/m",
        "http://[",
        "https:///m",
        "https://a:b/m",
        "https://a/\0",
        "https://a/b\nc",
    ],
)
def test_other_schemes_are_refused(url, tmp_path):
    with pytest.raises(DownloadError, match="no address of http or https"):
        download(url, str(tmp_path / "m"))


def test_a_host_that_is_not_there_is_said_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(DownloadError, match="its host is not found; is there a network"):
        download("http://nowhere.invalid/m.bin", str(tmp_path / "m.bin"))
    with pytest.raises(DownloadError, match="refused"):
        download("http://127.0.0.1:9/m.bin", str(tmp_path / "m.bin"))


def test_the_proxy_of_the_environment_is_used(server, tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("http_proxy", server.address)
    server.files["http://weights.example/m.bin"] = DATA
    assert download("http://weights.example/m.bin", str(tmp_path / "m.bin")) == SHA


def test_a_full_disk_is_one_line_and_leaves_nothing(server, tmp_path, monkeypatch):
    class Full(io.FileIO):
        def write(self, block):
            if self.tell() > 400_000:
                raise OSError(28, "No space left on device")
            return super().write(block[:100_000])

    def on_full_disk(path, mode="r", **options):
        return io.BufferedWriter(Full(path, mode[0])) if mode == "ab" else open(path, mode, **options)

    monkeypatch.setattr(module, "open", on_full_disk, raising=False)
    with pytest.raises(WeightsError, match=r"^cannot write .*\.part-m\.bin: no space is left$"):
        download(server.url, str(tmp_path / "m.bin"), error=WeightsError)
    assert names(tmp_path) == []


def test_one_process_at_a_time_and_the_others_wait(tmp_path):
    order, inside = [], threading.Event()

    def second():
        inside.wait()
        with sole_process(str(tmp_path / "m")):
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with sole_process(str(tmp_path / "m")) as held:
        inside.set()
        thread.join(0.3)
        order.append("first")
    thread.join()
    assert held in (True, False)
    assert order == (["first", "second"] if held else ["second", "first"])


SCRIPT = """
import os, sys
from ppcls_light.base.download import download, sole_process
url, path = sys.argv[1:]
with sole_process(path):
    if not os.path.exists(path):
        download(url, path)
"""


def test_of_two_processes_one_asks_and_both_have_the_file(server, tmp_path, root):
    server.faults["/m.bin"] = [server.kinds.late(0.5, server.answer)]
    command = [sys.executable, "-c", SCRIPT, server.url, str(tmp_path / "m.bin")]
    both = [
        subprocess.Popen(command, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}) for _ in range(2)
    ]
    assert [process.wait(60) for process in both] == [0, 0]
    assert server.asked == [("/m.bin", None)]
    assert (tmp_path / "m.bin").read_bytes() == DATA


def test_a_terminal_sees_a_bar_and_nothing_else_does(server, tmp_path, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    for stream in (terminal, io.StringIO()):
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setenv("TERM", "xterm")
        download(server.url, str(tmp_path / "m.bin"))
    assert re.search(r"m\.bin \[#+\] 1/1 MB, \d+\.\d MB/s", terminal.getvalue())
    assert terminal.getvalue().endswith("\r\x1b[K")
    assert stream.getvalue() == ""
