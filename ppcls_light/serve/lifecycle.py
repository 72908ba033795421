"""Startup and graceful shutdown of the server, on SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from typing import Any, AsyncIterator, Callable

from ..base.processes import ProcessEndedError
from ..errors import UserError
from .batcher import Batcher

logger = logging.getLogger(__name__)


class Lifecycle:
    """Runs the batcher while the server runs, and ends the server when asked to or when the batcher fails.

    On SIGTERM or SIGINT `/ready` turns 503 at once; requests are taken for `drain` more seconds, until load
    balancers have noticed. Then the port is closed, requests under way are answered, and the process ends. A
    second signal ends it at once. `announce` is called when the network is loaded.
    """

    def __init__(self, drain: float, announce: Callable[[], object]) -> None:
        self._drain, self._announce = drain, announce
        self.draining = False
        self.failure: Exception | None = None
        self.server: Any = None  # uvicorn's, from before it serves

    @contextlib.asynccontextmanager
    async def running(self, batcher: Batcher) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        before = {
            name: signal.signal(name, lambda *_: loop.call_soon_threadsafe(self._end))
            for name in (signal.SIGTERM, signal.SIGINT)
        }
        task = asyncio.create_task(self._run(batcher))
        try:
            yield
        finally:
            task.cancel()
            await loop.run_in_executor(None, batcher.close)
            for name, handler in before.items():
                signal.signal(name, handler)

    async def _run(self, batcher: Batcher) -> None:
        try:
            await batcher.run(self._announce)
        except (UserError, ProcessEndedError, OSError) as error:
            self.failure, self.server.should_exit = error, True

    def _end(self) -> None:
        if self.draining:
            self.server.force_exit = self.server.should_exit = True
        else:
            self.draining = True
            logger.info("draining: the port closes in %g s", self._drain)
            asyncio.get_running_loop().call_later(self._drain, setattr, self.server, "should_exit", True)
