"""The output folder: part-00000.jsonl or .parquet, ..., each with the rows of so many images in their order.

A part appears whole or not at all, and which images it holds does not depend on who makes it or how often. So a
part that is lost with its worker, or with the whole job, is simply made again, and every row comes out once.
_job.json says what the parts are parts of; tools that read a whole folder leave names with _ out.
"""

import hashlib
import json
import os
from dataclasses import dataclass

from ..base.files import atomic_path, write_text
from ..errors import ConfigError, ExportError


@dataclass(frozen=True)
class Parts:
    """Where the rows of `count` images go.

    Attributes:
        folder: absolute path.
        format: "jsonl" or "parquet".
        size: images a part.
        count: images in all.
    """

    folder: str
    format: str
    size: int
    count: int

    def path(self, part):
        return os.path.join(self.folder, f"part-{part:05}.{self.format}")

    def first(self, part):
        """Return the id of the first image of a part; ids are places in the list of images, from 0."""
        return part * self.size

    def missing(self):
        """Return the numbers of the parts that are not there yet."""
        return [part for part in range(-(-self.count // self.size)) if not os.path.exists(self.path(part))]

    def claim(self, names, model_files):
        """Write _job.json, or raise ConfigError when the folder belongs to another job already."""
        job = {
            "images": self.count,
            "part_size": self.size,
            "format": self.format,
            "list": _checksum(os.fsencode(name) + b"\n" for name in names),
            "model": _checksum(_content(path) for path in model_files),
        }
        path = os.path.join(self.folder, "_job.json")
        if os.path.exists(path):
            found = _read_job(path)
            different = [key for key, value in job.items() if found.get(key) != value]
            if different:
                raise ConfigError(
                    f"{path}: this folder has rows of another job ({', '.join(different)} differs); "
                    "give another --output, or remove the folder"
                )
        write_text(path, json.dumps(job, indent=1) + "\n", ConfigError)

    def write(self, part, rows):
        """Write the rows of one part: dicts of id, file_name, and class_ids, scores, label_names or error."""
        if self.format == "jsonl":
            lines = (json.dumps(row, ensure_ascii=False) for row in rows)
            write_text(self.path(part), "".join(f"{line}\n" for line in lines), ExportError)
            return
        import pyarrow
        from pyarrow import parquet

        schema = pyarrow.schema(
            [
                ("id", pyarrow.int64()),
                ("file_name", pyarrow.string()),
                ("class_ids", pyarrow.list_(pyarrow.int32())),
                ("scores", pyarrow.list_(pyarrow.float32())),
                ("label_names", pyarrow.list_(pyarrow.string())),
                ("error", pyarrow.string()),
            ]
        )
        rows = [{key: _text(value) for key, value in row.items()} for row in rows]
        with atomic_path(self.path(part), ExportError) as temporary:
            parquet.write_table(pyarrow.Table.from_pylist(rows, schema), temporary)


def _read_job(path):
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: damaged, so nobody knows whose rows are here; give another --output")
    return found


def _text(value):
    # a file name of broken bytes, which UTF-8 cannot hold
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _checksum(pieces):
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def _content(path):
    with open(path, "rb") as file:
        return file.read()
