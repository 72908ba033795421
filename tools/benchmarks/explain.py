"""Agreement of heat maps with occlusion, and what is left of them without the training, on real photos.

    python tools/benchmarks/explain.py -c CONFIG -o Global.pretrained_model=WEIGHTS --images FOLDER --count 60

For each photo the most probable class is explained. Maps are compared by Spearman's rank correlation over 12 x 12
cells, ties at their mean rank, and Grad-CAM also with the loss of the logit when cells of its own map are zeroed.
Controls: the map of another photo; the same photo's after the classifier, and after all weights, were drawn anew
(sanity checks of Adebayo et al., arXiv 1810.03292), which should not look the same.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_light import cli

# isort: split
import numpy as np
import paddle
from scipy.stats import spearmanr

from ppcls_light.base.tables import markdown_table, write_csv
from ppcls_light.data.decode import read_bytes
from ppcls_light.data.scan import find_images
from ppcls_light.data.transforms.compose import build_transforms
from ppcls_light.engine.network import build_model, trained_weights
from ppcls_light.engine.readers import inference_transforms
from ppcls_light.explanation import cam
from ppcls_light.explanation.heat_maps import heat_maps, probabilities
from ppcls_light.explanation.occlusion import CELLS
from ppcls_light.models import create_model
from ppcls_light.registry import MODELS

METHODS = ("layercam", "gradcam", "scorecam", "smoothgrad")
COLUMNS = ("method", "compared with", "maps", "median", "lower quartile", "upper quartile")


def parse_arguments():
    parser = cli.config_parser(__doc__)
    parser.add_argument("--images", required=True, metavar="FOLDER")
    parser.add_argument("--count", type=cli.positive, default=60, help="photos, evenly chosen; default: 60")
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=METHODS)
    parser.add_argument("--csv", metavar="FILE", help="gets the table, too")
    return parser.parse_args()


def cells(maps):
    """Return maps (N, H, W) as (N, 144): means over 12 x 12 cells."""
    rows, columns = (np.linspace(0, side, CELLS + 1).round().astype(int) for side in maps.shape[1:])
    sums = np.add.reduceat(np.add.reduceat(maps, rows[:-1], axis=1), columns[:-1], axis=2)
    return (sums / np.outer(np.diff(rows), np.diff(columns))).reshape(len(maps), -1)


def agreement(first, second):
    """Return the rank correlation of each pair of maps (N, H, W) over their cells; see `correlations`."""
    return correlations(cells(first), cells(second))


def correlations(first, second):
    """Return the rank correlation of each pair of rows, without those of which one is the same everywhere."""
    pairs = [(a, b) for a, b in zip(first, second) if np.ptp(a) and np.ptp(b)]
    return np.array([spearmanr(a, b).statistic for a, b in pairs])


def exactness(model, images, classes):
    """Return the rank correlation of Grad-CAM's cells with the logit's loss where a cell of that map is zeroed."""
    layer = dict(model.named_sublayers())[MODELS.get(model.model_name).family.last_map(model)]
    maps, losses, hidden = cam.gradcam(model, layer, images, classes), [], []

    def hide(layer, inputs, output):
        shown = np.ones(output.shape, "float32")
        for row, column in hidden:
            shown[:, :, row, column] = 0
        return output * paddle.to_tensor(shown)

    def logits():
        with paddle.no_grad():
            answers = [model(paddle.to_tensor(image[None])).numpy()[0] for image in images]
        return np.array(answers)[np.arange(len(classes)), classes]

    whole, hook = logits(), layer.register_forward_post_hook(hide)
    for cell in np.ndindex(maps.shape[1:]):
        hidden[:] = [cell]
        losses.append(whole - logits())
    hook.remove()
    return correlations(maps.reshape(len(maps), -1), np.transpose(losses))


def summary(method, other, values):
    quartiles = np.percentile(values, (50, 25, 75)) if len(values) else [np.nan] * 3
    return (method, other, len(values), *(f"{value:.2f}" for value in quartiles))


def redrawn(model, keys, seed):
    """Return a network like `model` with its weights, but for those of `keys`, which are drawn anew."""
    paddle.seed(seed)
    other = create_model(model.model_name, **model.options)
    kept = {key: value for key, value in model.state_dict().items() if key not in keys}
    other.set_state_dict({**other.state_dict(), **kept})
    other.eval()
    return other


def main():
    arguments = parse_arguments()
    config = cli.parse_config(arguments)
    cli.log_to_stderr()
    paddle.set_device("cpu")
    model = build_model(config, trained_weights(config))
    model.eval()
    transforms = build_transforms(inference_transforms(config))
    paths = find_images(arguments.images)
    count = min(arguments.count, len(paths))
    chosen = [paths[index * len(paths) // count] for index in range(count)]
    images = np.stack([transforms(read_bytes(path)) for path in chosen])
    classes = np.concatenate([probabilities(model, image[None]).argmax(axis=1) for image in images])
    occluded = heat_maps(model, images, classes, "occlusion") if arguments.methods else None
    untrained = {
        "its own, classifier drawn anew": redrawn(model, model.head_keys, config.Global.seed),
        "its own, all weights drawn anew": redrawn(model, model.state_dict(), config.Global.seed),
    }
    table = [summary("gradcam", "its pooled map, cells zeroed", exactness(model, images, classes))]
    for method in arguments.methods:
        maps = heat_maps(model, images, classes, method)
        table.append(summary(method, "occlusion", agreement(maps, occluded)))
        table.append(
            summary(method, "occlusion of another photo", agreement(maps, np.roll(occluded, 1, axis=0)))
        )
        for name, other in untrained.items():
            again = heat_maps(other, images, classes, method)
            table.append(summary(method, name, agreement(maps, again)))
    shown = f"{len(images)} of {len(paths)} photos of {arguments.images}"
    print(f"{model.model_name}, {shown}, {images.shape[3]} pixels wide\n")
    print(markdown_table(COLUMNS, table), end="")
    if arguments.csv:
        write_csv(arguments.csv, COLUMNS, table)


if __name__ == "__main__":
    cli.run(main)
