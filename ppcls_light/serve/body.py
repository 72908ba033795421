"""Reading of a request's body with limits on size, time and rate."""

from __future__ import annotations

import asyncio
import time

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope

# A body may start slowly for this long, whatever the rate.
_GRACE_SECONDS = 2
# A client that still sends does not read the answer; its data are thrown away for this long.
_DISCARD_SECONDS = 2


class RequestRefusedError(Exception):
    """A request that is not answered as asked: an HTTP status and one line for the client."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Body:
    """The body of a request, of at most `max_bytes`, with or without a Content-Length; `receive` is ASGI's.

    It may take `seconds`, at `min_rate` bytes per second on average once two seconds have passed.
    """

    def __init__(
        self, scope: Scope, receive: Receive, max_bytes: int = 0, seconds: float = 0, min_rate: float = 1
    ) -> None:
        self._receive = receive
        self._max_bytes, self._seconds, self._min_rate = max_bytes, seconds, min_rate
        self._headers = Headers(scope=scope)
        self._seen = 0
        self._more = self._headers.get("expect", "").lower() != "100-continue"  # such a client waits with it
        self._next: asyncio.Future[Message] | None = None
        self._revoked = False
        self.start = time.monotonic()

    async def receive(self) -> Message:
        """Return the next message.

        Raises RequestRefusedError: 408 too slow, 413 too large, 499 the client has left, 503 revoked.
        """
        length = self._headers.get("content-length", "0")
        if length.isascii() and length.isdigit() and float(length) > self._max_bytes:
            raise self._too_large()
        self._raise_if_revoked()
        limit = min(self._seconds, _GRACE_SECONDS + self._seen / self._min_rate)
        self._next = asyncio.ensure_future(self._receive())
        try:
            await asyncio.wait({self._next}, timeout=max(0, self.start + limit - time.monotonic()))
        finally:
            if not self._next.done():
                self._next.cancel()
        self._raise_if_revoked()
        if not self._next.done():
            self._more = False
            if limit == self._seconds:
                raise RequestRefusedError(408, f"the upload took longer than {limit:g} s")
            raise RequestRefusedError(408, f"the upload is slower than {self._min_rate:,} bytes per second")
        message = self._next.result()
        if message["type"] == "http.disconnect":
            self._more = False
            raise RequestRefusedError(499, "the client has left")
        self._more = message.get("more_body", False)
        self._seen += len(message.get("body", b""))
        if self._seen > self._max_bytes:
            raise self._too_large()
        return message

    def revoke(self) -> None:
        """Have `receive` end with 503."""
        self._revoked = True
        if self._next is not None:
            self._next.cancel()

    async def discard(self) -> None:
        """Read the rest of a body that is refused, for a while, so that the client gets to read the reason."""

        async def rest() -> None:
            while self._more:
                self._more = (await self._receive()).get("more_body", False)

        try:
            await asyncio.wait_for(rest(), _DISCARD_SECONDS)
        except asyncio.TimeoutError:
            self._more = False

    def _raise_if_revoked(self) -> None:
        if self._revoked:
            self._more = False
            raise RequestRefusedError(503, "busy: a slow upload gives way to others; try again in a second")

    def _too_large(self) -> RequestRefusedError:
        return RequestRefusedError(
            413, f"the request has more than {self._max_bytes:,} bytes; send fewer or smaller images"
        )


async def disconnected(receive: Receive) -> None:
    """Return once the client has left; its body has been read."""
    while (await receive())["type"] != "http.disconnect":
        pass
