"""Parameters and multiply-adds by layer: python tools/summary.py -c CONFIG [-o Arch.name=PPLCNet_x1_0 ...]"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_light import cli


def main():
    config = cli.parse_config(cli.config_parser(__doc__).parse_args())
    from ppcls_light.models import create_model
    from ppcls_light.models.profile import profile

    # Random weights cost as much as trained ones, so none are read.
    arch = config.Arch.network
    model = create_model(arch.name, class_num=arch.class_num, **arch.params)
    print(f"{model.model_name}, one image of {'x'.join(map(str, config.Global.image_shape))}")
    print(profile(model, config.Global.image_shape))


if __name__ == "__main__":
    cli.run(main)
