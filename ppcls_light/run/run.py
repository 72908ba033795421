"""`Run`: the folder of a training with its weights, measurements and what can be made of them."""

from __future__ import annotations

import contextlib
import io
import math
import os
from typing import TYPE_CHECKING, Any, Collection, Dict, Iterable

from ..base.files import StrPath
from ..base.html import paragraph, picture, table
from ..base.run_folder import RUN_CONFIG, is_run
from ..bundle.chosen import file_of
from ..config import Config, load_run
from ..config.formats import ExportFormat
from ..engine.history import FILE_NAME, by_epoch, read_history
from ..errors import ConfigError, DataError, UserError, WeightsError
from .explaining import Explanations, explanations
from .session import run_training, session, stoppable, trained_predictor
from .settings import all_overrides, assignment

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from ..prediction import Predictor
    from ..prediction.results import Row


Numbers = Dict[str, float]


class Run:
    """A training run: what `train` returns, or `Run(folder)` of its output folder.

    Everything is read from the folder, so that a run of another process, or of another day, is as good.

    Args:
        folder: `Global.output_dir` of the training; it may have been moved since.

    Raises ConfigError: there is no config.yaml in the folder.

    Attributes:
        folder: path of the output folder.
    """

    def __init__(self, folder: StrPath) -> None:
        self.folder = os.fspath(folder)
        self._loaded: tuple[tuple[tuple[str, float], ...], Predictor] | None = None
        self._file = os.path.join(self.folder, RUN_CONFIG)
        if not is_run(self.folder):
            raise ConfigError(
                f"{self.folder}: no run, since it has no {RUN_CONFIG}; give the Global.output_dir of a training"
            )

    @property
    def config(self) -> Config:
        """The config of the run, all defaults written out; paths are relative to the working directory."""
        return self._config()

    def _config(self, overrides: Iterable[str] = ()) -> Config:
        return load_run(self._file, overrides)

    def _trained(self, overrides: str | Iterable[str] = ()) -> Config:
        """Return the config that names the best weights, with `overrides`."""
        weights = assignment("Global.pretrained_model", self.weights)
        return self._config([weights, "Global.checkpoints=null", *all_overrides(overrides, {})])

    @property
    def weights(self) -> str:
        """Path of the best weights, best_model.pdparams; without evaluations of the newest, latest.pdparams.

        Raises WeightsError: nothing is saved yet.
        """
        for name in ("best_model", "latest"):
            path = os.path.join(self.folder, f"{name}.pdparams")
            if os.path.isfile(path):
                return path
        raise WeightsError(f"{self.folder}: no weights are saved yet; call resume(), or train for longer")

    @property
    def finished(self) -> bool:
        """True when the last epoch is done, or `Global.early_stop` has ended the run."""
        states, settings = self._states, self.config.Global
        if states is None or not states.get("evaluated", True):
            return False
        patience, waited = settings.early_stop, states.get("evaluations_since_best", 0)
        return bool(states["epoch"] >= settings.epochs or (patience is not None and waited >= patience))

    @property
    def stopped(self) -> bool:
        """True when the run is not `finished`; `resume()` goes on."""
        return not self.finished

    @property
    def _states(self) -> dict[str, Any] | None:
        with session():
            from ..engine.checkpoint import latest_states

            return latest_states(self.folder)

    @property
    def curves(self) -> dict[str, list[float]]:
        """Measurements by epoch, columns of one length: "epoch" from 1, "loss" and metrics such as "top1", shares of 1.

        Those of the training's own images are called "train_loss", "train_top1", ...; "lr" is the learning rate. What
        was not measured is NaN. `pandas.DataFrame(run.curves)` is a table.

        Raises DataError: metrics.jsonl cannot be read.
        """
        try:
            return by_epoch(read_history(os.path.join(self.folder, FILE_NAME)))
        except FileNotFoundError:
            return by_epoch([])
        except OSError as problem:
            raise DataError(f"{problem.filename}: cannot be read: {problem.strerror}; move it away") from None

    @property
    def metrics(self) -> dict[str, Numbers]:
        """Measurements of two epochs, {"best": {"epoch": 7, "top1": 0.93, ...}, "last": {...}}; see `curves`.

        The best is that of `weights`: of equal ones the last. Without evaluations both are the last epoch, and before
        the first has ended there is none: {}.
        """
        curves = self.curves
        if not curves["epoch"]:
            return {}
        metric = curves.get(self._metric, [])
        known = [(value, place) for place, value in enumerate(metric) if not math.isnan(value)]
        last = len(curves["epoch"]) - 1
        best = max(known)[1] if known else last
        return {name: _epoch(curves, place) for name, place in (("best", best), ("last", last))}

    @property
    def _metric(self) -> str:
        """Name of the metric that chooses the best weights."""
        return self.config.Metric.best

    def plot(self) -> Image.Image:
        """Return a picture of loss, accuracy and learning rate over the epochs.

        Raises DataError: nothing is measured yet. UserError: matplotlib is not installed.
        """
        from PIL import Image

        return Image.open(io.BytesIO(self._plotted())).convert("RGB")

    def _plotted(self) -> bytes:
        from ..base.figures import as_png, check_matplotlib
        from ..report.curves import draw_curves, read_runs

        check_matplotlib("the picture of learning curves")
        return as_png(draw_curves(read_runs([self.folder])))

    def resume(self, overrides: str | Iterable[str] = (), **settings: Any) -> Run:
        """Go on from the newest checkpoint to the last epoch, and return the run; one of photos goes the whole way.

        `overrides` and `settings` are those of `train`; more epochs than were planned: `run.resume(epochs=20,
        resume_schedule="new")`.
        """
        from ..photos import photos_of, train_photos

        photos = None if overrides or settings else photos_of(self.folder)
        if photos is not None:
            return Run(stoppable(lambda: train_photos(photos, out=self.folder, resume=True)))
        texts = ["Global.checkpoints=auto", *all_overrides(overrides, settings)]
        return Run(run_training(self._config(texts)))

    def evaluate(
        self,
        overrides: str | Iterable[str] = (),
        predictions: str | None = None,
        choose_threshold: str | None = None,
    ) -> Numbers:
        """Return losses and metrics of the best weights on DataLoader.Eval, as shares of 1.

        `overrides` may name other data; the file `predictions` gets a row for each image. `choose_threshold`, a rule
        such as "tpr@fpr=0.01", chooses the threshold by which these weights answer. See `jobs.evaluate`.
        """
        with session():
            from .. import jobs

            return jobs.evaluate(self._trained(overrides), predictions, choose_threshold=choose_threshold)

    def report(
        self, folder: StrPath | None = None, overrides: str | Iterable[str] = (), latency: bool = False
    ) -> str:
        """Evaluate the best weights; write a page with mistakes, doubtful labels and curves; return its path.

        `folder` is by default report in the run's. With `latency` an export is measured on this machine.
        """
        target = os.path.join(self.folder, "report") if folder is None else os.fspath(folder)
        with session():
            from .. import jobs

            jobs.evaluate(self._trained(overrides), report=target, latency=latency)
        return os.path.join(target, "report.html")

    def export(
        self,
        folder: StrPath | None = None,
        onnx: bool = False,
        overrides: str | Iterable[str] = (),
        formats: Collection[ExportFormat] = (),
    ) -> Predictor:
        """Export the best weights for inference without training code, prove that it equals them, and load it.

        Args:
            folder: by default `Global.save_inference_dir`.
            onnx: write inference.onnx, too, for ONNX Runtime and OpenVINO.
            overrides: such as "Global.export_precision=int8" or "Global.embedding=true".
            formats: of other runtimes, such as "openvino", whose files are written beside, too.
        """
        from ..prediction import Predictor

        own = [] if folder is None else [assignment("Global.save_inference_dir", folder)]
        config = self._trained([*own, *all_overrides(overrides, {})])
        with session():
            from .. import jobs

            jobs.export(config, {*formats, "onnx"} if onnx else formats)
        return Predictor(config.Global.save_inference_dir)

    def load(self, **options: Any) -> Predictor:
        """Return a `Predictor` of the best weights, without an export; `options` are those of `Predictor`."""
        return trained_predictor(self._trained(), **options)

    @property
    def predictor(self) -> Predictor:
        """A `Predictor` of the best weights, which is kept until there are better ones, or another threshold."""
        files = (self.weights, file_of(self.weights))
        written = tuple((path, os.path.getmtime(path)) for path in files if os.path.isfile(path))
        if self._loaded is None or self._loaded[0] != written:
            self._loaded = written, self.load()
        return self._loaded[1]

    def predict(self, images: Any) -> list[Row]:
        """Classify one image or many with the best weights; see `Predictor.predict`."""
        return self.predictor.predict(images)

    def embed(self, images: Any) -> np.ndarray:
        """Return the embeddings (N, D) of one image or many by the best weights; see `Predictor.embed`."""
        return self.predictor.embed(images)

    def explain(
        self,
        images: Any,
        *,
        label: str | int | None = None,
        method: str = "layercam",
        layer: str | None = None,
    ) -> Explanations:
        """Show what in one image or many speaks for a class to the best weights; see `ppcls_light.explain`."""
        return explanations(self.predictor, images, label, method, layer)

    def __repr__(self) -> str:
        return f"Run {self.folder}: {self._summary}"

    def _repr_html_(self) -> str:
        """Return state, metrics, curves and what can be done next, for a notebook."""
        metrics = self.metrics
        names = dict.fromkeys(name for numbers in metrics.values() for name in numbers)
        rows = [[kind, *(_shown(numbers.get(name)) for name in names)] for kind, numbers in metrics.items()]
        parts = [paragraph(repr(self))]
        if rows:
            parts.append(table(["", *names], rows))
        with contextlib.suppress(UserError):  # nothing is measured yet, or matplotlib is not there
            parts.append(picture(self._plotted(), alt="learning curves"))
        following = ["report()", "export()", "predict(images)", "explain(images)"]
        calls = ", ".join(f"run.{call}" for call in ([] if self.finished else ["resume()"]) + following)
        return "\n".join([*parts, paragraph(f"To go on: {calls}")])

    @property
    def _summary(self) -> str:
        config, states, metrics, metric = self.config, self._states, self.metrics, self._metric
        done, epochs = 0 if states is None else states["epoch"], config.Global.epochs
        state = "" if self.finished else ", stopped"
        text = f"{config.Arch.network.name}, {done} of {epochs} epochs{state}"
        best = metrics.get("best", {})
        if metric in best:
            text += f", best {metric} {best[metric]:.4f} after epoch {best['epoch']:.0f}"
        return text


def _epoch(curves: dict[str, list[float]], place: int) -> Numbers:
    values = {name: column[place] for name, column in curves.items()}
    return {name: value for name, value in values.items() if not math.isnan(value)}


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
