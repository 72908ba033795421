"""Show what in an image speaks for a class: python tools/explain.py -c CONFIG --image FILE_OR_FOLDER"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_light import cli
from ppcls_light.errors import ConfigError


def parse_args():
    parser = cli.config_parser(__doc__, required=False)
    parser.add_argument("--model", metavar="FOLDER", help="an exported folder, in place of -c")
    parser.add_argument("--image", required=True, metavar="PATH", help="an image, or a folder of images")
    parser.add_argument(
        "--method",
        metavar="NAME",
        help="layercam (default), gradcam, scorecam, smoothgrad, occlusion (default of --model) or lime",
    )
    parser.add_argument(
        "--class",
        dest="label",
        metavar="CLASS",
        help="name or number of the class; default: the most probable one",
    )
    parser.add_argument("--layer", metavar="NAME", help="whose map a CAM shows; default: the family's")
    parser.add_argument(
        "--out", metavar="FOLDER", help="default: explain in Global.output_dir, or output/explain"
    )
    parser.add_argument(
        "--limit", type=int, default=100, metavar="N", help="images of a folder at most; default: 100"
    )
    parser.add_argument(
        "--engine", metavar="NAME", help="of --model: paddle (default), onnxruntime, openvino or auto"
    )
    arguments = parser.parse_args()
    if (arguments.config is None) == (arguments.model is None):
        parser.error("give one of -c CONFIG and --model FOLDER")
    return arguments


def main():
    arguments = parse_args()
    given = {"source": arguments.image, "label": arguments.label, "limit": arguments.limit}
    if arguments.model is None:
        if arguments.engine:
            raise ConfigError("--engine is of an exported folder; leave it out, or give --model")
        config = cli.parse_config(arguments)
        from ppcls_light import jobs

        jobs.explain(
            config,
            folder=arguments.out,
            method=arguments.method or "layercam",
            layer=arguments.layer,
            **given,
        )
        return
    own = {"-o": arguments.override, "--print-config": arguments.print_config, "--layer": arguments.layer}
    for option, value in own.items():
        if value:
            raise ConfigError(f"{option} is of a checkpoint; leave it out, or give -c in place of --model")
    from ppcls_light.explanation.job import explain_exported

    cli.log_to_stderr()
    explain_exported(
        arguments.model,
        folder=arguments.out or "output/explain",
        method=arguments.method or "occlusion",
        engine=arguments.engine or "paddle",
        **given,
    )


if __name__ == "__main__":
    cli.run(main)
