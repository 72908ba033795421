"""FastAPI application: the routes /predict, /health, /ready, /metrics, and the pages / and /docs."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, AsyncIterator

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .. import __version__
from . import schema
from .access import AllowedHosts, bearer
from .batcher import Batcher, OverloadedError
from .body import Body, RequestRefusedError, disconnected
from .connections import connection_of
from .fairness import Places
from .lifecycle import Lifecycle
from .metrics import OUTCOMES, Metrics
from .upload import Images, read_images, topk_of

logger = logging.getLogger(__name__)

STATIC = Path(__file__).resolve().parent / "static"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


@dataclass(frozen=True)
class Limits:
    """Bounds on one client's requests."""

    max_bytes: int = 10 * 1024 * 1024  # of a request's body
    max_images: int = 16  # in a request
    timeout: float = 10  # seconds for the upload, and again for the answer
    min_rate: float = 1000  # bytes per second of an upload
    max_requests: int = 128  # at work or waiting at a time; their bodies are in memory


def create_app(
    batcher: Batcher,
    metrics: Metrics,
    limits: Limits,
    lifecycle: Lifecycle,
    allowed_hosts: list[str] | None = None,
    token: bytes | None = None,
) -> FastAPI:
    """Return the FastAPI app, whose `lifecycle` runs the `batcher`.

    It answers requests for `allowed_hosts` (None: any). /predict and /metrics ask for `token` (None: for nothing).
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with lifecycle.running(batcher):
            yield

    app = FastAPI(
        title="ppcls_light",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # FastAPI's page loads its script from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # to whatever Host the client names
    )
    if allowed_hosts is not None:
        app.add_middleware(AllowedHosts, hosts=allowed_hosts)
    app.add_middleware(_Envelope, lifecycle=lifecycle)
    app.add_exception_handler(HTTPException, _http_error)
    guard: dict[str, Any] = {} if token is None else {"dependencies": [bearer(token)]}
    unauthorized = {} if token is None else schema.UNAUTHORIZED

    app.add_api_route(
        "/predict",
        _Predict(batcher, metrics, limits).respond,
        methods=["POST"],
        summary="Classify images",
        response_model=None,
        responses={**schema.PREDICT, **unauthorized},
        openapi_extra=schema.PREDICT_EXTRA,
        **guard,
    )

    _add_pages(app)

    @app.get("/health", summary="Tell that the process lives", response_model=schema.Health)
    async def health() -> dict[str, str]:
        return {"status": "alive"}

    @app.get(
        "/ready",
        summary="Tell whether the network is loaded",
        response_model=schema.Ready,
        responses=schema.READY,
    )
    async def ready() -> Any:
        if lifecycle.draining or not batcher.ready:
            status = "draining" if lifecycle.draining else "loading"
            return JSONResponse({"ready": False, "status": status}, 503, {"Retry-After": "1"})
        return {
            "ready": True,
            **batcher.loaded,
            "max_bytes": limits.max_bytes,
            "max_images": limits.max_images,
        }

    @app.get(
        "/metrics",
        summary="Count for Prometheus",
        response_class=Response,
        responses={**schema.METRICS, **unauthorized},
        **guard,
    )
    async def metrics_text() -> Response:
        return Response(metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return app


def _add_pages(app: FastAPI) -> None:
    files = {path.name for path in STATIC.iterdir()}

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> FileResponse:
        return FileResponse(STATIC / "docs.html")

    @app.get("/static/{name}", include_in_schema=False)
    async def static(name: str) -> FileResponse:
        if name not in files:
            raise HTTPException(404, "Not Found")
        return FileResponse(STATIC / name)


class _Predict:
    """POST /predict."""

    def __init__(self, batcher: Batcher, metrics: Metrics, limits: Limits) -> None:
        self._batcher, self._metrics, self._limits = batcher, metrics, limits
        self._places = Places(limits.max_requests)

    async def respond(self, request: Request) -> JSONResponse:
        limits = self._limits
        body = Body(request.scope, request.receive, limits.max_bytes, limits.timeout, limits.min_rate)
        start = time.perf_counter()
        try:
            status, content = await self._with_a_place(request, body, start)
        except RequestRefusedError as refusal:
            status, content = refusal.status, {"error": str(refusal)}
            await body.discard()
        except Exception:  # of any kind, to be counted and raised again; _Envelope logs it
            self._metrics.requests.labels("error").inc()
            raise
        total = time.perf_counter() - start
        self._metrics.requests.labels(OUTCOMES[status]).inc()
        self._metrics.seconds.labels("total").observe(total)
        content["request_id"] = request.scope["request_id"]
        content.setdefault("milliseconds", {})["total"] = round(1000 * total, 2)
        return JSONResponse(content, status, {"Retry-After": "1"} if status == 503 else None)

    async def _with_a_place(self, request: Request, body: Body, start: float) -> tuple[int, dict[str, Any]]:
        if not self._batcher.ready:
            raise RequestRefusedError(503, "the network is not loaded yet")
        connection = connection_of(request.scope)
        with self._places.take(request.client.host if request.client else "", body):
            connection.work()
            try:
                images = await read_images(request, body, self._limits.max_images)
                self._places.uploaded(body)
                return await self._answer(request, images, start)
            finally:
                connection.rest()

    async def _answer(self, request: Request, images: Images, start: float) -> tuple[int, dict[str, Any]]:
        limits = self._limits
        topk = topk_of(request, images) or self._batcher.loaded["topk"]  # None for another kind of answer
        uploaded = time.perf_counter() - start
        self._metrics.seconds.labels("upload").observe(uploaded)
        try:
            answers = self._batcher.submit(images.files, topk)
        except OverloadedError:
            raise RequestRefusedError(
                503, "busy: the queue of images is full; try again in a second"
            ) from None
        await self._wait(answers, request)
        late = {"error": f"no answer within {limits.timeout:g} s", "status": 504}
        rows: list[dict[str, Any]] = []
        stages = {"upload": uploaded}
        for name, answer in zip(images.names, answers):
            row, times = (late, {}) if answer.cancelled() else answer.result()
            rows.append({"file_name": name, **row})
            for stage, seconds in times.items():
                self._metrics.seconds.labels(stage).observe(seconds)
                stages[stage] = max(stages.get(stage, 0), seconds)
        self._metrics.count_images(rows)
        failed = [row for row in rows if "error" in row]
        content: dict[str, Any] = {
            "results": rows,
            "milliseconds": {stage: round(1000 * seconds, 2) for stage, seconds in stages.items()},
        }
        if failed:
            first = failed[0]
            content["error"] = f"{first['file_name'] or 'image'}: {first['error']}"
        return (failed[0]["status"] if failed else 200), content

    async def _wait(self, answers: list[asyncio.Future], request: Request) -> None:
        """Wait for the answers, and cancel those that come too late or for nobody."""
        leaving = asyncio.ensure_future(disconnected(request.receive))
        waiting: set[asyncio.Future[Any]] = {leaving, asyncio.gather(*answers, return_exceptions=True)}
        try:
            await asyncio.wait(waiting, timeout=self._limits.timeout, return_when=asyncio.FIRST_COMPLETED)
            if leaving.done():
                raise RequestRefusedError(499, "the client has left")
        finally:
            leaving.cancel()
            for answer in answers:
                answer.cancel()


async def _http_error(_: Request, error: Any) -> JSONResponse:
    return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)


class _Envelope:
    """Around every request: an id, the security headers, one line in the log, and no traceback to a client.

    The id is the client's X-Request-ID, if it is one, and is sent back in the header of that name. While the
    server drains, every answer is the last one on its connection.
    """

    def __init__(self, app: ASGIApp, lifecycle: Lifecycle) -> None:
        self._app, self._lifecycle = app, lifecycle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        identity = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex[:16]
        scope["request_id"] = identity
        connection = connection_of(scope)
        connection.begin()
        start = time.perf_counter()
        status: int | None = None

        async def send_more(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers.update({**_HEADERS, "X-Request-ID": identity})
                if self._lifecycle.draining:
                    headers["Connection"] = "close"
            await send(message)

        try:
            await self._app(scope, receive, send_more)
        except Exception:  # of any kind, ours or a library's: the client gets an answer, the log the cause
            logger.exception("request %s", identity)
            if status is None:
                content = {"error": "internal error; the server's log has the cause", "request_id": identity}
                await JSONResponse(content, 500)(scope, receive, send_more)
        finally:
            connection.finish()
        # Probes come every few seconds and are no news; the client's own text stays out of the log.
        level = logging.INFO if scope["path"] == "/predict" or status in (None, 500) else logging.DEBUG
        duration = 1000 * (time.perf_counter() - start)
        logger.log(level, "request %s: %s %s, %.1f ms", identity, scope["method"], status, duration)
