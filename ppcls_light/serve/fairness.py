"""Limit on concurrent requests, and the client that loses its upload when the limit is reached."""

from __future__ import annotations

import contextlib
import ipaddress
import time
from collections import Counter
from typing import Any, Iterator, Mapping

from .body import Body, RequestRefusedError

# An upload that lasts longer than this gives way to others when all places are taken.
_SLOW_SECONDS = 1


def client_of(host: str) -> str:
    """Return the client of an address: itself, or of IPv6 the /64 network that one subscriber has (RFC 6177)."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.version == 4:
        return host
    return str(address.ipv4_mapped or ipaddress.ip_network((int(address) >> 64 << 64, 64)))


def first_of_the_busiest(holders: Mapping[Any, str]) -> tuple[Any, Counter[str]]:
    """Return the oldest holder of the client with the most holders, and the number of holders per client.

    Longest queue drop (Suter et al., INFOCOM 1998): the client that holds most loses first, so that none keeps others
    out by holding much, and no share has to be set. `holders` is {holder: client}, the longest waiting first.
    """
    counts = Counter(holders.values())
    if not counts:
        return None, counts
    busiest = max(counts, key=counts.__getitem__)
    return next(holder for holder, client in holders.items() if client == busiest), counts


class Places:
    """Places for the `most` requests under way, whose bodies are in memory; those still uploading may have to give way.

    When all places are taken, the client with most uploads loses the oldest of them to a client that has fewer,
    and to anybody once it has lasted a second. What has been uploaded stays.
    """

    def __init__(self, most: int) -> None:
        self._most, self._taken = most, 0
        self._uploading: dict[Body, str] = {}

    @contextlib.contextmanager
    def take(self, host: str, body: Body) -> Iterator[None]:
        """Hold a place for the client at address `host`, whose `body` is revoked if its upload has to give way.

        Raises RequestRefusedError: 503, there is none.
        """
        client = client_of(host)
        if self._taken >= self._most:
            self._revoke_for(client)
        self._uploading[body] = client
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1
            self.uploaded(body)

    def uploaded(self, body: Body) -> None:
        """Note that `body` is complete, and keeps its place."""
        self._uploading.pop(body, None)

    def _revoke_for(self, client: str) -> None:
        body, counts = first_of_the_busiest(self._uploading)
        # One apart would go back and forth between two clients.
        if body is None or not (
            counts[client] + 1 < counts[self._uploading[body]]
            or time.monotonic() - body.start > _SLOW_SECONDS
        ):
            raise RequestRefusedError(503, "busy: all places are taken; try again in a second")
        self.uploaded(body)
        body.revoke()
