"""`train`: a training from a config, as a `Run`."""

from __future__ import annotations

import os
from typing import Any, Iterable

from ..base.files import StrPath
from ..config import Config, load_config, overridden
from ..config.load import Plain
from .run import Run
from .session import run_training
from .settings import all_overrides


def train(config: StrPath | Plain | Config, overrides: str | Iterable[str] = (), **settings: Any) -> Run:
    """Train a network, and return the `Run` with its weights, metrics and curves.

    Ctrl-C, or "interrupt" of a notebook, ends the training after the step that it is in, saves it and returns the Run,
    whose `finished` is False and whose `resume()` goes on.

    Args:
        config: a YAML file, its sections as a dict, or a `Config`.
        overrides: one text `Section.key=value` or several, as `-o` of the command has them; values are YAML literals.
        settings: values of single keys by short names, after the overrides: `epochs`, `minutes` in place of them,
            `batch_size`, `learning_rate`, `network`, `pretrained` (True, the name of published weights, a file),
            `freeze`, `pretrained_model`, `output_dir` (which takes the exported folder with it), `save_inference_dir`,
            `checkpoints` ("auto": go on), `resume_schedule`, `overwrite`, `early_stop`, `device`, `seed`.

    Returns:
        the run in `Global.output_dir`.

    Raises:
        ConfigError: an unknown setting, with the nearest one; a wrong value; the output folder holds another run.
        DataError: an image list or an image cannot be used. WeightsError: the first weights cannot.
        KeyboardInterrupt: Ctrl-C came before the first step, or a second time.
    """
    texts = all_overrides(overrides, settings)
    if isinstance(config, (str, os.PathLike)):
        return Run(run_training(load_config(config, texts)))
    return Run(run_training(overridden(config, texts)))
