"""Show what in an image speaks for a class.

%(prog)s output/photos PHOTO_OR_FOLDER
%(prog)s -c CONFIG --image PHOTO_OR_FOLDER
"""

import argparse

from .. import cli
from ..base.run_folder import is_run
from ..errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    cli.add_config_or_run(parser, "an exported folder, or that of a training")
    add = parser.add_argument
    add("path", nargs="?", metavar="PATH", help="an image, or a folder of images; the same as --image")
    add("--model", metavar="FOLDER", help="an exported folder, in place of -c")
    add("--image", metavar="PATH", help="an image, or a folder of images")
    add(
        "--method",
        metavar="NAME",
        help="layercam (default), gradcam, scorecam, smoothgrad, occlusion (default of --model) or lime",
    )
    add(
        "--class",
        "--label",
        dest="label",
        metavar="CLASS",
        help="name or number of the class, or of the tag; default: the most probable one",
    )
    add("--layer", metavar="NAME", help="whose map a CAM shows; default: the family's")
    add("--out", metavar="FOLDER", help="default: explain in Global.output_dir, or output/explain")
    add("--limit", type=int, default=100, metavar="N", help="images of a folder at most; default: 100")
    add("--engine", metavar="NAME", help="of --model: paddle, onnxruntime, openvino, native or auto")


def main(arguments: argparse.Namespace) -> None:
    images = [path for path in (arguments.path, arguments.image) if path is not None]
    networks = [name for name in (arguments.run, arguments.config, arguments.model) if name is not None]
    if len(networks) != 1:
        raise ConfigError("give one of -c CONFIG and --model FOLDER, or the folder alone")
    if len(images) != 1:
        raise ConfigError(
            "give an image or a folder of images, after the folder of the network or by --image"
        )
    given = {"source": images[0], "label": arguments.label, "limit": arguments.limit}
    if arguments.model is None and not (arguments.run and not is_run(arguments.run)):
        _explain_trained(arguments, given)
    else:
        _explain_exported(arguments, given)


def _explain_trained(arguments: argparse.Namespace, given: dict) -> None:
    if arguments.engine:
        raise ConfigError("--engine is of an exported folder; leave it out, or give --model")
    config = cli.parse_config(arguments)
    from .. import jobs

    jobs.explain(
        config,
        folder=arguments.out,
        method=arguments.method or "layercam",
        layer=arguments.layer,
        **given,
    )


def _explain_exported(arguments: argparse.Namespace, given: dict) -> None:
    own = {"-o": arguments.override, "--print-config": arguments.print_config, "--layer": arguments.layer}
    for option, value in own.items():
        if value:
            raise ConfigError(f"{option} is of a checkpoint; leave it out, or give -c in place of --model")
    from ..explanation.job import explain_exported

    cli.log_to_stderr()
    explain_exported(
        cli.exported(arguments.model or arguments.run),
        folder=arguments.out or "output/explain",
        method=arguments.method or "occlusion",
        engine=arguments.engine,
        **given,
    )
