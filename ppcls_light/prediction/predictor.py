"""An exported folder as a classifier of image files."""

from __future__ import annotations

import contextlib
import copy
import functools
import logging
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..base.files import StrPath
from ..base.hints import command
from ..base.probabilities import probabilities
from ..bundle.folder import Bundle, Unknown, read_bundle, split_decode
from ..config.postprocess import OF_TAGS, PostProcess, ScoreOutput, Topk
from ..config.types import Op
from ..data.classes import ClassNames, as_class_names
from ..data.transforms.compose import Compose, InGraph, build_transforms
from ..errors import ConfigError, DataError, listed
from ..runtime.engines import Engine, create_engine
from ..runtime.native_engine import by_default
from ..runtime.options import Device, EngineOptions
from .items import Item, Items, take
from .photos import options_of_photos, require_own_transforms
from .pipeline import read_ahead, shared_out
from .postprocess import PostProcessor
from .results import Row, answer_batch, no_numbers

if TYPE_CHECKING:
    from .unknown import Doubt

logger = logging.getLogger(__name__)


class Predictor:
    """Classify images with a folder that `tools/export_model.py`, PaddleClas or PaddleX wrote.

    Preprocessing, class names and the kind of output come from the folder's inference.yml.

    Args:
        folder: holds inference.json or inference.pdmodel, inference.pdiparams and inference.yml; or, for the
            engines onnxruntime and openvino, inference.onnx and inference.yml, and then needs no Paddle. Or the
            `Bundle` of such a folder.
        device: "cpu" or "gpu".
        batch_size: images per forward pass in `predict`.
        transform_ops: (name, params) pairs in place of the folder's; needed when it has no inference.yml.
        postprocess: the kind of answer, in place of the folder's.
        topk: the so many best classes or tags in a row, whatever the folder's kind of answer is.
        class_names: a list, {id: name} or ClassNames, for a folder that has none; others must be these.
        make_engine: makes the `Engine` of a `Bundle` that is no exported folder.
        engine_options: further fields of `EngineOptions` (engine, cpu_threads, onednn, precision, ...). Without an
            engine it is native where the folder has a plan for it, else Paddle. With engine or precision "auto", making
            a Predictor takes some seconds the first time on a machine, while the engines are measured; engine.json in
            the folder then remembers the choice.

    Raises:
        ConfigError: the folder or its inference.yml is not usable, names and classes differ in number, or the network
            cannot answer in this kind.
        DataError: `class_names` are not the folder's.
        DeviceError: the engine is not installed, or cannot do what is asked.

    Any number of threads may use it at once. With Paddle one runs at a time; a `clone()` for each thread makes no
    difference to the answers.

    Attributes:
        bundle: the folder, with what was given in place of its own settings.
    """

    def __init__(
        self,
        folder: StrPath | Bundle,
        *,
        device: Device = "cpu",
        batch_size: int = 1,
        transform_ops: Iterable[tuple[str, dict[str, Any]]] | None = None,
        postprocess: PostProcess | None = None,
        topk: int | None = None,
        class_names: ClassNames | Sequence[str] | dict[int, str] | None = None,
        make_engine: Callable[[Bundle, EngineOptions], Engine] = create_engine,
        **engine_options: Any,
    ) -> None:
        bundle = folder if isinstance(folder, Bundle) else read_bundle(folder)
        self.batch_size = batch_size
        ops = bundle.transform_ops if transform_ops is None else [Op(*pair) for pair in transform_ops]
        if ops is None:
            raise ConfigError(
                f"{bundle.folder}: no inference.yml here, which says how images are prepared; export the model "
                f"again with {command('export')}, or give PreProcess.transform_ops in the deploy YAML"
            )
        require_own_transforms(bundle, ops)
        names = bundle.class_names
        if class_names is not None:
            given = as_class_names(class_names, "class_names")
            if names is not None:
                names.require_same(
                    given, "leave the second out; what is shown for a class is set in the first"
                )
            names = given
        kind = Topk(topk=topk) if topk is not None else postprocess or bundle.postprocess
        self._rows = PostProcessor(kind, names)
        multilabel = bundle.multilabel
        if bundle.class_num is not None:
            self._rows.check_network(bundle.class_num, multilabel)
        else:  # of another exporter: the kind says what the graph ends with
            multilabel = multilabel or isinstance(kind, OF_TAGS)
        self.bundle = bundle = replace(
            bundle,
            transform_ops=ops,
            postprocess=kind,
            multilabel=multilabel,
            class_names=self._rows.class_names,
        )
        self._doubt = None if bundle.unknown is None else _doubt(bundle, bundle.unknown)
        decode, ops = split_decode(ops)
        self._transforms = build_transforms([*(decode or bundle.decode or [Op("DecodeImage", {})]), *ops])
        if bundle.photos is not None:
            self._transforms = InGraph(self._transforms.ops)
        engine = engine_options.pop("engine", None)
        options = EngineOptions(engine or "paddle", device=device, batch_size=batch_size, **engine_options)
        if self._doubt is not None:
            options = self._doubt.in_precision(options)
        options = options_of_photos(bundle, options)
        if engine is None:
            options = by_default(bundle, options)
        if "auto" in (options.engine, options.precision):
            from ..runtime.auto import resolve  # its imports for the measurement take time

            options = resolve(bundle, options, self.image_shape)
            logger.info("running on %s %s", options.engine, options.precision)
        self._make_engine, self._engine = make_engine, make_engine(bundle, options)

    def __repr__(self) -> str:
        *words, (kind, place) = self._described().items()
        return f"Predictor {', '.join([*(word for _, word in words), f'{kind} {place}'])}"

    def _repr_html_(self) -> str:
        """Return what the predictor is, with all class names, as a table for a notebook."""
        from ..base.html import details, table

        limits = np.atleast_1d(getattr(self.postprocess, "limit", []))
        threshold = f", threshold {', '.join(f'{limit:.4g}' for limit in limits)}" if limits.size else ""
        answers = ("answers", self.postprocess.name + threshold)
        rows = [*self._described().items(), answers, ("outputs", ", ".join(self.bundle.outputs))]
        of = "tags" if self.bundle.multilabel else "class names"
        names = () if self.class_names is None else [details(of, ", ".join(self.class_names))]
        return "\n".join([table(("Predictor", ""), rows), *names])

    def _described(self) -> dict[str, str]:
        """Return what is known of the network, {kind of it: its words}, its place last."""
        bundle, options, names = self.bundle, self.engine_options, self.class_names
        count, known_names = bundle.class_num or len(names or ()), f" ({listed(names)})" if names else ""
        place = ("folder", bundle.folder) if bundle.is_exported else ("weights", bundle.graph_file)
        of = "tags" if bundle.multilabel else "classes"
        known = {
            "network": bundle.model_name,
            of: f"{count} {of}{known_names}" if count else "",
            "image": "x".join(map(str, bundle.image_shape or ())),
            "engine": options.title + (" on GPU" if options.device == "gpu" else ""),
        }
        return dict([*((kind, words) for kind, words in known.items() if words), place])

    def clone(self) -> Predictor:
        """Return a predictor that runs beside this one; the weights are shared."""
        twin = copy.copy(self)
        twin._engine = self._engine.clone()
        return twin

    @property
    def engine(self) -> Engine:
        """The engine that runs the network."""
        return self._engine

    @property
    def engine_options(self) -> EngineOptions:
        """Options in force: without "auto", and `onednn` is False when Paddle could not run with it."""
        return self._engine.options

    @property
    def class_names(self) -> ClassNames | None:
        """ClassNames in the order of the class ids, None when nothing names them."""
        return self._rows.class_names

    @property
    def postprocess(self) -> PostProcess:
        """The kind of answer."""
        return self._rows.kind

    @property
    def rows(self) -> PostProcessor:
        """The `PostProcessor` that makes rows of probabilities."""
        return self._rows

    @property
    def transforms(self) -> Compose:
        """The transforms from an image file to an array of the network."""
        return self._transforms

    @property
    def topk(self) -> int | None:
        """Number of classes in a row, if there are as many; None for another kind of answer."""
        return getattr(self._rows.kind, "topk", None)

    @property
    def image_shape(self) -> list[int]:
        """Shape of an image for the network, [C, H, W]: as recorded, else that of a prepared picture of 512 x 512."""
        return self.bundle.image_shape or list(self._transforms(np.zeros((512, 512, 3), "uint8")).shape)

    def preprocess(self, image: Any, bgr: bool = False) -> np.ndarray:
        """Return one image, as `predict` takes it, as the graph takes it: float32 (C, H, W), or uint8 (H, W, 3).

        The second is of a graph that prepares photos itself, `bundle.folder.Photos`.

        Raises DataError: the image cannot be used, or its shape after preprocessing is not the network's.
        """
        return self._transforms.finish(self.prepare(image, bgr)[None])[0]

    def prepare(self, image: Any, bgr: bool = False) -> np.ndarray:
        """Return one image as `answer` takes it: of a quarter of the bytes where its values are normalised at the end.

        It is uint8 (H, W, 3) then, else as `preprocess` returns it. Raises DataError: see there.
        """
        return self._prepare(take(image, bgr))

    def seen(self, image: Any, bgr: bool = False) -> np.ndarray:
        """Return one image, as `predict` takes it, as the network sees it: RGB uint8 (H, W, 3), not normalised.

        Raises DataError: the image cannot be used.
        """
        return self._transforms.seen(take(image, bgr).read())

    def _prepare(self, item: Item) -> np.ndarray:
        data = item.read()
        try:
            return self._checked(self._transforms.prepare(data))
        except DataError as error:
            raise DataError(str(error) if item.name is None else f"{item.name}: {error}") from None

    def _checked(self, ready: np.ndarray) -> np.ndarray:
        expected, shape = self.bundle.image_shape, list(ready.shape)
        if ready.dtype == np.uint8:
            shape = [*shape[2:], *shape[:2]]
        if self.bundle.photos is None and expected is not None and shape != list(expected):
            raise DataError(
                f"preprocessing gives {shape}, the network takes {list(expected)}; "
                "check the resize and crop of transform_ops"
            )
        return ready

    def run(self, images: np.ndarray) -> np.ndarray:
        """Return class probabilities (N, class_num) of `preprocess`ed images, stacked, calibrated if so fitted."""
        return self._probabilities(self._engine.run(self._input(images)))

    def run_all(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Return {"probs": as of `run`} of preprocessed images, and the graph's further outputs, (N, D), by name."""
        outputs = self._engine.run_all(self._input(images))
        names = ["probs", *self.bundle.further]
        if len(outputs) < len(names):
            raise ConfigError(
                f"{self.bundle.folder}: inference.yml says that the graph has the outputs {', '.join(names)}, and it "
                f"has {len(outputs)}; export the model again with {command('export')}"
            )
        found = {name: values.reshape(len(values), -1) for name, values in zip(names, outputs)}
        return {**found, "probs": self._probabilities(outputs[0])}

    def _input(self, images: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(images, np.float32 if self.bundle.photos is None else np.uint8)

    def _probabilities(self, outputs: np.ndarray) -> np.ndarray:
        found = probabilities(outputs, self.bundle.multilabel) if self.bundle.output == "logits" else outputs
        return found if self._doubt is None else self._doubt.calibrated(found)

    def answer(
        self, images: np.ndarray, names: Sequence[str | None], rows_of: PostProcessor | None = None
    ) -> list[Row]:
        """Return the rows of images, made by `rows_of` in place of the predictor's own.

        The images are what `prepare` or `preprocess` returned, stacked: uint8 (N, H, W, 3) or float32 (N, C, H, W).
        A bundle with the section `unknown` adds unknown, true where the image is of no class, and unknown_score.
        """
        rows_of, images = rows_of or self._rows, self._transforms.finish(images)
        if isinstance(rows_of.kind, ScoreOutput):  # the graph's numbers, logits too
            return rows_of(self._engine.run(self._input(images)), names)
        if self._doubt is None:
            return rows_of(self.run(images), names)
        answers = self.run_all(images)
        rows = rows_of(answers["probs"], names)
        for row, unknown, score in zip(rows, *self._doubt.of(answers)):
            if "error" not in row:
                row.update(unknown=bool(unknown), unknown_score=round(float(score), 5))
        return rows

    def predict(self, images: Any, bgr: bool = False) -> list[Row]:
        """Classify one image or many; one row per image, in their order.

        Args:
            images: one image, or any iterable of images, mixed at will. An image is

                - a path (str or os.PathLike) of a file;
                - the bytes of an image file: bytes, bytearray, memoryview or another buffer;
                - a binary file object, which is read from its beginning, or where it cannot be rewound, from its
                  position on;
                - a Pillow image of any mode, turned as its EXIF orientation says, as a file is;
                - a uint8 array: RGB (H, W, 3), RGBA (H, W, 4), of which alpha is dropped, grey (H, W) or (H, W, 1).

                An array (N, H, W, C) is N images; a 1-dimensional array of texts or objects is an iterable of them.
            bgr: arrays have blue first, as OpenCV reads them: BGR, BGRA.

        Returns:
            A list of dicts {class_ids, scores, file_name, label_names}, of one image a list of one; other kinds of
            answers have other keys, see `PostProcessor`. For an image that cannot be used {file_name, error} in its
            place. A bundle that knows unknown images adds unknown and unknown_score, see `answer`. `file_name` is the
            path, or the `filename` of a Pillow image or the `name` of a file object where they have one, otherwise
            None.
        """
        return list(self.iter_predict(images, bgr=bgr))

    def iter_predict(self, images: Any, workers: int = 0, bgr: bool = False) -> Generator[Row, None, None]:
        """Like `predict`, yielding rows as batches are done; `images` is never held as a whole.

        A little more is taken from `images` than the rows that were yielded: 2 batches, each worker's too. Each image
        is read as it is taken, except that of a path: it may be closed or changed afterwards. An exception of
        `images` itself is raised after the rows of the images before it. `workers` is the number of processes,
        or of threads where the engine lets them work at once, that share the images out among them, each with its part
        of the cores and the whole way from file to row; with 0 threads only read ahead.

        Raises DeviceError: a worker died.
        """
        items = Items(images, bgr)
        if workers:
            for rows in shared_out(self, items, workers):
                yield from rows
        else:
            with contextlib.closing(read_ahead(items, self._prepare, self.batch_size)) as batches:
                for batch, ready in batches:
                    yield from answer_batch(ready, _names(batch), _call, self.answer)
        if items.failure is not None:
            raise items.failure

    def embed(self, images: Any, bgr: bool = False) -> np.ndarray:
        """Return the embeddings of one image or many, as `predict` takes them: float32 (N, D), in their order.

        An embedding is what the classifier takes, as the network computes it; dividing it by its length (L2) is left to
        the caller.

        Raises:
            ConfigError: the export has none. DataError: an image cannot be used; see `iter_embed`, which goes on.
        """
        rows = list(self.iter_embed(images, bgr))
        for row in rows:
            if "error" in row:
                raise DataError(row["error"])
        if not rows:
            raise DataError("there are no images to embed; give at least one")
        return np.stack([row["embedding"] for row in rows])

    def iter_embed(self, images: Any, bgr: bool = False) -> Generator[Row, None, None]:
        """Yield {file_name, embedding: float32 (D,)} of each image, or {file_name, error}; as lazily as `iter_predict`.

        Raises ConfigError: the export has no embeddings.
        """
        if "embedding" not in self.bundle.further:
            raise ConfigError(
                f"{self.bundle.folder}: this export has no embeddings; export the folder of its training again: "
                f"{command('export')} RUN -o Global.embedding=true"
            )
        items = Items(images, bgr)
        with contextlib.closing(read_ahead(items, self._prepare, self.batch_size)) as batches:
            for batch, ready in batches:
                yield from answer_batch(ready, _names(batch), _call, self._embeddings)
        if items.failure is not None:
            raise items.failure

    def _embeddings(self, images: np.ndarray, names: Sequence[str | None]) -> list[Row]:
        found = self.run_all(self._transforms.finish(images))["embedding"]
        return [
            {"file_name": name, "embedding": row} if np.isfinite(row).all() else no_numbers(name)
            for name, row in zip(names, found)
        ]

    def predict_batch(self, images: Sequence[Any]) -> list[Row]:
        """Return the rows of a list of images, see `predict`, all classified at once."""
        items = [take(image) for image in images]
        return answer_batch(items, _names(items), self._prepare, self.answer)

    def remake(self, cpu_threads: int) -> Callable[[], Predictor]:
        """Return a function that can be pickled and makes a predictor like this one, with so many threads."""
        options = asdict(replace(self.engine_options, cpu_threads=cpu_threads))
        return functools.partial(Predictor, self.bundle, make_engine=self._make_engine, **options)


def _doubt(bundle: Bundle, unknown: Unknown) -> Doubt:
    from .unknown import Doubt  # with the search among embeddings, which most folders need not

    return Doubt(bundle, unknown)


def _names(items: Iterable[Item]) -> list[str | None]:
    return [item.name for item in items]


def _call(function: Callable[[], np.ndarray]) -> np.ndarray:
    return function()
