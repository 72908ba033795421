"""Classify images: python tools/infer.py -c CONFIG -o Infer.infer_imgs=FILE_OR_FOLDER"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_light import cli


def main():
    parser = cli.tool_parser(__doc__)
    arguments = parser.parse_args()
    config = cli.parse_config(arguments)
    from ppcls_light import tasks

    if arguments.dry_run:
        tasks.dry_run(config)
    else:
        tasks.infer(config)


if __name__ == "__main__":
    cli.run(main)
