"""Places for the requests under way: their bodies are in memory, so they are few."""

import contextlib
import time

from .body import RequestRefusedError
from .fairness import client_of, first_of_the_busiest

# An upload that lasts longer than this gives way to others when all places are taken.
_SLOW_SECONDS = 1


class Places:
    """So many requests at a time; those of them that still upload may have to give way.

    When all places are taken, the client with most uploads loses the oldest of them to a client that has fewer,
    and to anybody once it has lasted a second. What has been uploaded stays.

    Args:
        most: requests at a time.
    """

    def __init__(self, most):
        self._most, self._taken = most, 0
        self._uploading = {}

    @contextlib.contextmanager
    def take(self, host, body):
        """Hold a place. Raises RequestRefusedError: 503, there is none.

        Args:
            host: address of the client.
            body: its `Body`, which is revoked if the upload has to give way.
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

    def uploaded(self, body):
        """Note that `body` is complete, and keeps its place."""
        self._uploading.pop(body, None)

    def _revoke_for(self, client):
        body, counts = first_of_the_busiest(self._uploading)
        # One apart would go back and forth between two clients.
        if body is None or not (
            counts[client] + 1 < counts[self._uploading[body]]
            or time.monotonic() - body.start > _SLOW_SECONDS
        ):
            raise RequestRefusedError(503, "busy: all places are taken; try again in a second")
        self.uploaded(body)
        body.revoke()
