"""`train`: a training of photos, or of a config, as a `Run`."""

from __future__ import annotations

import inspect
import os
from typing import Any, Iterable

from ..base.files import StrPath
from ..config import Config, load_config, overridden
from ..config.sections import Plain
from ..errors import ConfigError, UserError
from .run import Run
from .session import run_training, stoppable
from .settings import all_overrides, of_python, require_known


def train(
    photos_or_config: StrPath | Plain | Config, overrides: str | Iterable[str] = (), **settings: Any
) -> Run:
    """Train a network, and return the `Run` with its weights, metrics and curves.

    A folder of photos goes the whole way, as `ppcls-light train PHOTOS` does: its photos are checked and split, and
    network, size, epochs and batch chosen for `minutes`; after the training they are exported to inference in the
    output folder, scored on photos held out, and described by report/report.html there.

    Ctrl-C, or "interrupt" of a notebook, ends the training after the step that it is in, saves it and returns the Run,
    whose `finished` is False and whose `resume()` goes on.

    Args:
        photos_or_config: a folder with one folder of photos per class; or a YAML file, its sections as a dict, or a
            `Config`.
        overrides: of a config: one text `Section.key=value` or several, as `-o` of the command has them; values are
            YAML literals.
        settings: single values by short names.

            Of photos: `minutes` (10), `output_dir` (output/NAME of the folder), `network`, `size` in pixels, `epochs`
            in place of minutes, `batch_size`, `split` ("0.8/0.1/0.1"), `seed`, `weights` to start from, `scratch` for
            random ones, `resume`, `overwrite`, `say` (a function that gets each line for the user; `print`).

            Of a config, after the overrides: `epochs`, `minutes` in place of them, `batch_size`, `learning_rate`,
            `network`, `pretrained` (True, the name of published weights, a file), `freeze`, `pretrained_model`,
            `output_dir` (which takes the exported folder with it), `save_inference_dir`, `checkpoints` ("auto": go
            on), `resume_schedule`, `overwrite`, `early_stop`, `device`, `seed`.

    Returns:
        the run in the output folder.

    Raises:
        ConfigError: an unknown setting, with the nearest one; a wrong value; the output folder holds another run.
        DataError: photos, an image list or an image cannot be used. WeightsError: the first weights cannot.
        KeyboardInterrupt: Ctrl-C came when no step was done, when all were, or a second time.
    """
    if isinstance(photos_or_config, (str, os.PathLike)):
        if os.path.isdir(photos_or_config):
            return Run(_of_photos(os.fspath(photos_or_config), all_overrides(overrides, {}), settings))
        return Run(run_training(load_config(photos_or_config, all_overrides(overrides, settings))))
    return Run(run_training(overridden(photos_or_config, all_overrides(overrides, settings))))


def _of_photos(folder: str, overrides: list[str], settings: dict[str, Any]) -> str:
    """Train on the photos of `folder`; return the output folder."""
    from ..photos import train_photos

    if overrides:
        raise ConfigError(
            f"{overrides[0]}: photos have settings by name alone; train photos.yaml of the output folder with overrides"
        )
    names = ["output_dir", *inspect.signature(train_photos).parameters]
    require_known(settings, [name for name in names if name not in ("folder", "out")])
    out = settings.pop("output_dir", None)
    if not (out is None or isinstance(out, (str, os.PathLike))):
        raise ConfigError(f"output_dir={out!r} is no path; give a folder, or leave it out")
    settings["out"] = out
    try:
        return stoppable(lambda: train_photos(folder, **settings))
    except UserError as problem:
        first, *details = problem.args
        raise type(problem)(of_python(first), *details) from None
