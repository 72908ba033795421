"""Score trained weights: python tools/eval.py -c CONFIG -o Global.pretrained_model=output/best_model"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_light import cli


def main():
    parser = cli.tool_parser(__doc__)
    parser.add_argument(
        "--predictions", metavar="FILE", help="write one JSON row an image: label, ids, scores"
    )
    arguments = parser.parse_args()
    config = cli.parse_config(arguments)
    from ppcls_light import tasks

    if arguments.dry_run:
        tasks.dry_run(config)
    else:
        tasks.evaluate(config, arguments.predictions)


if __name__ == "__main__":
    cli.run(main)
