"""Image lists from a folder, a text file or a parquet column of paths and URLs, and download of URLs."""

from __future__ import annotations

import http.client
import os
import socket
import time
import urllib.error
import urllib.request

from ..base.files import open_plain
from ..data.scan import find_images
from ..errors import ConfigError, DataError, DeviceError

COLUMNS = ("path", "url", "image", "file_name")
_CHUNK = 1 << 16


def read_names(source: str, column: str | None = None) -> tuple[str, list[str]]:
    """Return (root, names) of the images that `source` names, in a fixed order.

    `source` is a folder (searched recursively), a .parquet file, or a text file with one path or URL per line; `column`
    is of the parquet file, None: the first of path, url, image and file_name that it has. Names are as listed; relative
    ones belong to the folder `root`, an absolute path.

    Raises:
        DataError: nothing there, no images in it, or it cannot be read.
        ConfigError: the parquet file has no such column of text.
        DeviceError: pyarrow is not installed.
    """
    if os.path.isdir(source):
        return os.path.abspath(source), [os.path.relpath(path, source) for path in find_images(source)]
    if not os.path.isfile(source):
        raise DataError(f"{source}: no such folder, list or parquet file; give one with --input")
    names = _parquet_column(source, column) if source.lower().endswith(".parquet") else _lines(source)
    if not names:
        raise DataError(f"{source}: names no images; write one path or URL a line")
    return os.path.dirname(os.path.abspath(source)), names


def _lines(path: str) -> list[str]:
    try:
        with open_plain(path, mode="r", encoding="utf-8-sig", errors="surrogateescape") as file:
            return [line.strip() for line in file if line.strip()]
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}; give another --input") from None


def _parquet_column(path: str, column: str | None) -> list[str]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise DeviceError(
            f'{path}: parquet needs pyarrow, which is not installed; pip install "ppcls_light[batch]"'
        ) from None
    try:
        file = parquet.ParquetFile(path)
        present = file.schema_arrow.names
        column = column or next((name for name in COLUMNS if name in present), None)
        if column not in present:
            raise ConfigError(
                f"{path}: no column '{column or 'path'}', only: {', '.join(present)}; give --column"
            )
        values = file.read([column]).column(0).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:  # OSError: a page of it is damaged
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: not a parquet file, or a damaged one ({reason}); write it again") from None
    wrong = next((index for index, value in enumerate(values) if not isinstance(value, str)), None)
    if wrong is not None:
        raise ConfigError(f"{path}: row {wrong} of column '{column}' is {values[wrong]!r}, not a path or URL")
    return values


def is_url(name: str) -> bool:
    """Return whether `name` has a scheme; a file that is called so can be listed with ./ before it."""
    return "://" in name


def fetch(url: str, seconds: float, max_bytes: int) -> bytes:
    """Return the content of `url` within `seconds`; http and https only, redirects included.

    Raises DataError: the reason, without the URL; also for an answer longer than `max_bytes`.
    """
    if not url.lower().startswith(("http://", "https://")):
        raise DataError("only http and https are fetched")
    deadline, data = time.monotonic() + seconds, bytearray()
    try:
        with _opener().open(url, timeout=seconds) as response:
            while chunk := response.read1(_CHUNK):
                data += chunk
                if len(data) > max_bytes:
                    raise DataError(f"longer than {max_bytes} bytes")
                if time.monotonic() > deadline:
                    raise TimeoutError
    except urllib.error.HTTPError as error:
        raise DataError(f"HTTP {error.code} {error.reason}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)  # URLError wraps the cause
        if isinstance(reason, (TimeoutError, socket.timeout)):  # one and the same from Python 3.10 on
            raise DataError(f"no whole answer within {seconds:g} s") from None
        raise DataError(f"cannot be fetched: {reason or type(reason).__name__}") from None
    return bytes(data)


def _opener() -> urllib.request.OpenerDirector:
    # urllib's own opener would follow a redirect to ftp
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener
