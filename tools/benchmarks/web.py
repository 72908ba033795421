"""Photos in the browser's page (`--format web`) beside native engines: milliseconds, best classes, MB of the folder.

    python tools/benchmarks/web.py photos/
    python tools/benchmarks/web.py photos/ --networks PPLCNet_x1_0 --picture docs/images/web.png

Weights are random, see formats.py. Milliseconds are of a photo from its file to its row, decoding and preprocessing in
them: the median over the photos, and over rounds in which the page with one thread and with two, and the engines with
one thread, take turns. The page runs in headless Chromium, isolated from other sites, so that it may have threads.
"""

import contextlib
import functools
import http.server
import shutil
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_light import cli
from ppcls_light.base.tables import markdown_table
from ppcls_light.bench import harness
from ppcls_light.data import find_images
from ppcls_light.errors import DataError, UserError

# isort: split
import numpy as np
import paddle

from ppcls_light.export import export_model
from ppcls_light.export.verify import prepared
from ppcls_light.models import create_model
from ppcls_light.prediction import Predictor
from tools.benchmarks.formats import CLASSES, OPS, SHAPE, settle

NETWORKS = ("PPLCNet_x1_0", "FasterNet_T0", "MicroNet_M0", "EdgeNeXt_XX_Small")
ENGINES = ("paddle", "onnxruntime")
ISOLATED = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}
# The rows of files that the server has, and the milliseconds that each took.
ANSWERS = """async (urls) => {
    const found = [];
    for (const url of urls) {
        const file = new File([await (await fetch(url)).blob()], url);
        const start = performance.now();
        const { row } = await answer(file);
        found.push({ ...row, milliseconds: performance.now() - start });
    }
    return found;
}"""


def parse_arguments():
    parser = harness.tool_parser(__doc__)
    parser.add_argument("photos", help="folder of images")
    parser.add_argument("--networks", nargs="+", metavar="NAME", default=NETWORKS)
    parser.add_argument("--number", type=int, default=100, help="of photos that are taken; default 100")
    parser.add_argument("--rounds", type=int, default=3, help="default 3")
    parser.add_argument("--picture", metavar="FILE", help="PNG of the first network's page with a heat map")
    return parser.parse_args()


@contextlib.contextmanager
def served(folder, headers=None):
    """Serve the files of `folder`, with further `headers` in the answers; the value is the address."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def end_headers(self):
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            super().end_headers()

        def log_message(self, *arguments):
            """Keep the terminal for the results."""

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def chromium_path():
    """Return the path of Chromium, None without one."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextlib.contextmanager
def chromium(*arguments):
    """Run headless Chromium; the value is Playwright's browser. Raises UserError: there is none."""
    from playwright.sync_api import sync_playwright

    path = chromium_path()
    if path is None:
        raise UserError("no Chromium is on the PATH; install it, for example apt-get install chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu", *arguments]
        )
        yield browser
        browser.close()


def export(name, folder, photos):
    """Export a network with settled random weights and the page to `folder`."""
    paddle.seed(0)
    images = np.stack(list(prepared(OPS, SHAPE, photos[:32])))
    model = settle(create_model(name, class_num=CLASSES), images)
    names = [f"class {index}" for index in range(CLASSES)]
    export_model(model, folder, SHAPE, OPS, names, images=photos[:8], web=True)


def in_engine(predictor, photos):
    """Return the rows of photos, and the milliseconds that each took."""
    rows, times = [], []
    for photo in photos:
        start = time.perf_counter()
        rows += predictor.predict([photo])
        times.append(1e3 * (time.perf_counter() - start))
    return rows, times


def in_page(page, photos):
    """Return the rows of photos, which the server has by their numbers, and the milliseconds that each took."""
    rows = page.evaluate(
        ANSWERS, [f"/photos/{index}{Path(photo).suffix}" for index, photo in enumerate(photos)]
    )
    return rows, [row["milliseconds"] for row in rows]


def measure(name, arguments, photos, browser):
    """Return the row of the table of a network."""
    with tempfile.TemporaryDirectory() as root, served(root, ISOLATED) as address:
        folder, copies = Path(root) / "export", Path(root) / "photos"
        copies.mkdir()
        for index, photo in enumerate(photos):
            shutil.copyfile(photo, copies / f"{index}{Path(photo).suffix}")
        export(name, folder, photos)
        cases = {
            engine: functools.partial(in_engine, Predictor(folder, engine=engine, cpu_threads=1))
            for engine in ENGINES
        }
        for threads in (1, 2):
            page = browser.new_page(reduced_motion="reduce")
            page.goto(f"{address}/export/web/?threads={threads}")
            page.wait_for_selector("#model.ready")
            cases[f"page, {threads} threads" if threads > 1 else "page"] = functools.partial(in_page, page)
        best, seen = {}, {case: [] for case in cases}
        for _ in range(arguments.rounds):
            for case, run in cases.items():
                rows, times = run(photos)
                best[case] = [row["class_ids"][0] for row in rows]
                seen[case].append(statistics.median(times))
        if arguments.picture and name == arguments.networks[0]:
            page.set_viewport_size({"width": 1000, "height": 620})
            page.set_input_files("#file", photos[0])
            page.wait_for_selector("main[aria-busy=false] #bars li")
            page.click("#heat")
            page.wait_for_selector("#overlay:visible")
            page.screenshot(path=arguments.picture)
        same = sum(one == other for one, other in zip(best["page"], best["onnxruntime"]))
        size = sum(path.stat().st_size for path in (folder / "web").rglob("*") if path.is_file()) / 1e6
    times = (f"{statistics.median(rounds):.1f}" for rounds in seen.values())
    return (name, f"{size:.1f}", f"{same} of {len(photos)}", *times)


def main():
    arguments = parse_arguments()
    photos = find_images(arguments.photos)
    if not photos:
        raise DataError(f"{arguments.photos}: no images; give a folder that has some")
    chosen = np.random.default_rng(0).permutation(len(photos))[: arguments.number]
    photos = [photos[index] for index in chosen]
    columns = (
        "network",
        "MB",
        "same top-1",
        *(f"{engine}, ms" for engine in ENGINES),
        "page, ms",
        "2 threads, ms",
    )
    with chromium() as browser:
        rows = [measure(name, arguments, photos, browser) for name in arguments.networks]
    print(markdown_table(columns, rows))
    print(harness.machine())


if __name__ == "__main__":
    cli.run(main, needs=("playwright",))
