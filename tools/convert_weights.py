"""Convert weights of torch, timm or PaddleClas: python tools/convert_weights.py SOURCE DST --arch NAME [--ema]"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_light import cli


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help=".pth, .pt, .pth.tar, .ckpt, .safetensors, .npz, .pdparams, or the https URL of one",
    )
    parser.add_argument("destination", metavar="DST", help=".pdparams or .safetensors")
    parser.add_argument(
        "--arch", required=True, metavar="NAME", help="the network, for example fasternet_t0 or lcnet_100"
    )
    parser.add_argument("--ema", action="store_true", help="take the checkpoint's averaged weights")
    args = parser.parse_args()
    from ppcls_light.weights import convert_file, local_file

    source, ema = args.source, args.ema
    if "://" in source:
        file = local_file(source, args.arch)
        source, ema = file.path, ema or (None if file.ema else False)
    print(convert_file(source, args.destination, args.arch, ema))
    print(f"wrote {args.destination}")


if __name__ == "__main__":
    cli.run(main)
