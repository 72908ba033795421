"""Limits on connections in uvicorn: timeouts, and a maximum number below the open-files limit."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from typing import Any

from starlette.types import Scope
from uvicorn.protocols.http.h11_impl import H11Protocol

from ..errors import ConfigError
from .fairness import client_of, first_of_the_busiest

try:
    import resource
except ImportError:  # Windows, which has no such limit
    resource = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

_MOST = 1000
_UNLIMITED = 1_000_000
# Connections that asyncio accepts in one turn of its loop, before it asks whether there is room for them.
ACCEPTED_AT_ONCE = 16
# Files besides: connections that are closed two turns later, the model's files, pipes to the workers, the page's files.
_OTHER_FILES = 4 * ACCEPTED_AT_ONCE + 64
_LOG_SECONDS = 10
_SCOPE_KEY = "ppcls_connection"


def capacity(wanted: int | None = None) -> int:
    """Return the connections that may be open under the limit of open files.

    `wanted` None takes 1000, or fewer where the limit is low. Raises ConfigError: there are fewer files than `wanted`.
    """
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0] if resource else -1
    most = files - _OTHER_FILES if files >= 0 else _UNLIMITED
    if most < (wanted or 1):
        raise ConfigError(
            f"--max-connections {wanted or 1} needs more open files than the limit of {files}; "
            f"raise it with: ulimit -n {(wanted or _MOST) + _OTHER_FILES}"
        )
    return wanted or min(_MOST, most)


class Connections:
    """The open connections, `most` at a time, and the limits on them; `protocol` is for uvicorn's `http`.

    When one too many comes, the client with most of them loses the one that has waited longest for its client.
    Those whose request holds a place in the queue stay.

    The head of a request may take `header_timeout` seconds, and its answer `request_timeout` more. After that an idle
    connection is kept for `keep_alive` seconds.
    """

    def __init__(self, most: int, header_timeout: float, keep_alive: float, request_timeout: float) -> None:
        self.most, self.header_timeout = most, header_timeout
        self.keep_alive, self.request_timeout = keep_alive, request_timeout
        self.protocol = functools.partial(_Connection, self)
        self._waiting: dict[_Connection, str] = {}
        self._working = 0
        self._dropped, self._logged = 0, float(-_LOG_SECONDS)

    def wait(self, connection: _Connection) -> None:
        """Note that `connection` waits for its client from now on."""
        self.forget(connection)
        self._waiting[connection] = connection.peer
        if len(self._waiting) + self._working > self.most:
            self._drop(first_of_the_busiest(self._waiting)[0])

    def work(self, connection: _Connection) -> None:
        """Note that the request of `connection` is at work, until it waits again."""
        if self._waiting.pop(connection, None) is not None:
            self._working += 1
            connection.at_work = True

    def forget(self, connection: _Connection) -> None:
        if connection.at_work:
            connection.at_work = False
            self._working -= 1
        self._waiting.pop(connection, None)

    def _drop(self, connection: _Connection) -> None:
        self.forget(connection)
        connection.transport.abort()
        self._dropped += 1
        if time.monotonic() - self._logged >= _LOG_SECONDS:
            logger.warning("all %d connections are taken; dropped %d that waited", self.most, self._dropped)
            self._dropped, self._logged = 0, time.monotonic()


class _Connection(H11Protocol):
    """uvicorn's protocol with a deadline: past it the connection is closed, whatever its client does."""

    def __init__(
        self,
        connections: Connections,
        config: Any,
        server_state: Any,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, {**app_state, _SCOPE_KEY: self}, _loop)
        self._connections = connections
        self._deadline: asyncio.TimerHandle | None = None
        self.peer = ""
        self.at_work = self._lost = False

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if self.client:
            self.peer = client_of(self.client[0])
        self._due(self._connections.header_timeout)
        self._connections.wait(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        if self._deadline is not None:
            self._deadline.cancel()
        self._connections.forget(self)
        super().connection_lost(exc)

    def shutdown(self) -> None:
        # A request of which the first bytes are here is answered; its answer closes the connection.
        if not self.conn.trailing_data[0]:
            super().shutdown()

    def begin(self) -> None:
        """Note that the head of a request is complete."""
        self._due(self._connections.request_timeout)

    def work(self) -> None:
        """Note that the request has a place among those at work."""
        self._connections.work(self)

    def rest(self) -> None:
        """Note that it has given its place back."""
        if not self.transport.is_closing():
            self._connections.wait(self)

    def finish(self) -> None:
        """Note that the request has its answer."""
        # Not uvicorn's time limit alone, which every byte ends.
        self._due(self._connections.keep_alive + self._connections.header_timeout)
        self.rest()

    def _due(self, seconds: float) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        if not self._lost:
            # Not `close`, which waits until the client has read the rest.
            self._deadline = self.loop.call_later(seconds, self.transport.abort)


def connection_of(scope: Scope) -> _Connection:
    """Return the connection of an ASGI scope."""
    return scope["state"][_SCOPE_KEY]
