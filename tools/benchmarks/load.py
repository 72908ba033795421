"""Load test of the server: python deploy/serving/load_test.py --model inference

It starts the server twice, with batching and with `--max-batch 1`, and sends the same requests to each in turns
from concurrent clients, each with a connection of its own. `--beside` starts the batched server of another checkout,
too. Printed are what was lost (it exits with 1 then), images per second, the percentiles of the latency, and the
ratios of the servers' best rounds. The clients share the machine with the servers, as they do not in production.
"""

import contextlib
import http.client
import io
import itertools
import json
import shlex
import subprocess
import sys
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_light import cli

# isort: split
import numpy as np
from PIL import Image

from ppcls_light.bench import harness

ROOT = Path(__file__).resolve().parents[2]
LOOPBACK = ("127.0.0.1", "::1", "localhost")
_HEADERS = {"Content-Type": "multipart/form-data; boundary=limit"}


def parse_args():
    parser = harness.tool_parser(__doc__)
    add = parser.add_argument
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--model", help="folder that tools/export_model.py wrote")
    target.add_argument(
        "--url", help="a running server, tested alone; on this machine unless --remote is given"
    )
    add("--remote", action="store_true", help="let --url be another machine; ask its owner first")
    add("--images", type=Path, help="folder of JPEG files to send; default: 16 generated ones of 320 x 240")
    add("--clients", type=int, choices=range(1, 257), metavar="1..256", default=32)
    add("--requests", type=int, choices=range(1, 100_001), metavar="1..100000", default=480, help="per round")
    add("--rounds", type=int, choices=range(1, 21), metavar="1..20", default=5)
    add("--seconds", type=float, default=60, help="a round ends after this long, done or not")
    add("--beside", metavar="DIR", help="another checkout of this project, whose server takes turns, too")
    add("--options", default="", help="of both servers, such as '--workers 2 --max-batch 16'")
    return parser.parse_args()


def pictures(folder):
    """Return the bytes of JPEG files: those of `folder`, or generated ones with about a photo's detail."""
    if folder is not None:
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
        return [path.read_bytes() for path in files[:64]] or sys.exit(f"error: {folder}: no JPEG file here")
    rng, files = np.random.default_rng(0), []
    for _ in range(16):
        coarse = Image.fromarray(rng.integers(0, 256, (15, 20, 3), dtype="uint8"))
        pixels = np.asarray(coarse.resize((320, 240), Image.BICUBIC)) + rng.normal(0, 6, (240, 320, 3))
        file = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype("uint8")).save(file, "JPEG", quality=88)
        files.append(file.getvalue())
    return files


@contextlib.contextmanager
def running_server(model, options, root=ROOT):
    """Start the server of a checkout on a free port of this machine and give its address, once it is ready."""
    command = [
        sys.executable,
        str(Path(root, "deploy/serving/server.py")),
        "--model",
        str(model),
        "--port",
        "0",
        "--drain",
        "0",
    ]
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*command, *options], **settings) as process, ThreadPoolExecutor(1) as reader:
        log = reader.submit(process.stderr.read)  # one line per request; a full pipe would stop the server
        try:
            address = process.stdout.readline().strip()
            while address and process.poll() is None and not _is_ready(address):
                time.sleep(0.1)
            if not address or process.poll() is not None:
                sys.exit(log.result().strip())
            yield address
        finally:
            process.terminate()


def _is_ready(address):
    with contextlib.suppress(OSError), contextlib.closing(_connect(address)) as connection:
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    return False  # the server has just ended


def _connect(address):
    parts = urllib.parse.urlsplit(address)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.hostname, parts.port, timeout=60)


def _form(file):
    """Return one file as multipart/form-data, bytes."""
    head = '--limit\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
    return head.encode() + file + b"\r\n--limit--\r\n"


def one_round(address, files, clients, requests, seconds):
    """Send `requests` requests and return their (file's number, latency in seconds, class ids or None)."""
    bodies, turns = [_form(file) for file in files], iter(range(requests))
    end = time.perf_counter() + seconds

    def client():
        results = []
        with contextlib.closing(_connect(address)) as connection:
            for turn in turns:
                start = time.perf_counter()
                if start > end:
                    break
                number = turn % len(files)
                try:
                    connection.request("POST", "/predict?topk=5", bodies[number], _HEADERS)
                    response = connection.getresponse()
                    answer = json.loads(response.read())
                    ids = answer["results"][0]["class_ids"] if response.status == 200 else None
                except (OSError, ValueError, http.client.HTTPException):
                    connection.close()
                    ids = None
                results.append((number, time.perf_counter() - start, ids))
        return results

    with ThreadPoolExecutor(clients) as threads:
        tasks = [threads.submit(client) for _ in range(clients)]
        return list(itertools.chain.from_iterable(task.result() for task in tasks))


class Tally:
    """The rounds of one server."""

    def __init__(self, name, address):
        self.name, self.address = name, address
        self.latencies, self.rates = [], []
        self.lost = self.different = 0

    def round(self, files, arguments, expected):
        start = time.perf_counter()
        results = one_round(self.address, files, arguments.clients, arguments.requests, arguments.seconds)
        done = [row for row in results if row[2] is not None]
        self.rates.append(len(done) / (time.perf_counter() - start))
        self.latencies += [latency for _, latency, _ in done]
        self.lost += len(results) - len(done)
        # Equal scores may change places with the batch; the best class may not.
        self.different += sum(ids[0] != expected.setdefault(number, ids[0]) for number, _, ids in done)

    def line(self):
        counts = f"{len(self.latencies):6} answered, {self.lost} lost, {self.different} different"
        if not self.latencies:
            return f"{self.name:10} {counts}"
        p50, p90, p99 = (f"{1000 * np.percentile(self.latencies, q):.0f}" for q in (50, 90, 99))
        return (
            f"{self.name:10} {counts}; images/s best {max(self.rates):.0f}, median {np.median(self.rates):.0f}; "
            f"ms p50 {p50}, p90 {p90}, p99 {p99}"
        )


def tested(arguments, stack):
    """Return the `Tally` of each server; those that are started here end with `stack`."""
    if arguments.url:
        host = urllib.parse.urlsplit(arguments.url).hostname
        if host not in LOOPBACK and not arguments.remote:
            sys.exit(f"error: {host} is not this machine; add --remote if you may load it")
        return [Tally("server", arguments.url)]
    batched = shlex.split(arguments.options)
    servers = {"batched": (batched,), "unbatched": ([*batched, "--max-batch", "1"],)}
    if arguments.beside:
        servers[Path(arguments.beside).name] = batched, arguments.beside
    return [
        Tally(name, stack.enter_context(running_server(arguments.model, *server)))
        for name, server in servers.items()
    ]


def main():
    arguments = parse_args()
    files, expected = pictures(arguments.images), {}
    with contextlib.ExitStack() as stack:
        tallies = tested(arguments, stack)
        for tally in tallies:  # a round before those that count
            one_round(tally.address, files, arguments.clients, 2 * arguments.clients, arguments.seconds)
        for number in range(arguments.rounds):
            for tally in tallies if number % 2 else tallies[::-1]:
                tally.round(files, arguments, expected)
    for tally in tallies:
        print(tally.line())
    first, *others = tallies
    for other in others if all(tally.latencies for tally in tallies) else ():
        print(f"throughput, {first.name} / {other.name}: {max(first.rates) / max(other.rates):.2f}")
    if any(tally.lost or tally.different or not tally.latencies for tally in tallies):
        sys.exit(1)


if __name__ == "__main__":
    cli.run(main)
