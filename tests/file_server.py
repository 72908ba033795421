"""HTTP server of the files of a test, on this machine, that fails as it is told."""

import contextlib
import hashlib
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer:
    """`files` are {path: bytes}; `faults` {path: [fault of the first request, of the second, ...]}, None for none.

    A fault is a function of (handler, content) that answers in the place of the server. `asked` has the (path, Range)
    of every request.
    """

    def __init__(self):
        self.files, self.faults, self.asked = {}, {}, []
        self.validates = True  # with an ETag, and the rest of a file on request
        own = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                own.asked.append((self.path, self.headers.get("Range")))
                faults = own.faults.get(self.path)
                fault = faults.pop(0) if faults else None
                with contextlib.suppress(ConnectionError):
                    (fault or own.answer)(self, own.files.get(self.path))

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def answer(self, handler, content):
        if content is None:
            return status(404)(handler, content)
        mark, given = f'"{hashlib.sha256(content).hexdigest()[:8]}"', handler.headers.get("Range")
        start = 0
        if given and self.validates and handler.headers.get("If-Range") == mark:
            start = int(given[len("bytes=") : -1])
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if self.validates:
            handler.send_header("ETag", mark)
        handler.send_header("Content-Length", str(len(content) - start))
        handler.end_headers()
        handler.wfile.write(content[start:])
        return None


def status(code, **headers):
    def fault(handler, _):
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return fault


def cut(count):
    """Say the whole length and end the connection after `count` bytes."""

    def fault(handler, content):
        handler.send_response(200)
        handler.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()[:8]}"')
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content[:count])

    return fault


def bare(body, content_type="application/octet-stream"):
    """Answer with `body`, and say no length."""

    def fault(handler, _):
        handler.send_response(200)
        handler.send_header("Content-Type", content_type)
        handler.end_headers()
        handler.wfile.write(body)

    return fault


def late(seconds, then):
    """Wait before the answer of `then`."""

    def fault(handler, content):
        time.sleep(seconds)
        return then(handler, content)

    return fault
