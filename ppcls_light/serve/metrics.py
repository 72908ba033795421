"""Prometheus metrics of the server."""

from __future__ import annotations

from typing import Any, Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

# Of /predict's answers; the statuses are few, and so are the time series.
OUTCOMES = {
    200: "ok",
    400: "bad_request",
    408: "slow_upload",
    413: "too_large",
    415: "wrong_type",
    422: "undecodable",
    499: "client_left",
    500: "error",
    503: "overloaded",
    504: "timeout",
}


class Metrics:
    """The server's numbers; every server has its own registry."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "ppcls_requests", "Answers of /predict by outcome", ["outcome"], registry=registry
        )
        self.images = Counter("ppcls_images", "Images by outcome", ["outcome"], registry=registry)
        self.seconds = Histogram(
            "ppcls_stage_seconds",
            "Seconds by stage: upload, queue, decode, inference of an image; total of a request",
            ["stage"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.batch_size = Histogram(
            "ppcls_batch_size", "Images per batch", buckets=(1, 2, 4, 8, 16, 32, 64, 128), registry=registry
        )
        self.restarts = Counter("ppcls_worker_restarts", "Workers that died", registry=registry)
        for outcome in OUTCOMES.values():
            self.requests.labels(outcome)

    def watch(self, queued: Callable[[], float], workers: Callable[[], float]) -> None:
        """Read the gauges from these two functions."""
        gauges = (
            ("ppcls_queue_images", "Images that wait for a worker", queued),
            ("ppcls_workers", "Workers with a loaded network", workers),
        )
        for name, text, value in gauges:
            Gauge(name, text, registry=self.registry).set_function(value)

    def count_images(self, rows: Iterable[Mapping[str, Any]]) -> None:
        for row in rows:
            self.images.labels(OUTCOMES.get(row.get("status", 200), "error")).inc()

    def text(self) -> bytes:
        """Return Prometheus' text format, bytes."""
        return generate_latest(self.registry)
