"""Files of known addresses that are downloaded once and kept on this machine."""

from __future__ import annotations

import os
from typing import Callable

from ..errors import UserError
from .cache import OFFLINE_VARIABLE, is_offline
from .download import DownloadError, OtherSumError, download, sole_process
from .files import checksum


def obtain(
    url: str,
    path: str,
    size_mb: int,
    sha256: str = "",
    check: Callable[[str], None] = lambda path: None,
    error: type[UserError] = UserError,
) -> str:
    """Return `path`, a file that is fetched from `url` where it is missing.

    `sha256` or `check`, which raises DownloadError, tells the right file from others; a cut download goes on where it
    ended. Raises `error`: no such file; the message has the address, and the path where the file belongs.
    """
    with sole_process(path, error) as alone:
        try:
            if os.path.isfile(path):
                _require(path, sha256, check, error)
                return path
            if is_offline():
                raise DownloadError(f"{OFFLINE_VARIABLE} is set")
            download(url, path, sha256, check, resumes=alone, error=error)
        except OtherSumError as problem:
            raise error(f"{url}: {problem}; the file is another one, or is damaged on its way") from None
        except DownloadError as problem:
            raise error(
                f"{url}: {problem}; fetch it ({size_mb} MB) on another machine, and put it at {path}"
            ) from None
    return path


def _require(path: str, sha256: str, check: Callable[[str], None], error: type[UserError]) -> None:
    try:
        digest = checksum(path, error)
        if not digest.startswith(sha256):
            raise DownloadError(f"its SHA-256 is {digest}, not {sha256}")
        check(path)
    except DownloadError as problem:
        raise error(f"{path} is not the right file ({problem}); delete it to fetch it again") from None
