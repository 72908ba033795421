"""Export for Paddle Inference: python tools/export_model.py -c CONFIG -o Global.pretrained_model=FILE"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_light import cli


def export(config):
    from ppcls_light import tasks

    tasks.export(config)


if __name__ == "__main__":
    cli.run_job(export, __doc__)
