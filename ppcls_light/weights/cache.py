"""Files of published weights on this machine, fetched where they are missing.

| place | content |
|---|---|
| PPCLS_LIGHT_HOME, or `~/.cache/ppcls_light/weights` | FILE, and FILE.sha256 as `sha256sum -c` reads it |
| its folder `urls` | the same of addresses that are not in the table |
| `~/.paddleclas/weights` | PaddleClas' and PaddleX's downloads, which are read, never written |

A file whose SHA-256 nobody knows is trusted when it is first seen, and compared with that from then on.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import tempfile
from dataclasses import replace
from typing import Callable, NamedTuple, Sequence
from urllib.parse import urldefrag

from ..base.cache import HOME_VARIABLE, OFFLINE_VARIABLE, cache_folder, is_offline, is_set
from ..base.download import DownloadError, OtherSumError, download, require_address, sole_process
from ..base.files import checksum, write_text
from ..errors import WeightsError
from .convert import FORMATS
from .published import HUGGING_FACE, MIRROR_VARIABLE, Source, source_at

logger = logging.getLogger(__name__)

PADDLECLAS = os.path.join("~", ".paddleclas", "weights")


class Found(NamedTuple):
    """A file of weights on this machine."""

    path: str
    origin: str  # address, or the reason why it is there; "" for a file that the user named
    sha256: str
    ema: bool = False  # the weights meant are the moving average in it


class NotFetchedError(WeightsError):
    """No address gives the file, and it is not on this machine."""


class _CacheError(WeightsError):
    """The folder of the weights cannot be written."""


def home() -> str:
    """Return the folder of the weights."""
    return os.path.abspath(os.path.expanduser(os.environ.get(HOME_VARIABLE) or cache_folder("weights")))


def obtain(
    name: str, sources: Sequence[Source], check: Callable[[str], None], size_mb: float | None = None
) -> Found:
    """Return the file of the first of `sources` that has one: on this machine, or else fetched.

    `check` raises WeightsError for a file that holds no weights; that one is not kept. `name` and `size_mb` are for
    messages.

    Raises NotFetchedError: no source gives a file; the message has the addresses and the path where the file belongs.
    WeightsError: a file is not the one that was there before.
    """
    for source in sources:
        found = _in_home(source, check) or _in_paddleclas(source, check)
        if found:
            return found
    failed = []
    for source in sources:
        try:
            return _fetch(name, source, check)
        except DownloadError as reason:
            failed.append(f"{_shown(source.address)}: {reason}")
            logger.info("%s: %s", name, failed[-1])
        except _CacheError as problem:
            raise WeightsError(f"{problem}; {HOME_VARIABLE} names another folder") from None
    size = f" ({size_mb:g} MB)" if size_mb else ""
    paths = [_path(home(), source) for source in sources]
    raise NotFetchedError(
        f"{name}: no weights: {'; '.join(failed)}; fetch {'one of them' if paths[1:] else 'it'}{size} on another "
        f"machine, and put it at {' or '.join(paths)}"
    )


def from_url(url: str, check: Callable[[str], None]) -> Found:
    """Return the file at `url`, which may end in `#sha256=HEX`, as `obtain` does."""
    try:
        require_address(url)
    except DownloadError as problem:
        raise WeightsError(f"{_shown(url)} {problem}") from None
    address, fragment = urldefrag(url)
    known = source_at(address)
    if fragment and not re.fullmatch(r"sha256=[0-9a-fA-F]{64}", fragment):
        raise WeightsError(
            f"{url}: after # there may be sha256= and the 64 digits of the file's SHA-256; got {fragment}"
        )
    source = known or Source(address, in_table=False)
    if not source.file.endswith(FORMATS):
        raise WeightsError(
            f"cannot tell the format of {url}; its name should end in one of {', '.join(FORMATS)}"
        )
    if fragment:
        source = replace(source, sha256=fragment[len("sha256=") :].lower())
    return obtain(address, [source], check)


def _shown(address: str) -> str:
    """Return `address` without a password."""
    return re.sub("//[^/]*@", "//", address)


def seen(source: Source, check: Callable[[str], None]) -> str:
    """Return the SHA-256 of the file that `source` gives now, fetched anew and not kept. Raises DownloadError."""
    wanted = source.known
    _require_allowed(source, wanted)
    with tempfile.TemporaryDirectory() as folder:
        return download(source.address, os.path.join(folder, source.file), wanted, _checked(check))


def _path(folder: str, source: Source) -> str:
    if source.in_table:
        return os.path.join(folder, source.file)
    own = hashlib.sha256(source.url.encode()).hexdigest()[:12]  # others may give their files the same name
    return os.path.join(folder, "urls", own, source.file)


def _in_home(source: Source, check: Callable[[str], None]) -> Found | None:
    path = _path(home(), source)
    if not os.path.isfile(path):
        return None
    digest, wanted = checksum(path, WeightsError), _known(source, path)
    if not digest.startswith(wanted):
        meant = "" if source.known else f", or {path}.sha256 if the change is meant"
        raise WeightsError(
            f"{path} is not the file that it was: its SHA-256 is {digest}, not {wanted}; delete it to fetch it "
            f"again{meant}"
        )
    if not wanted:
        check(path)
    _remember(path, digest)
    return Found(path, f"kept for {source.url}", digest, source.ema)


def _in_paddleclas(source: Source, check: Callable[[str], None]) -> Found | None:
    folder = os.path.expanduser(PADDLECLAS)
    path = os.path.join(folder, source.file)
    if not (source.in_table and os.path.isfile(path)):
        return None
    digest, wanted = checksum(path, WeightsError), _known(source, _path(home(), source))
    if not digest.startswith(wanted):
        logger.warning("%s: not taken, its SHA-256 is %s, not %s", path, digest, wanted)
        return None
    try:
        if not wanted:
            check(path)
    except WeightsError as problem:
        logger.warning("not taken: %s", problem)
        return None
    _remember(_path(home(), source), digest)
    return Found(path, f"PaddleClas' cache {folder}", digest, source.ema)


def _fetch(name: str, source: Source, check: Callable[[str], None]) -> Found:
    address, path = source.address, _path(home(), source)
    wanted = _known(source, path)
    _require_allowed(source, wanted)
    with sole_process(path, _CacheError) as alone:
        found = _in_home(source, check)  # another process may have been faster
        if found:
            return found
        logger.info("%s: fetching %s to %s", name, address, path)
        try:
            digest = download(address, path, wanted, _checked(check), resumes=alone, error=_CacheError)
        except OtherSumError as problem:
            if source.known:
                raise
            fix = f"the one first seen; delete {path}.sha256 if the change is meant"
            raise DownloadError(f"{problem}, {fix}") from None
        _remember(path, digest)
    return Found(path, address, digest, source.ema)


def _checked(check: Callable[[str], None]) -> Callable[[str], None]:
    """Return `check` as `download` wants it."""

    def checked(part: str) -> None:
        try:
            check(part)
        except WeightsError as problem:
            reason = str(problem).replace(f"{part}: ", "").replace(part, "it")
            raise DownloadError(f"gives no weights: {reason}") from None

    return checked


def _require_allowed(source: Source, wanted: str) -> None:
    """Raise DownloadError, with the reason, for an address that is not to be asked."""
    require_address(source.address)
    if is_offline():
        raise DownloadError(f"{OFFLINE_VARIABLE} is set")
    if source.url.startswith(f"{HUGGING_FACE}/") and is_set("HF_HUB_OFFLINE"):
        raise DownloadError("HF_HUB_OFFLINE is set")
    is_mirrored = source.in_table and bool(os.environ.get(MIRROR_VARIABLE))  # the user trusts that one
    if source.address.startswith("http://") and len(wanted) < 64 and not is_mirrored:
        raise DownloadError(
            "is plain http, where anybody on the way can change the file, and its SHA-256 is not known; "
            "if you know it, add #sha256=HEX to the address"
        )


def _known(source: Source, path: str) -> str:
    """Return the SHA-256 that the file of `source` at `path` must have, its first digits, or "" if nobody knows it.

    Raises WeightsError: what was recorded about the file is damaged.
    """
    record = f"{path}.sha256"
    if source.sha256 or not os.path.exists(record):
        return source.known
    with contextlib.suppress(OSError), open(record, "rb") as file:
        match = re.match(rb"[0-9a-f]{64}\b", file.read(100))
        if match:
            return match[0].decode()
    raise WeightsError(
        f"{record} does not begin with a SHA-256; delete it, and {path} is trusted as it is then"
    )


def _remember(path: str, digest: str) -> None:
    record = f"{path}.sha256"
    if not os.path.exists(record):
        with contextlib.suppress(WeightsError):  # a folder that is only read
            write_text(record, f"{digest}  {os.path.basename(path)}\n", WeightsError)
