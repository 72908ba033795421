"""Clients that mean ill, over raw sockets, against a server with a few places and short limits."""

import contextlib
import os
import socket
import time

import pytest

pytest.importorskip("fastapi", reason="the server needs the extra `serving`")
httpx = pytest.importorskip("httpx", reason="a real HTTP client")
fairness = pytest.importorskip("ppcls_light.serve.fairness", reason="the server needs the extra `serving`")

TOKEN = "7c4a8d09"
HEADERS = {"Authorization": f"Bearer {TOKEN}", "Host": "photos.example"}
HALF_HEAD = b"POST /predict HTTP/1.1\r\nHost: photos.example\r\nX-Slow: "
SLOW_BODY = (
    b"POST /predict HTTP/1.1\r\nHost: photos.example\r\nAuthorization: Bearer 7c4a8d09\r\n"
    b"Content-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
)
OPEN_FILES = 256  # 128 connections


@pytest.fixture(scope="module")
def strict(launch, model):
    # Half a batch waits its whole delay, so that one image is in the queue for as long as a test needs.
    options = [
        *("--queue", 4, "--max-batch", 2, "--max-delay", 60_000, "--timeout", 50),
        *("--header-timeout", 2, "--keep-alive", 1, "--max-bytes", 100_000),
        *("--allowed-hosts", "photos.example,*.photos.example", "--trusted-proxies", "127.0.0.1"),
    ]
    with launch.running(model, *options, token=TOKEN, open_files=OPEN_FILES) as one:
        yield one
        one.terminate()
        code, log = one.end()
    assert code == 0
    assert "Traceback" not in log
    lines = [line for line in log.splitlines() if "request " not in line]
    assert len(lines) < 10, lines


@pytest.fixture
def ask(strict):
    with httpx.Client(base_url=strict.url, timeout=40, headers=HEADERS) as client:
        yield client


@pytest.fixture
def sockets(strict):
    """sockets(count, data, source) -> connections from that address that have sent this."""
    with contextlib.ExitStack() as stack:

        def connect(count, data, source="127.0.0.1"):
            address = ("127.0.0.1", int(strict.url.rsplit(":", 1)[1]))
            made = []
            for _ in range(count):
                one = socket.create_connection(address, 20, (source, 0))
                made.append(stack.enter_context(one))
                with contextlib.suppress(ConnectionError):  # it gave way to the next one
                    one.sendall(data)
            return made

        yield connect


def read(connection):
    """Return what comes until the server closes."""
    parts = []
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(65_536):
            parts.append(part)
    return b"".join(parts)


def two(ask, photo):
    """Classify two photos, a full batch."""
    return ask.post("/predict", files=[("file", photo(channel).read_bytes()) for channel in (0, 1)])


def metric(ask, name):
    found = [line for line in ask.get("/metrics").text.splitlines() if line.startswith(f"{name} ")]
    return float(found[0].split()[1]) if found else 0.0


def test_half_heads_beyond_the_limit_of_open_files_keep_nobody_out(strict, ask, sockets, photo):
    slow = sockets(OPEN_FILES + 50, HALF_HEAD)
    with httpx.Client(base_url=strict.url, timeout=20, headers=HEADERS) as fresh:
        assert two(fresh, photo).status_code == 200
    assert len(os.listdir(f"/proc/{strict.process.pid}/fd")) < OPEN_FILES
    assert {read(one) for one in slow} == {b""}  # each has its end, though it goes on to send nothing


@pytest.mark.parametrize("sent", [b"", b"GET /health HTTP/1.1\r\nHost: photos.example\r\n\r\n"])
def test_idle_connections_end(sockets, sent):
    (one,) = sockets(1, sent)
    answer = read(one)
    assert answer.startswith(b"HTTP/1.1 200 ") if sent else answer == b""


def test_bytes_now_and_then_do_not_hold_a_connection(sockets):
    """After an answer, too; every byte would end uvicorn's own time limit."""
    (one,) = sockets(1, b"GET /health HTTP/1.1\r\nHost: photos.example\r\n\r\nGET /")
    with contextlib.suppress(ConnectionError):
        for _ in range(600):
            one.sendall(b"a")
            time.sleep(0.05)
        pytest.fail("it is still open after half a minute")


def test_slow_bodies_of_one_client_leave_places_for_others(strict, ask, sockets, photo):
    slow = sockets(100, SLOW_BODY)  # 8 places
    transport = httpx.HTTPTransport(local_address="127.0.0.2")
    with httpx.Client(base_url=strict.url, timeout=20, headers=HEADERS, transport=transport) as other:
        assert two(other, photo).status_code == 200
    forwarded = {**HEADERS, "X-Forwarded-For": "192.0.2.1"}
    with httpx.Client(base_url=strict.url, timeout=20, headers=forwarded) as behind_a_proxy:
        assert two(behind_a_proxy, photo).status_code == 200
    # The same address: those that take long give way.
    while (answer := two(ask, photo)).status_code != 200:
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
    statuses = {read(one)[9:12] for one in slow}
    assert statuses <= {b"503", b"408", b""}  # the last ones gave way to other connections
    assert b"408" in statuses  # some lived to be found too slow, long before --timeout


def test_the_work_of_a_client_that_has_left_is_not_begun(ask, sockets, photo):
    names = ["ppcls_batch_size_sum", 'ppcls_requests_total{outcome="client_left"}']
    before = [metric(ask, name) for name in names]
    request = httpx.Request(
        "POST", "http://photos.example/predict", headers=HEADERS, files={"f": photo(0).open("rb")}
    )
    head = "".join(f"{key}: {value}\r\n" for key, value in request.headers.items())
    (one,) = sockets(1, f"POST /predict HTTP/1.1\r\n{head}\r\n".encode() + request.read())
    while metric(ask, "ppcls_queue_images") != 1:
        time.sleep(0.01)
    one.close()
    while metric(ask, "ppcls_queue_images") != 0:
        time.sleep(0.01)
    assert two(ask, photo).status_code == 200
    assert [metric(ask, name) - old for name, old in zip(names, before)] == [2, 1]


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        *(("photos.example", True), ("PHOTOS.example:8080", True), ("a.photos.example", True)),
        *(("localhost", True), ("127.0.0.1:1", True), ("[::1]:80", True)),
        *(("evil.example", False), ("evilphotos.example", False), ("photos.example.evil", False)),
        *(("[::1", False), ("", False), ("a@evil.example", False)),
    ],
)
def test_hosts(ask, host, allowed):
    answer = ask.get("/health", headers={"Host": host})
    assert answer.status_code == (200 if allowed else 400)
    assert allowed or answer.json() == {"error": "this server does not go by that name (Host)"}


@pytest.mark.parametrize("given", ["", f"Bearer {TOKEN}x", "Bearer", f"Basic {TOKEN}", TOKEN, "Bearer é"])
def test_the_bearer_token(ask, given):
    headers = {"Authorization": given.encode("latin-1")}
    for refused in (
        ask.post("/predict", content=bytes(200_000), headers=headers),
        ask.get("/metrics", headers=headers),
    ):
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == "Bearer"
        assert refused.json() == {"error": "send the header Authorization: Bearer TOKEN"}
    for path in ("/", "/health", "/ready", "/docs", "/openapi.json", "/static/page.js"):
        assert ask.get(path, headers=headers).status_code == 200


def test_openapi_says_where_the_token_is_asked_for(ask):
    paths = ask.get("/openapi.json").json()["paths"]
    asking = {path for path, methods in paths.items() for one in methods.values() if one.get("security")}
    assert asking == {"/predict", "/metrics"}


def test_clients_and_the_busiest_of_them():
    client_of = fairness.client_of
    assert client_of("192.0.2.1") == client_of("::ffff:192.0.2.1") != client_of("192.0.2.2")
    assert client_of("2001:db8::1") == client_of("2001:db8::ffff:1") != client_of("2001:db8:0:1::1")
    assert client_of("unknown") == "unknown"
    assert fairness.first_of_the_busiest({1: "a", 2: "b", 3: "b", 4: "a", 5: "b"})[0] == 2
    assert fairness.first_of_the_busiest({})[0] is None
