"""HTTP server of an exported model: its processes, limits and socket."""

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
from collections.abc import Iterator

from ..base.machine import physical_cores
from ..errors import ConfigError, DeviceError, UserError

logger = logging.getLogger(__name__)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens. Raises ConfigError."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family)
        # Its connections inherit it. asyncio sets it where a socket says that its protocol is TCP, which Python's
        # does not: the body of an answer would wait for 40 ms until the client acknowledges the headers.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
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


def serve(arguments: argparse.Namespace) -> None:
    """Serve as the `arguments` of the command `serve` say, until SIGINT or SIGTERM."""
    cores = physical_cores()
    # Networks as light as these gain more from a second process than from a second thread.
    workers = arguments.workers or (1 if arguments.device == "gpu" else min(4, cores))
    threads = arguments.threads or max(1, cores // workers)
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
    from .remote import ModelOptions

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
            "cpu_threads": threads,
        },
    )
    if arguments.choose_engine:
        from .worker import choose_engine

        print(f"chosen: {choose_engine(model)}")
        return
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

    async def run(listening: socket.socket, lifecycle: Lifecycle) -> None:
        metrics = Metrics()
        batcher = Batcher(model, workers, arguments.max_delay / 1000, arguments.queue, metrics)
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
        asyncio.run(run(listening, lifecycle))
    if isinstance(lifecycle.failure, UserError):
        raise lifecycle.failure
    if lifecycle.failure is not None:
        logger.error("%s", lifecycle.failure)
        sys.exit(1)
