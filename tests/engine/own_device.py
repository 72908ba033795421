"""Run by `paddle.distributed.launch` in test_distributed.py: own_device.py FOLDER, for one file a rank."""

import json
import os
import sys
from pathlib import Path

from ppcls_light.engine import distributed as runtimes

runtime = runtimes.start("cpu")
found = {
    "device": runtime.device,
    "backend": os.environ["PADDLE_DISTRI_BACKEND"],
    "gpu": runtimes.own_device("gpu", os.environ),
}
Path(sys.argv[1], f"{runtime.rank}.json").write_text(json.dumps(found))
