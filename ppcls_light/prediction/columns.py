"""Keys of the rows of images, which a table has as columns."""

from typing import NamedTuple, Optional, Tuple

CLASSES = ("class_ids", "scores", "label_names")  # keys of a row of classes or tags


class Columns(NamedTuple):
    """Keys of a row beside file_name, each a list of `places` entries at most; None: of any number, or a text."""

    keys: Tuple[str, ...]
    places: Optional[int]
