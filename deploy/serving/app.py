"""The HTTP side: /predict, /health, /ready, /metrics and the page at /."""

import asyncio
import logging
import re
import time
import uuid
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException

from .batcher import OverloadedError
from .metrics import OUTCOMES
from .upload import RequestRefusedError, discard, read_images, topk_of

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
    """Bounds on what one client can ask for.

    Attributes:
        max_bytes: of a request's body.
        max_images: in a request.
        timeout: seconds for the upload, and again for the answer.
        max_requests: at work or waiting at a time; their bodies are in memory.
    """

    max_bytes: int = 10 * 1024 * 1024
    max_images: int = 16
    timeout: float = 10
    max_requests: int = 128


def create_app(batcher, metrics, limits, lifecycle):
    """Return the FastAPI app.

    Args:
        batcher: `Batcher`; `lifecycle` runs it.
        metrics: `Metrics`.
        limits: `Limits`.
        lifecycle: `server.Lifecycle`, which says whether the server is draining.
    """

    @asynccontextmanager
    async def lifespan(_):
        async with lifecycle.running(batcher):
            yield

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(_Envelope)
    app.add_exception_handler(HTTPException, _http_error)
    predict = _Predict(batcher, metrics, limits)
    app.add_api_route("/predict", predict.respond, methods=["POST"], response_model=None)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    @app.get("/")
    async def page():
        return FileResponse(STATIC / "index.html")

    @app.get("/health")
    async def health():
        return {"status": "alive"}

    @app.get("/ready")
    async def ready():
        if lifecycle.draining or not batcher.ready:
            status = "draining" if lifecycle.draining else "loading"
            return JSONResponse({"ready": False, "status": status}, 503, {"Retry-After": "1"})
        return {
            "ready": True,
            **batcher.loaded,
            "max_bytes": limits.max_bytes,
            "max_images": limits.max_images,
        }

    @app.get("/metrics")
    async def metrics_text():
        return Response(metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return app


class _Predict:
    """POST /predict."""

    def __init__(self, batcher, metrics, limits):
        self._batcher, self._metrics, self._limits = batcher, metrics, limits
        self._active = 0

    async def respond(self, request: Request):
        start = time.perf_counter()
        self._active += 1
        try:
            status, content = await self._answer(request, start)
        except RequestRefusedError as refusal:
            status, content = refusal.status, {"error": str(refusal)}
        except Exception:
            self._metrics.requests.labels("error").inc()
            raise  # to _Envelope, which logs it
        finally:
            self._active -= 1
        total = time.perf_counter() - start
        self._metrics.requests.labels(OUTCOMES[status]).inc()
        self._metrics.seconds.labels("total").observe(total)
        content["request_id"] = request.scope["request_id"]
        content.setdefault("milliseconds", {})["total"] = round(1000 * total, 2)
        return JSONResponse(content, status, {"Retry-After": "1"} if status == 503 else None)

    async def _answer(self, request, start):
        if not self._batcher.ready or self._active > self._limits.max_requests:
            await discard(request)
            raise RequestRefusedError(503, "busy" if self._batcher.ready else "the network is not loaded yet")
        limits = self._limits
        images = await read_images(request, limits.max_bytes, limits.max_images, limits.timeout)
        topk = topk_of(request, images) or self._batcher.loaded["topk"]
        uploaded = time.perf_counter() - start
        self._metrics.seconds.labels("upload").observe(uploaded)
        try:
            answers = self._batcher.submit(images.files, topk)
        except OverloadedError:
            raise RequestRefusedError(
                503, "busy: the queue of images is full; try again in a second"
            ) from None
        await asyncio.wait(answers, timeout=limits.timeout)
        late = {"error": f"no answer within {limits.timeout:g} s", "status": 504}
        rows, stages = [], {"upload": uploaded}
        for name, answer in zip(images.names, answers):
            row, times = answer.result() if answer.done() else (late, {})
            answer.cancel()
            rows.append({"file_name": name, **row})
            for stage, seconds in times.items():
                self._metrics.seconds.labels(stage).observe(seconds)
                stages[stage] = max(stages.get(stage, 0), seconds)
        self._metrics.count_images(rows)
        failed = [row for row in rows if "error" in row]
        content = {
            "results": rows,
            "milliseconds": {stage: round(1000 * seconds, 2) for stage, seconds in stages.items()},
        }
        if failed:
            first = failed[0]
            content["error"] = f"{first['file_name'] or 'image'}: {first['error']}"
        return (failed[0]["status"] if failed else 200), content


async def _http_error(_, error):
    return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)


class _Envelope:
    """Around every request: an id, the security headers, one line in the log, and no traceback to a client.

    The id is the client's X-Request-ID, if it is one, and is sent back in the header of that name.
    """

    def __init__(self, app):
        self._app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        identity = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex[:16]
        scope["request_id"] = identity
        start, status = time.perf_counter(), None

        async def send_more(message):
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update({**_HEADERS, "X-Request-ID": identity})
            await send(message)

        try:
            await self._app(scope, receive, send_more)
        except Exception:
            logger.exception("request %s", identity)
            if status is None:
                content = {"error": "internal error; the server's log has the cause", "request_id": identity}
                await JSONResponse(content, 500)(scope, receive, send_more)
        # Probes come every few seconds and say nothing; what the client wrote stays out of the log.
        level = logging.INFO if scope["path"] == "/predict" or status in (None, 500) else logging.DEBUG
        duration = 1000 * (time.perf_counter() - start)
        logger.log(level, "request %s: %s %s, %.1f ms", identity, scope["method"], status, duration)
