"""Train a network: python tools/train.py -c configs/quick_start/digits.yaml [-o Section.key=value ...]"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_light import cli


def main():
    parser = cli.tool_parser(__doc__)
    parser.add_argument("-p", "--profiler_options", metavar="KEY=VALUE;...", help="profile a range of steps")
    arguments = parser.parse_args()
    config = cli.parse_config(arguments)
    from ppcls_light import tasks

    if arguments.dry_run:
        tasks.dry_run(config)
    else:
        tasks.train(config, arguments.profiler_options)


if __name__ == "__main__":
    cli.run(main)
