"""Print parameters and multiply-adds of a network by layer.

%(prog)s output/photos
%(prog)s -c CONFIG [-o Arch.name=PPLCNet_x1_0 ...]
"""

import argparse

from .. import cli


def add_arguments(parser: argparse.ArgumentParser) -> None:
    cli.add_config_or_run(parser)


def main(arguments: argparse.Namespace) -> None:
    config = cli.parse_config(arguments)
    from ..models import create_model
    from ..models.profile import profile

    # Random weights cost as much as trained ones, so none are read.
    arch = config.Arch.network
    model = create_model(arch.name, class_num=arch.class_num, **arch.params)
    print(f"{model.model_name}, one image of {'x'.join(map(str, config.Global.image_shape))}")
    print(profile(model, config.Global.image_shape))
