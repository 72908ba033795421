"""Fit a classifier on a network's embeddings, as a teacher: python tools/fit_teacher.py -c CONFIG --out FOLDER"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_light import cli


def main():
    parser = cli.config_parser(__doc__)
    parser.add_argument(
        "--out", required=True, metavar="FOLDER", help="gets inference.onnx and inference.yml"
    )
    parser.add_argument(
        "--teacher",
        metavar="NAME",
        help="whose embeddings; default: the one of the config's DistillationFeatureLoss",
    )
    arguments = parser.parse_args()
    config = cli.parse_config(arguments)
    from ppcls_light import jobs

    jobs.fit_teacher(config, arguments.out, arguments.teacher)


if __name__ == "__main__":
    cli.run(main)
