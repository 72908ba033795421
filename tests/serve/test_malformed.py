"""Requests that are not as described, and charsets, boundaries and paths of all kinds."""

import pytest

pytest.importorskip("fastapi", reason="the server needs the extra `serving`")
pytest.importorskip("httpx", reason="a real HTTP client")


@pytest.mark.parametrize(
    ("request_", "status", "words"),
    [
        ({"content": b"\xff\xd8", "headers": {"Content-Type": "image/jpeg"}}, 415, "multipart/form-data"),
        ({}, 415, "multipart/form-data"),
        ({"content": b"{", "headers": {"Content-Type": "application/json"}}, 400, "not JSON"),
        ({"content": b"[" * 90_000, "headers": {"Content-Type": "application/json"}}, 400, "not JSON"),
        ({"json": []}, 400, '{"image": base64}'),
        ({"json": {"image": "a", "images": []}}, 400, '{"image": base64}'),
        ({"json": {"images": []}}, 400, "no image"),
        ({"json": {"images": "aGk="}}, 400, "must be a list"),
        ({"json": {"images": ["aGk=", 7]}}, 400, "image 1 is not base64"),
        ({"json": {"image": "../../etc/passwd"}}, 400, "image 0 is not base64"),
        ({"json": {"image": "aGk=", "top": 3}}, 400, "unknown key 'top'"),
        ({"json": {"image": "aGk=", "topk": True}}, 400, "topk must be"),
        ({"data": {"path": "/etc/passwd"}, "files": {"f": b"x"}}, 400, "unknown field 'path'"),
        (
            {"content": b"x", "headers": {"Content-Type": "multipart/form-data"}},
            400,
            "",
        ),  # the parser's words
    ],
)
def test_malformed_requests_are_one_line(client, request_, status, words):
    answer = client.post("/predict", **request_)
    assert answer.status_code == status
    assert words in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


def form_of(data, name="a.jpg", charset=""):
    """Return what `client.post` takes of one file in a form whose header names this charset."""
    head = f'--b\r\nContent-Disposition: form-data; name="f"; filename="{name}"\r\n\r\n'.encode()
    kind = {"Content-Type": f"multipart/form-data; boundary=b{charset}"}
    return {"content": head + data + b"\r\n--b--\r\n", "headers": kind}


@pytest.mark.parametrize(
    "charset",
    [
        *("punycode", "idna", "undefined", "raw_unicode_escape", "unicode_escape", "utf-7", "utf-16", "mbcs"),
        *(
            "rot13",
            "base64",
            "zip",
            "hex",
            "nothing",
            "",
            '"',
            "../../os",
            "a" * 5000,
            "\xe9",
            "utf-8\xad",
        ),
    ],
)
def test_charsets_that_are_not_read_are_one_line(client, photo, charset):
    for parameter in (f"; charset={charset}", f"; charset*=punycode''{charset}"):
        form = form_of(photo(0).read_bytes(), "\\ud800-.jpg", parameter)
        kind = {"Content-Type": f"application/json{parameter}".encode("latin-1")}
        form["headers"]["Content-Type"] = form["headers"]["Content-Type"].encode("latin-1")
        for answer in (
            client.post("/predict", **form),
            client.post("/predict", content=b'{"image": "aGk="}', headers=kind),
        ):
            assert answer.status_code == 415
            assert "send the text as UTF-8" in answer.json()["error"]


def test_charsets_that_are_read(client, photo):
    for charset in ("", "; charset=utf-8", '; charset="UTF-8"', "; charset=us-ascii", "; charset=ISO-8859-1"):
        answer = client.post("/predict", **form_of(photo(0).read_bytes(), charset=charset))
        assert answer.json()["results"][0]["file_name"] == "a.jpg"
    utf8 = client.post("/predict", **form_of(photo(0).read_bytes(), "\u732b.jpg"))
    assert utf8.json()["results"][0]["file_name"] == "\u732b.jpg"


@pytest.mark.parametrize("boundary", ["", '""', "a\xe9", '"a\\"b"', "b" * 201, None])
def test_boundaries_that_are_none(client, photo, boundary):
    form = form_of(photo(0).read_bytes())
    kind = "multipart/form-data" + ("" if boundary is None else f"; boundary={boundary}")
    answer = client.post(
        "/predict", content=form["content"], headers={"Content-Type": kind.encode("latin-1")}
    )
    assert answer.status_code == 400
    assert "\n" not in answer.json()["error"]


@pytest.mark.parametrize("path", ["/predict/", "/health/", "/static", "/static/%00", "/x"])
def test_no_path_redirects(client, path):
    for method in ("GET", "POST"):
        answer = client.request(method, path, headers={"Host": "evil.example"})
        assert answer.status_code in (404, 405)
        assert "evil" not in answer.text + str(answer.headers)
        assert answer.json().keys() == {"error"}
