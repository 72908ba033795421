"""Serve an exported model over HTTP: python deploy/serving/server.py --model inference --port 8080"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import importlib.util
import logging
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from typing import Callable, get_args

from ..base.machine import physical_cores
from ..config.deploy import EngineName, Precision
from ..errors import ConfigError, DeviceError, UserError
from ..runtime.options import Device

logger = logging.getLogger(__name__)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    def at_least(smallest: float, kind: type = int) -> Callable[[str], float]:
        def number(text: str) -> float:
            value = kind(text)
            if not value >= smallest:
                raise ValueError
            return value

        number.__name__ = f"number of at least {smallest}"
        return number

    parser = argparse.ArgumentParser(
        description="Serve an exported model over HTTP.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--model", required=True, help="folder that tools/export_model.py wrote")
    add("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 is every network of this machine")
    add("--port", type=at_least(0), default=8080, help="0 takes a free one")
    add("--max-batch", type=at_least(1), default=8, help="images that run together at most")
    add("--max-delay", type=at_least(0, float), default=5, help="ms that an image waits for others")
    add("--queue", type=at_least(1), default=64, help="images that may wait; more are answered with 503")
    add("--timeout", type=at_least(0.001, float), default=10, help="s for the upload, and for the answer")
    add(
        "--header-timeout",
        type=at_least(0.001, float),
        default=10,
        help="s until a request's head is complete",
    )
    add("--keep-alive", type=at_least(0, float), default=5, help="s that an idle connection stays open")
    add(
        "--min-rate", type=at_least(1), default=1000, help="bytes per second of an upload after its first 2 s"
    )
    add(
        "--max-connections",
        type=at_least(1),
        help="open at a time; None: 1000, or fewer where fewer files may be open",
    )
    add("--max-bytes", type=at_least(1), default=10 * 1024 * 1024, help="of a request's body")
    add("--max-pixels", type=at_least(1), default=50_000_000, help="of an image")
    add("--max-images", type=at_least(1), default=16, help="in one request")
    add(
        "--workers",
        type=at_least(1),
        help="processes with the network; None: the cores, 4 at most; 1 on a GPU",
    )
    add("--threads", type=at_least(1), help="of a worker's network; None: its share of the cores")
    add("--decode-threads", type=at_least(1), default=2, help="of a worker")
    add("--allowed-hosts", help="that requests may be for, as a.example,*.b.example; None: any")
    add("--token-file", help="file with the bearer token that clients send; or set PPCLS_SERVING_TOKEN")
    add(
        "--trusted-proxies",
        default="",
        help="addresses whose X-Forwarded-For names the client, as 10.0.0.2,...",
    )
    add("--drain", type=at_least(0, float), default=1, help="s between SIGTERM and closing the port")
    add("--engine", choices=get_args(EngineName), default="paddle")
    add("--precision", choices=get_args(Precision), default="fp32")
    add("--device", choices=get_args(Device), default="cpu")
    arguments = parser.parse_args(argv)
    cores = physical_cores()
    if arguments.workers is None:
        # Networks as light as these gain more from a second process than from a second thread.
        arguments.workers = 1 if arguments.device == "gpu" else min(4, cores)
    if arguments.threads is None:
        arguments.threads = max(1, cores // arguments.workers)
    return arguments


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens. Raises ConfigError."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError, TypeError, ValueError) as error:
        # Python adds the address to its own words
        number = getattr(error, "errno", 0) or 0
        reason = os.strerror(number) if number in errno.errorcode else error
        raise ConfigError(
            f"cannot listen on {host} port {port}: {reason}; choose another --host or --port"
        ) from None


def require_multipart() -> None:
    """Raise ImportError without a parser of forms, which Starlette looks for at the first form alone."""
    if not any(map(importlib.util.find_spec, ("python_multipart", "multipart"))):
        raise ModuleNotFoundError(name="python-multipart")


def main() -> None:
    arguments = parse_args()
    try:
        import uvicorn

        require_multipart()
        from .access import read_token
        from .app import Limits, create_app
        from .connections import ACCEPTED_AT_ONCE, Connections, capacity
        from .metrics import Metrics
    except ImportError as error:
        raise DeviceError(
            f"serving needs the package {error.name}: pip install 'ppcls_light[serving]'"
        ) from None
    from .batcher import Batcher
    from .lifecycle import Lifecycle
    from .worker import ModelOptions

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield  # they are Lifecycle's

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            for one in sockets or ():
                one.listen(2048)  # may wait in the kernel; asyncio takes its backlog for both numbers

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    model = ModelOptions(
        arguments.model,
        arguments.decode_threads,
        arguments.max_batch,
        arguments.max_pixels,
        {
            "engine": arguments.engine,
            "precision": arguments.precision,
            "device": arguments.device,
            "cpu_threads": arguments.threads,
        },
    )
    max_connections = capacity(arguments.max_connections)
    limits = Limits(
        arguments.max_bytes,
        min(arguments.max_images, arguments.queue),
        arguments.timeout,
        arguments.min_rate,
        max(1, min(2 * arguments.queue, max_connections // 2)),
    )
    hosts = arguments.allowed_hosts and [host.strip() for host in arguments.allowed_hosts.split(",")]
    token = read_token(arguments.token_file)
    # For the upload and the answer, and seconds for a body that is thrown away and for the way out.
    request_timeout = 2 * arguments.timeout + 5
    connections = Connections(
        max_connections, arguments.header_timeout, arguments.keep_alive, request_timeout
    )

    async def serve(listening: socket.socket, lifecycle: Lifecycle) -> None:
        metrics = Metrics()
        batcher = Batcher(model, arguments.workers, arguments.max_delay / 1000, arguments.queue, metrics)
        config = uvicorn.Config(
            create_app(batcher, metrics, limits, lifecycle, hosts, token),
            http=connections.protocol,
            ws="none",
            log_config=None,
            log_level="error",  # a warning for each malformed request fills disks
            access_log=False,
            server_header=False,
            backlog=ACCEPTED_AT_ONCE,
            proxy_headers=bool(arguments.trusted_proxies),
            forwarded_allow_ips=arguments.trusted_proxies,
            timeout_keep_alive=arguments.keep_alive,
            timeout_graceful_shutdown=int(arguments.header_timeout + request_timeout) + 1,
        )
        lifecycle.server = Server(config)
        await lifecycle.server.serve([listening])

    with listen(arguments.host, arguments.port) as listening:
        host, port = listening.getsockname()[:2]
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
        lifecycle = Lifecycle(arguments.drain, lambda: print(address, flush=True))
        asyncio.run(serve(listening, lifecycle))
    if isinstance(lifecycle.failure, UserError):
        raise lifecycle.failure
    if lifecycle.failure is not None:
        logger.error("%s", lifecycle.failure)
        sys.exit(1)
