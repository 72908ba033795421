"""Answers of teachers to the views of an image that the student sees, made where images are read; without Paddle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Iterable, Mapping, Sequence

import numpy as np

from ..base.files import checksum
from ..data.transforms.compose import Compose
from ..data.transforms.core import NormalizeImage
from ..errors import ConfigError, DataError
from .answers import Records
from .teacher_graph import TeacherGraph, described_answers

if TYPE_CHECKING:
    from ..data.dataset import ImageDataset


class Views:
    """Answers of the teachers `graphs` to views of the training images of `dataset`.

    A view is drawn once more by the same random numbers, at the teacher's size and with its NormalizeImage: the same
    crop, flip and colours, but of the photo, not of the student's few pixels. Teaching is consistent and views are many
    (Beyer et al., arXiv 2106.05237, section 3). It depends on seed, epoch and image alone, so a resumed run is exact.
    Where the dataset has a number of `views` of each image, the answers to them are kept in files below `cache`, as the
    soft labels of Shen and Xing, arXiv 2112.01528; `about` says what the views depend on beside dataset and teacher.

    A teacher whose network is a part of another's (`linear_teacher.write_teacher`) is answered by the same pass.

    Raises ConfigError: the images cannot be drawn as the teacher needs them. DataError: none of them can be read.
    """

    def __init__(
        self, graphs: Sequence[TeacherGraph], dataset: ImageDataset, cache: str, about: Mapping[str, Any]
    ) -> None:
        first = _first_readable(dataset)
        prepared = {graph.name: graph.transforms(dataset.read(first)) for graph in graphs}
        passes: dict[str, _Pass] = {}
        for graph in graphs:
            alike = [one for one in graphs if np.array_equal(prepared[one.name], prepared[graph.name])]
            host = _host(graph, alike)
            if host.name not in passes:
                passes[host.name] = _Pass(host, dataset, prepared[host.name].shape)
            passes[host.name].outputs[graph.name] = graph.output
        self._passes = list(passes.values())
        for one in self._passes:
            one.prepare(first, cache, about)

    def __call__(self, indices: Sequence[int], epoch: int) -> dict[str, np.ndarray]:
        """Return {teacher: answers float32 (N, D)} to images in `epoch` by their places in the list; N > 0."""
        return {name: rows for one in self._passes for name, rows in one.answers(indices, epoch).items()}


class _Pass:
    """Forward pass that answers for one teacher or several; its images have the shape (C, H, W)."""

    def __init__(self, graph: TeacherGraph, dataset: ImageDataset, shape: tuple[int, ...]) -> None:
        transforms = _as_seen_by(graph, dataset.transforms)
        self._graph, self._size = graph, (shape[2], shape[1])
        self._views = type(dataset)(dataset.image_list, transforms, dataset.seed, dataset.views)
        self._kept: Records | None = None
        self._ends: list[int] = []  # of the answer of each teacher in a row of all
        self.outputs: dict[str, str] = {}  # {teacher: output of the graph}

    def prepare(self, index: int, cache: str, about: Mapping[str, Any]) -> None:
        """Try the graph on the image at `index`, and find the answers that are kept."""
        self._ends = np.cumsum([rows.shape[1] for rows in self._run([index], 0)]).tolist()
        if self._views.views is not None:
            place = {"seed": self._views.seed, "images": len(self._views), "size": self._size}
            answers = described_answers(self._graph, list(self.outputs.values()))
            self._kept = Records(cache, {**about, **place, **answers}, self._ends[-1])

    def answers(self, indices: Sequence[int], epoch: int) -> dict[str, np.ndarray]:
        """Return {teacher: answers float32 (N, D)} to images in `epoch`."""
        rows = np.empty((len(indices), self._ends[-1]), np.float32)
        missing = self._fill_in_kept(rows, indices, epoch)
        if missing:
            rows[missing] = np.concatenate(self._run([indices[place] for place in missing], epoch), axis=1)
        if self._kept is not None:
            for place in missing:
                index = indices[place]
                self._kept.put(self._views.place(index, epoch), self._views.read(index), rows[place])
        return dict(zip(self.outputs, np.split(rows, self._ends[:-1], axis=1)))

    def _fill_in_kept(self, rows: np.ndarray, indices: Sequence[int], epoch: int) -> list[int]:
        """Return the places of those `rows` whose answers are not kept."""
        if self._kept is None:
            return list(range(len(indices)))
        missing = []
        for place, index in enumerate(indices):
            found = self._kept.get(self._views.place(index, epoch), self._views.read(index))
            if found is None:
                missing.append(place)
            else:
                rows[place] = found
        return missing

    def _run(self, indices: Sequence[int], epoch: int) -> list[np.ndarray]:
        images = [self._views.sample(index, epoch, self._size)[0] for index in indices]
        return self._graph.run(images, list(self.outputs.values()))


def _host(graph: TeacherGraph, alike: Iterable[TeacherGraph]) -> TeacherGraph:
    """Return the graph that has the network of `graph` in it, of those with the same transforms; or itself."""
    digest = checksum(graph.file, ConfigError)
    for other in alike:
        if other.bundle.made_of == digest and graph.output in other.engine.outputs:
            return other
    return graph


def _as_seen_by(teacher: TeacherGraph, student: Compose) -> Compose:
    """Return the transforms of the student with the NormalizeImage of the teacher."""
    ops = f"{teacher.name} sees the student's crops, and its NormalizeImage takes the place of the student's"
    cuts = [op for op in student.ops if getattr(op, "takes_size", False)]
    if len(cuts) != 1 or not getattr(cuts[0], "resizes_part", False):
        raise ConfigError(
            "sees: crop: DataLoader.Train.dataset.transform_ops need one RandCropImage or RandomResizedCrop, which "
            "cuts the same part for teacher and student; or leave sees out: the teacher answers once, to whole images"
        )
    own, replaced = (
        [op for op in there if isinstance(op, NormalizeImage)]
        for there in (teacher.transforms.ops, student.ops)
    )
    if len(own) != 1 or len(replaced) != 1 or own[0].order != replaced[0].order:
        raise ConfigError(f"sees: crop: {ops}; write one of the same order in both")
    if teacher.transforms.ops[0].to_rgb != student.ops[0].to_rgb:
        raise ConfigError(f"sees: crop: {ops}; decode both alike, with the same DecodeImage.to_rgb")
    return Compose([own[0] if op is replaced[0] else op for op in student.ops])


def _first_readable(dataset: ImageDataset) -> int:
    """Return the place of the first image that can be read and drawn."""
    for index in range(len(dataset)):
        try:
            dataset.sample(index)
        except DataError:  # the reader names it
            continue
        return index
    raise DataError("no training image can be read, so that no teacher can be asked")
