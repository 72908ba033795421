"""Long runs of what the tests do once or a few times: python tests/faults/soak.py epochs|predictions|requests

Exits with 1 when something was lost, answered differently or kept growing.
"""

import io
import os
from pathlib import Path

import numpy as np
from PIL import Image
from subject import export, photos, run, train

_MOST_GROWTH = 0.10  # of the memory after a tenth of the run


def epochs(folder, times, _ranks=1):
    """Train for many short epochs; the memory is read at each tenth."""
    process = train(photos(folder), folder / "output", f"Global.epochs={times}", "Global.save_interval=10")
    memory, done, said = [], 0, ""
    for line in process.stdout:
        said += line
        if "[Train]" in line and "[Avg]" in line:
            done += 1
            if done % max(1, times // 10) == 0:
                memory.append(_resident(process.pid))
    return {"epochs": done, "MiB": memory, "lost": int(process.wait() != 0 or done != times)}


def picture(rng):
    """Return (class id, a file's bytes) of a picture of any size from 1 x 1 to 1350 x 675, in one of four formats."""
    channel = int(rng.integers(3))
    height = int(2 ** rng.uniform(0, 9.4))
    width = max(1, int(height * 2 ** rng.uniform(-1, 1)))
    pixels = rng.integers(0, 60, (height, width, 3), dtype="uint8")
    pixels[:, :, channel] += 150
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, str(rng.choice(["JPEG", "PNG", "WEBP", "BMP"])))
    return channel, file.getvalue()


def predictions(folder, times, _ranks=1):
    """Classify pictures of many sizes in one process."""
    from ppcls_light import Predictor

    predictor, rng = Predictor(export(folder)), np.random.default_rng(0)
    stock = [picture(rng) for _ in range(500)]
    memory, wrong, done = [], 0, 0
    while done < times:
        chosen = [stock[number] for number in rng.integers(len(stock), size=int(rng.integers(1, 17)))]
        rows = predictor.predict([data for _, data in chosen])
        wrong += sum(row.get("class_ids", [None])[0] != label for row, (label, _) in zip(rows, chosen))
        done += len(rows)
        if done >= times * (len(memory) + 1) / 10:
            memory.append(_resident(os.getpid()))
    return {"predictions": done, "MiB": memory, "lost": wrong}


def requests(folder, times, _ranks=1):
    """Send pictures to a server from 16 clients with a connection each."""
    from tools.benchmarks import load

    rng, clients = np.random.default_rng(0), 16
    stock = [picture(rng) for _ in range(200)]
    memory, lost, done = [], 0, 0
    with load.running_server(export(folder), ["--workers", "1"]) as address:
        while done < times:
            rows = load.one_round(address, [data for _, data in stock], clients, times // 10, 3600)
            lost += sum(ids is None or ids[0] != stock[number][0] for number, _, ids in rows)
            done += len(rows)
            memory.append(sum(map(_resident, _descendants(os.getpid()))))
    return {"requests": done, "MiB": memory, "lost": lost}


def _descendants(process):
    tasks = Path(f"/proc/{process}/task").glob("*/children")
    children = [int(child) for task in tasks for child in task.read_text().split()]
    return children + [each for child in children for each in _descendants(child)]


def _resident(process):
    """Return the resident memory of a process, MiB."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20


def _grew(memory):
    return bool(memory) and memory[-1] > memory[0] * (1 + _MOST_GROWTH)


if __name__ == "__main__":
    run(
        __doc__,
        {epochs: 200, predictions: 10**5, requests: 10**5},
        lambda found: found["lost"] or _grew(found["MiB"]),
    )
