"""Remove filters of a trained network: python tools/prune.py -c CONFIG -o Global.pretrained_model=FILE --out FOLDER"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_light import cli


def main():
    parser = cli.config_parser(__doc__)
    parser.add_argument(
        "--ratio", type=float, default=0.3, help="share of the filters to remove; default 0.3"
    )
    parser.add_argument(
        "--criterion",
        choices=("l1_norm", "fpgm"),
        default="l1_norm",
        help="which go: those of the least L1 norm, or nearest to the geometric median; default l1_norm",
    )
    parser.add_argument("--out", required=True, metavar="FOLDER", help="gets pruned.pdparams and config.yaml")
    arguments = parser.parse_args()
    config = cli.parse_config(arguments)
    from ppcls_light import jobs

    jobs.prune(config, arguments.ratio, arguments.criterion, arguments.out)


if __name__ == "__main__":
    cli.run(main)
