"""Access control: allowed host names and the bearer token."""

import hmac
import os
import urllib.parse
from pathlib import Path
from typing import Any, Iterable, Optional

from fastapi import HTTPException, Request, Security
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.types import ASGIApp, Receive, Scope, Send

from ..base.files import StrPath
from ..errors import ConfigError
from .body import Body

TOKEN_VARIABLE = "PPCLS_SERVING_TOKEN"
# Names that no site of another can have; health checks on the same machine use them.
_LOOPBACK = ["localhost", "127.0.0.1", "::1"]


def read_token(path: Optional[StrPath]) -> Optional[bytes]:
    """Return the bearer token in the file `path` or the environment, bytes; None without either.

    Raises ConfigError: it cannot be read, is empty, or is not one word of ASCII.
    """
    place = path or f"the environment variable {TOKEN_VARIABLE}"
    try:
        # Taken out: the workers, which decode files of strangers, need not inherit it.
        inherited = os.environ.pop(TOKEN_VARIABLE, None)
        token = Path(path).read_text() if path else inherited
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise ConfigError(f"--token-file {path}: {reason}; name a file that holds the token") from None
    if token is None:
        return None
    token = token.strip()
    if not token.isascii() or not token.isprintable() or len(token.split()) != 1:
        raise ConfigError(f"{place}: a token is one word of ASCII; make one with: openssl rand -hex 32")
    return token.encode()


def bearer(token: bytes) -> Any:
    """Return a dependency of FastAPI's that answers 401 unless a request has `token` (RFC 6750)."""

    async def check(
        request: Request,
        given: Optional[HTTPAuthorizationCredentials] = Security(HTTPBearer(auto_error=False)),  # noqa: B008
    ) -> None:
        if given is None or not hmac.compare_digest(given.credentials.encode(), token):
            await Body(request.scope, request.receive).discard()
            raise HTTPException(
                401, "send the header Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"}
            )

    return Security(check)


class AllowedHosts:
    """Middleware of ASGI that answers 400 to a request for another host, with or without a port.

    Starlette's own knows no IPv6 address and answers in plain text. In `hosts` *.example.org stands for the names that
    end so.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        self._app = app
        hosts = [host.lower().strip("[]") for host in [*hosts, *_LOOPBACK]]
        self._names = {host for host in hosts if not host.startswith("*")}
        self._suffixes = tuple(host[1:] for host in hosts if host.startswith("*."))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._allows(dict(scope["headers"]).get(b"host", b"")):
            await Body(scope, receive).discard()
            await JSONResponse({"error": "this server does not go by that name (Host)"}, 400)(
                scope, receive, send
            )
        else:
            await self._app(scope, receive, send)

    def _allows(self, header: bytes) -> bool:
        try:
            host = urllib.parse.urlsplit("//" + header.decode("latin-1")).hostname or ""
        except ValueError:
            return False
        return host in self._names or (bool(self._suffixes) and host.endswith(self._suffixes))
