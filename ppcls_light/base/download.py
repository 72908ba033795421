"""Download of a file over HTTP(S): resumed after a cut, retried, checked, and renamed into place when it is whole."""

from __future__ import annotations

import contextlib
import errno
import http.client
import logging
import os
import re
import socket
import ssl
import string
import sys
import time
import urllib.error
import urllib.request
from typing import IO, Any, Callable, Iterator
from urllib.parse import quote, urlsplit

from ..errors import UserError
from .files import checksum, hold, temporary_name
from .terminal import progress_bar

logger = logging.getLogger(__name__)

SECONDS = 20.0  # without an answer or a byte
TRIES = 4  # that bring no byte more than the ones before
WAIT = 1.0  # s before the second try; twice as long before each further one
_LONGEST_WAIT = 30.0  # s, whatever a server asks for
_BLOCK = 1 << 18
_TRANSIENT = (408, 416, 425, 429, 500, 502, 503, 504)
_PAGE = re.compile(rb"\s*<(!doctype|html|head|body|\?xml|error)", re.IGNORECASE)


class DownloadError(Exception):
    """One address does not give its file; the text is the reason."""


class OtherSumError(DownloadError):
    """The file that came is not the one whose SHA-256 was given."""


class _CutError(DownloadError):
    """A try that another one may finish, `wait` seconds later if the server says so."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class _StaysEncrypted(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise DownloadError(f"sends on to {newurl}, which is not encrypted")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@contextlib.contextmanager
def sole_process(path: str, error: type[UserError] = UserError) -> Iterator[bool]:
    """Wait until no other process is in this block for the same `path`, and keep it so; a file beside it is the lock.

    The value is False where the file system has no locks, and nobody waits. Raises `error`: the lock cannot be made.
    """
    folder, name = os.path.split(path)
    with contextlib.ExitStack() as stack:
        try:
            os.makedirs(folder, exist_ok=True)
            file = stack.enter_context(open(os.path.join(folder, f".{name}.lock"), "a"))
        except OSError as problem:
            raise error(f"cannot write {path}: {problem.strerror or problem}") from None
        held = hold(file)
        if held is False:
            logger.info("%s: another process is fetching it; waiting", path)
        while held is False:
            time.sleep(0.1)
            held = hold(file)
        yield bool(held)


def download(
    url: str,
    path: str,
    sha256: str = "",
    check: Callable[[str], None] = lambda path: None,
    resumes: bool = True,
    error: type[UserError] = UserError,
) -> str:
    """Write what `url` gives to `path`, and return its SHA-256.

    It has another name until it is whole, has the `sha256` (hex, the first digits suffice; "": any) and `check`, given
    that name, does not raise DownloadError. With `resumes` a later call goes on where this one ended, if the server
    can tell that the file is the same; two processes must not do that at once, see `sole_process`. Proxies are those
    of the environment. On a terminal there is a progress bar.

    Raises DownloadError: the address does not give such a file. `error`: it cannot be written; nothing is left then.
    """
    folder, name = os.path.split(path)
    own = "" if resumes else temporary_name()
    part = _Part(os.path.join(folder, f".part{own}-{name}"), url, error)
    with contextlib.ExitStack() as stack:
        if not resumes:
            stack.callback(part.remove)
        try:
            _fetch(part, name)
            digest = checksum(part.path, error)
            if not digest.startswith(sha256.lower()):
                raise OtherSumError(f"gives a file with the SHA-256 {digest}, not {sha256}")
            check(part.path)
        except _CutError:  # what is there is good
            raise
        except DownloadError:
            part.remove()
            raise
        part.finish(path)
    return digest


def _fetch(part: _Part, name: str) -> None:
    """Fill `part`, over as many tries as it takes while they bring more."""
    most, tries = 0, 0
    while True:
        try:
            with _progress(name) as show:
                _try(part, show)
            return
        except _CutError as cut:
            size = part.size()
            tries, most = (1, size) if size > most else (tries + 1, most)
            if tries >= TRIES:
                raise _CutError(f"{cut} ({tries} times)") from None
            wait = min(cut.wait or WAIT * 2 ** (tries - 1), _LONGEST_WAIT)
            logger.info("%s: %s; trying again in %g s", part.url, cut, wait)
            time.sleep(wait)


def _try(part: _Part, show: Callable[[int, int], None]) -> None:
    start, headers = part.resumed()
    with _open(part, headers) as response:
        start, total = _range(response, start)
        if start == 0:
            part.begin(_version(response))
        elif _version(response) not in ("", headers["If-Range"]):  # the server does not know that header
            part.remove()
            raise _CutError("the file is another one than that of the try before")
        if response.headers.get_content_type() == "text/html":
            raise DownloadError("gives an HTML page instead of a file; is there a login page in between?")
        with part.writing() as write:
            done = start
            for block in _blocks(response):
                if done == 0 and _PAGE.match(block):
                    raise DownloadError("gives a page instead of a file; is there a login page in between?")
                write(block)
                done += len(block)
                show(done, total)
        if total and done != total:
            if done > total:
                part.remove()
            raise _CutError(f"the connection ended after {done} of {total} bytes")


def require_address(url: str) -> None:
    """Raise DownloadError for a `url` that `download` does not ask."""
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True)
    except ValueError:
        known = False
    if not (known and url.isprintable()):
        raise DownloadError("is no address of http or https")
    if "@" in parts.netloc:
        raise DownloadError("has a user name or a password, which would be in the logs; leave them out")


@contextlib.contextmanager
def _open(part: _Part, headers: dict[str, str]) -> Iterator[http.client.HTTPResponse]:
    require_address(part.url)
    headers = {"User-Agent": "ppcls_light", "Accept-Encoding": "identity", **headers}
    request = urllib.request.Request(quote(part.url, safe=string.punctuation), headers=headers)
    try:
        response = urllib.request.build_opener(_StaysEncrypted).open(request, timeout=SECONDS)
    except urllib.error.HTTPError as problem:
        problem.close()
        if problem.code == 416:  # the bytes that are there are not the beginning of the file
            part.remove()
        raise _refusal(problem) from None
    except (
        urllib.error.URLError
    ) as problem:  # before an answer: another source is worth more than another try
        raise DownloadError(_unreachable(problem.reason)) from None
    except (OSError, http.client.HTTPException, ValueError) as problem:
        raise _CutError(_shortly(problem)) from None
    with response:
        yield response


def _refusal(problem: urllib.error.HTTPError) -> DownloadError:
    if problem.code not in _TRANSIENT:
        return DownloadError(f"HTTP {problem.code}")
    wait = problem.headers.get("Retry-After", "")
    return _CutError(f"HTTP {problem.code}", float(wait) if wait.isdecimal() else 0.0)


def _unreachable(reason: object) -> str:
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({reason.verify_message}); SSL_CERT_FILE names those to trust"
    if isinstance(reason, socket.gaierror):
        return "its host is not found; is there a network?"
    return _shortly(reason)


def _shortly(problem: object) -> str:
    if isinstance(problem, (TimeoutError, socket.timeout)):
        return f"no answer for {SECONDS:g} s"
    text = problem.strerror if isinstance(problem, OSError) and problem.strerror else problem
    return " ".join(str(text).split()) or type(problem).__name__


def _blocks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    while True:
        try:
            block = response.read1(_BLOCK)
        except (OSError, http.client.HTTPException) as problem:
            raise _CutError(_shortly(problem)) from None
        if not block:
            return
        yield block


def _range(response: http.client.HTTPResponse, wanted: int) -> tuple[int, int]:
    """Return (first byte that comes, bytes of the whole file; 0 where the server does not say)."""
    if response.status != 206:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else 0
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
    if not match or int(match[1]) != wanted:
        raise DownloadError("answers with another part of the file than was asked for")
    return wanted, int(match[2])


def _version(response: http.client.HTTPResponse) -> str:
    """Return what the server calls this version of the file, if it can tell it from others; else ""."""
    etag = response.headers.get("ETag", "")
    return response.headers.get("Last-Modified", "") if etag.startswith("W/") or not etag else etag


class _Part:
    """The bytes of `url` that are there so far, and, beside them, the version of the file that they are of."""

    def __init__(self, path: str, url: str, error: type[UserError]) -> None:
        self.path, self.url, self._error = path, url, error

    def size(self) -> int:
        return os.path.getsize(self.path) if os.path.isfile(self.path) else 0

    def resumed(self) -> tuple[int, dict[str, str]]:
        """Return (bytes that are there, headers that ask for the rest), or (0, {}) to begin anew."""
        size = self.size()
        with contextlib.suppress(OSError, ValueError):
            with open(self._version_path, encoding="utf-8") as file:
                url, version = file.read().splitlines()
            if size and url == self.url and version:
                return size, {"Range": f"bytes={size}-", "If-Range": version}
        return 0, {}

    def begin(self, version: str) -> None:
        self.remove()
        with self._told(), open(self._version_path, "w", encoding="utf-8") as file:
            file.write(f"{self.url}\n{version}\n")

    @contextlib.contextmanager
    def writing(self) -> Iterator[Callable[[bytes], None]]:
        with contextlib.ExitStack() as stack:
            with self._told():
                file = stack.enter_context(open(self.path, "ab"))
            yield lambda block: self._write(file, block)

    def _write(self, file: IO[bytes], block: bytes) -> None:
        with self._told():
            file.write(block)
            file.flush()

    def finish(self, path: str) -> None:
        with self._told():
            with open(self.path, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(self.path, path)
        self.remove()

    def remove(self) -> None:
        for path in (self.path, self._version_path):
            with contextlib.suppress(OSError):
                os.unlink(path)

    @property
    def _version_path(self) -> str:
        return f"{self.path}.version"

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Turn an OSError into the user's, and leave nothing: a full disk needs its room."""
        try:
            yield
        except OSError as problem:
            self.remove()
            what = "no space is left" if problem.errno == errno.ENOSPC else problem.strerror or problem
            raise self._error(f"cannot write {self.path}: {what}") from None


@contextlib.contextmanager
def _progress(name: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a function `show(bytes, bytes in all)`, which draws a bar if there is a terminal."""
    bar, begin = progress_bar(sys.stderr), time.monotonic()

    def show(done: int, total: int) -> None:
        if bar is not None and total:
            rate = done / max(time.monotonic() - begin, 1e-3) / 1e6
            bar.show(name, done // 1_000_000, max(total // 1_000_000, 1), f"MB, {rate:.1f} MB/s")

    try:
        yield show
    finally:
        if bar is not None:
            bar.end()
