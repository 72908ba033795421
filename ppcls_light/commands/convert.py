"""Convert weights of torch, timm or PaddleClas.

%(prog)s SOURCE DST --arch NAME [--ema]
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "source",
        metavar="SOURCE",
        help=".pth, .pt, .pth.tar, .ckpt, .safetensors, .npz, .pdparams, or the https URL of one",
    )
    add("destination", metavar="DST", help=".pdparams or .safetensors")
    add("--arch", required=True, metavar="NAME", help="the network, for example fasternet_t0 or lcnet_100")
    add("--ema", action="store_true", help="take the checkpoint's averaged weights")


def main(arguments: argparse.Namespace) -> None:
    from ..weights import convert_file, local_file

    source, ema = arguments.source, arguments.ema
    if "://" in source:
        file = local_file(source, arguments.arch)
        source, ema = file.path, ema or (None if file.ema else False)
    print(convert_file(source, arguments.destination, arguments.arch, ema))
    print(f"wrote {arguments.destination}")
