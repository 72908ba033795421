"""Pack the photos that come with the package: a few of each class of clothing-dataset-small, made smaller.

    python tools/tutorials/pack_photos.py FOLDER

FOLDER is https://github.com/alexeygrigorev/clothing-dataset-small, unpacked. Names of the photos are random, and the
first of each class in the order of their names are taken. Writes ppcls_light/datasets/files/clothing10.zip.
"""

import argparse
import io
import sys
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppcls_light import cli
from ppcls_light.base.files import atomic_path
from ppcls_light.datasets.clothing import PART
from ppcls_light.errors import DataError

# isort: split
from PIL import Image

PHOTOS = {"train": 28, "test": 12}  # of each class
SHORT_SIDE, QUALITY = 128, 80
DATE = (2020, 11, 5, 0, 0, 0)  # of the collection; the same photos give the same file


def small(path):
    """Return the bytes of a JPEG file of a photo whose short side has 128 pixels."""
    with Image.open(path) as photo:
        ratio = SHORT_SIDE / min(photo.size)
        size = tuple(round(side * ratio) for side in photo.size)
        smaller = photo.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    file = io.BytesIO()
    smaller.save(file, "JPEG", quality=QUALITY, optimize=True)
    return file.getvalue()


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="clothing-dataset-small, unpacked")
    folder = parser.parse_args().folder
    chosen = [
        path
        for split, count in PHOTOS.items()
        for kind in sorted(path for path in (folder / split).iterdir() if path.is_dir())
        for path in sorted(kind.glob("*.jpg"))[:count]
    ]
    if len(chosen) != 10 * sum(PHOTOS.values()):
        raise DataError(f"{folder} is not clothing-dataset-small: {len(chosen)} photos of it would be taken")
    with atomic_path(PART) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for path in chosen:
            archive.writestr(zipfile.ZipInfo(path.relative_to(folder).as_posix(), DATE), small(path))
    print(f"{PART}: {len(chosen)} photos, {Path(PART).stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    cli.run(main)
