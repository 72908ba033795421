"""Tags for the clothing photos: two facts of each photo, the part of the body and the length, from its class.

    python tools/benchmarks/clothing_tags.py dataset/clothing10

FOLDER has class folders in train, validation and test (https://github.com/alexeygrigorev/clothing-dataset-small, CC0).
It gets a table of tags for each, train_tags.csv, validation_tags.csv and test_tags.csv. The length of a dress, a shirt
or a skirt is not told by its class, and stays not known. configs/quick_start/clothing_tags.yaml trains on them.
"""

import csv
import io
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_light import cli  # before other packages: it says in one line which of them is missing

# isort: split
from ppcls_light.base.files import write_text
from ppcls_light.bench import harness
from ppcls_light.data.scan import scan_image_folder
from ppcls_light.errors import DataError

PARTS = {
    "top": ("longsleeve", "outwear", "shirt", "t-shirt"),
    "bottom": ("pants", "shorts", "skirt"),
    "one-piece": ("dress",),
    "shoes": ("shoes",),
    "hat": ("hat",),
}
LENGTHS = {"long": ("longsleeve", "outwear", "pants"), "short": ("t-shirt", "shorts")}
OF_ANY_LENGTH = ("dress", "shirt", "skirt")
SPLITS = ("train", "validation", "test")


def tags_of(name):
    """Return the cells of a class, in the order of `PARTS` and `LENGTHS`: 1, 0, and nothing where it is not known."""
    parts = [int(name in members) for members in PARTS.values()]
    lengths = ["" if name in OF_ANY_LENGTH else int(name in members) for members in LENGTHS.values()]
    return [*parts, *lengths]


def write_table(folder, split):
    images, names = scan_image_folder(os.path.join(folder, split))
    unknown = sorted(set(names) - {name for members in PARTS.values() for name in members})
    if unknown:
        raise DataError(f"{folder}: the class {unknown[0]} has no tags; give clothing-dataset-small")
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["path", *PARTS, *LENGTHS])
    for index in range(len(images)):
        table.writerow([f"{split}/{images.name(index)}", *tags_of(names[images.label(index)])])
    path = os.path.join(folder, f"{split}_tags.csv")
    write_text(path, text.getvalue(), DataError)
    print(f"{path}: {len(images)} images")


def main():
    parser = harness.tool_parser(__doc__)
    parser.add_argument("folder", metavar="FOLDER", help="see above")
    folder = parser.parse_args().folder
    for split in SPLITS:
        write_table(folder, split)


if __name__ == "__main__":
    cli.run(main)
