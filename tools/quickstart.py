"""The whole way in one command: photos, training, report, export, and a server that answers.

    python tools/quickstart.py

Every step is a command that can be pasted into the same shell; each is printed before it runs. The photos, 1,797
scanned digits, come with the package, so that nothing is downloaded.
"""

import argparse
import contextlib
import json
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_light import cli, sample_data
from ppcls_light.base import hints
from ppcls_light.errors import DeviceError

CONFIG = "ppcls_light:quick_start/digits.yaml"
FOLDER = Path("output/quickstart")
SHOWN = re.compile(r"\[Avg\]|report in|agree|saved in|warning|error", re.IGNORECASE)
START_SECONDS = 120  # a server has started by then, or will not
GOAL = 0.97


def write_photos():
    """Write the digits into class folders with lists, and return the paths of ten of the test images."""
    folder = Path(sample_data("digits", FOLDER / "digits"))
    samples = FOLDER / "samples"
    samples.mkdir(exist_ok=True)
    lines = (folder / "test_list.txt").read_text().splitlines()
    chosen = [line.split() for line in lines[:: len(lines) // 10][:10]]
    return [
        Path(shutil.copyfile(folder / name, samples / f"{index}_is_{label}.png"))
        for index, (name, label) in enumerate(chosen)
    ]


def command(name, *arguments):
    """Print the command line of `name` as it works in this shell, and return it as a list."""
    line = f"{hints.installed(name)} {shlex.join(map(str, arguments))}"
    print(f"\n$ {line}", flush=True)
    return shlex.split(line)


def run(name, *arguments):
    """Run a command, show the lines of its results, and return what it printed. A failure ends the quickstart."""
    lines = []
    with subprocess.Popen(
        command(name, *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    ) as process:
        for line in process.stdout:
            lines.append(line)
            if SHOWN.search(line):
                print(line, end="", flush=True)
    if process.returncode:
        sys.exit(
            f"{''.join(lines[-20:])}quickstart: the command above failed, exit code {process.returncode}"
        )
    return "".join(lines)


@contextlib.contextmanager
def serving(model):
    """A server of the folder `model`; gives its address, and leaves no process behind. Raises DeviceError."""
    log = FOLDER / "server.log"
    with open(log, "w", encoding="utf-8") as stderr:
        process = subprocess.Popen(
            command("serve", model, "--port", 0), stdout=subprocess.PIPE, stderr=stderr, text=True
        )
    patience = threading.Timer(START_SECONDS, process.kill)
    patience.start()
    try:
        address = process.stdout.readline().strip()  # once the network is loaded
        patience.cancel()
        if not address:
            said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:]
            raise DeviceError(
                f"the server did not start, exit code {process.wait()}; its log {log} ends with: "
                + " | ".join(said)
            )
        yield address
    finally:
        patience.cancel()
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
        process.stdout.close()


def ask(address, photos):
    """Send the photos in one request, as a browser does, and return the rows of the answer."""
    boundary = uuid.uuid4().hex
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{photo.name}"\r\n\r\n'.encode()
        + photo.read_bytes()
        for photo in photos
    ]
    request = urllib.request.Request(
        f"{address}predict?topk=1",
        b"\r\n".join([*parts, f"--{boundary}--\r\n".encode()]),
        {"Content-Type": f"multipart/form-data; boundary={boundary}"},
    )
    here = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy stands before this machine
    with here.open(request, timeout=60) as answer:
        return json.load(answer)["results"]


def main():
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    began = time.perf_counter()
    trained, report, exported = FOLDER / "model", FOLDER / "report", FOLDER / "inference"
    photos = write_photos()
    print(f"1,797 digits of 10 classes: {FOLDER / 'digits'}")
    # Whoever starts this again wants it all anew; the model of the time before is moved, not replaced.
    run("train", "-c", CONFIG, "-o", "Global.overwrite=true")
    score = run("eval", trained, "--report", report)
    run("export", trained)
    with serving(exported) as address:
        print(f"the server answers at {address}")
        print(f"\n$ curl -F file=@{photos[3]} {shlex.quote(address + 'predict?topk=1')}")
        (row,) = ask(address, photos[3:4])
        print(json.dumps(row))
        rows = ask(address, photos)
    print("the server has ended")
    right = sum(f"is_{row['class_ids'][0]}." in row["file_name"] for row in rows)
    top1 = float(re.search(r"\[Avg\].*top1: ([\d.]+)", score)[1])
    serve, train = f"{hints.installed('serve')} {exported}", f"{hints.installed('train')} PHOTOS"
    print(f"""
Done in {time.perf_counter() - began:.0f} s.
  weights   {trained / "best_model.pdparams"}: {100 * top1:.1f} % of the test images right
  report    {report / "report.html"}: open it in a browser
  export    {exported}: served over HTTP, {right} of 10 photos right

Next:
  {serve}   # a page for your browser; Ctrl-C ends it
  {train:<{len(serve)}}   # your own photos, in PHOTOS/CLASS/PHOTO""")
    if top1 < GOAL:
        sys.exit(f"quickstart: top-1 {top1:.4f} is below {GOAL}")


if __name__ == "__main__":
    cli.run(main)
