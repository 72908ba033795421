"""The server's end of a worker process: it imports nothing of what a worker needs, which stays out of its memory."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass, field
from typing import Any, Sequence

from ..base.processes import Child, ProcessEndedError
from ..errors import UserError

# A batch that takes longer than this never ends; its process is ended.
STUCK_SECONDS = 60


@dataclass(frozen=True)
class ModelOptions:
    """Options of a worker; `engine` are further arguments of `Predictor` (engine, device, cpu_threads, ...).

    `decode_threads` decode and resize; `max_pixels` bounds an image's width times height.
    """

    folder: str
    decode_threads: int = 2
    max_batch: int = 8
    max_pixels: int = 50_000_000
    engine: dict[str, Any] = field(default_factory=dict)


class Worker:
    """The server's end of one worker process. One call at a time, from any thread; each blocks."""

    def __init__(self, options: ModelOptions) -> None:
        self._options = options
        self._process: Child | None = None
        self._stopped = False
        self._lock = threading.Lock()

    def start(self) -> dict[str, Any]:
        """Start the process, wait until the network is warm, and return its {"model", "classes", "engine", ...}.

        Raises:
            UserError: the model folder or an option is wrong.
            ProcessEndedError: anything else went wrong.
        """
        with self._lock:
            if self._stopped:
                raise ProcessEndedError("the server ends")
            process = self._process = Child(f"{__package__}.worker")
        process.send(asdict(self._options))
        answer, _ = process.receive()
        if "error" in answer:
            self.stop()
            raise UserError(answer["error"])
        return answer

    def classify(self, images: Sequence[bytes], topk: int | None) -> dict[str, Any]:
        """Return {"rows": one per file, "decode": s, "inference": s}; a row is an answer or {"error", "status"}.

        An answer is the so many best classes or tags, with None of the model's own kind.

        Raises ProcessEndedError: the process is gone; `start` makes a new one.
        """
        assert self._process is not None
        self._process.send(topk, *images)
        answer, _ = self._process.receive(STUCK_SECONDS)
        return answer

    def stop(self, for_good: bool = False) -> None:
        """End the process; with `for_good`, `start` makes no other."""
        with self._lock:
            self._stopped = for_good
            if self._process is not None:
                self._process.close()
