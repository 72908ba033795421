"""Picture of a page, by Chromium: python tools/docs/screenshot.py report/report.html --out docs/images/report.png"""

import argparse
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_light import cli
from ppcls_light.errors import UserError


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", help="a file or a URL")
    parser.add_argument("--out", metavar="FILE", required=True, help="the PNG")
    parser.add_argument("--width", type=int, default=1200, help="of the window in pixels; default 1200")
    parser.add_argument("--height", type=int, default=800, help="of the window in pixels; default 800")
    parser.add_argument("--scroll-to", metavar="TEXT", help="heading at the top of the picture")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    chromium = shutil.which("chromium")
    if chromium is None:
        raise UserError("no Chromium is on the PATH; install it, for example apt-get install chromium")
    path = Path(arguments.page)
    address = path.resolve().as_uri() if path.exists() else arguments.page
    Path(arguments.out).write_bytes(taken(chromium, address, arguments))


def taken(chromium, address, arguments):
    """Return the picture of the page at `address`, the bytes of a PNG."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": arguments.width, "height": arguments.height})
        page.goto(address)
        if arguments.scroll_to:
            page.get_by_role("heading", name=arguments.scroll_to).first.evaluate(
                "node => node.scrollIntoView()"
            )
        picture = page.screenshot(type="png")
        browser.close()
    return picture


if __name__ == "__main__":
    cli.run(main, needs=("playwright",))
