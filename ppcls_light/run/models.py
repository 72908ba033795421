"""`load`, `predict`, `embed` and `explain`: a trained network by its folder, its checkpoint, its run or its name."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Union

from ..base.files import StrPath
from ..base.run_folder import RUN_CONFIG
from ..bundle.folder import CONFIG_FILE, GRAPH_FILES
from ..errors import ConfigError
from ..prediction.predictor import Predictor
from ..prediction.results import Row

# An exported folder is the usual model, and takes less time than the import of what trains another.
if TYPE_CHECKING:
    import numpy as np

    from ..config import Config
    from ..config.sections import Plain
    from .explaining import Explanations
    from .run import Run

    Model = Union[StrPath, Run, Predictor]


def load(
    model: StrPath | Run, *, config: StrPath | Plain | Config | None = None, **options: Any
) -> Predictor:
    """Return a `Predictor` of a trained network.

    Args:
        model: an exported folder; the folder of a training, or its `Run`, of which the best weights count; a
            checkpoint, PREFIX.pdparams with or without the suffix, with config.yaml beside it; or, where nothing of
            that name is there, a published scenario such as PULC_person_exists, which is fetched and exported once.
        config: of a checkpoint that has no config.yaml beside it: a YAML file, its sections as a dict, or a `Config`.
        options: those of `Predictor`: batch_size, device, topk, class_names; of an exported folder also engine and
            precision. A checkpoint runs in Paddle in fp32, gives the rows of its export to 1e-5, and always embeds.

    Raises:
        ConfigError: there is no model, or no config of it. WeightsError: the weights are damaged or of another network.
        DeviceError: the engine is not installed, or a checkpoint cannot do what is asked.
    """
    if config is None and isinstance(model, (str, os.PathLike)) and _is_exported(model):
        return Predictor(model, **options)
    from .run import Run
    from .scenarios import model_path
    from .session import trained_predictor

    if isinstance(model, Run):
        return model.load(**options)
    path = os.fspath(model) if config is not None else model_path(os.fspath(model))
    if config is None and os.path.isdir(path):
        return Predictor(path, **options) if _is_exported(path) else Run(path).load(**options)
    return trained_predictor(_config_of(path, config), **options)


def _is_exported(folder: StrPath) -> bool:
    return any(os.path.isfile(os.path.join(folder, name)) for name in (CONFIG_FILE, *GRAPH_FILES.values()))


def _config_of(weights: str, config: StrPath | Plain | Config | None) -> Config:
    """Return `config`, by default the file beside `weights`, with these weights."""
    from ..config import load_config, load_run, overridden
    from .settings import assignment

    texts = [assignment("Global.pretrained_model", weights), "Global.checkpoints=null"]
    if config is None:
        config = os.path.join(os.path.dirname(weights), RUN_CONFIG)
        if not os.path.isfile(config):
            raise ConfigError(
                f"{weights}: neither an exported folder nor a checkpoint with {RUN_CONFIG} beside it; name one of "
                "the two, or the checkpoint's YAML by config="
            )
        return load_run(config, texts)
    if isinstance(config, (str, os.PathLike)):
        return load_config(config, texts)
    return overridden(config, texts)


def _predictor(model: Model, options: dict[str, Any]) -> Predictor:
    if isinstance(model, Predictor):
        if options:
            raise ConfigError(f"{', '.join(options)}: set when a Predictor is made; give it to load")
        return model
    if options or isinstance(model, (str, os.PathLike)):
        return load(model, **options)
    return model.predictor  # of a Run


def predict(model: Model, images: Any, **options: Any) -> list[Row]:
    """Classify one image or many, and return a row {class_ids, scores, file_name, label_names} for each.

    Args:
        model: a `Predictor`, a `Run`, or what `load` takes, which is loaded for this call alone.
        images: one image or an iterable of them: paths, bytes, file objects, Pillow images, uint8 arrays (H, W, 3)
            in RGB; see `Predictor.predict`.
        options: those of `load`.

    Returns:
        the rows in the order of the images; {file_name, error} for an image that cannot be used.
    """
    return _predictor(model, options).predict(images)


def embed(model: Model, images: Any, **options: Any) -> np.ndarray:
    """Return the embeddings of one image or many, float32 (N, D): what the classifier takes, not normalised.

    Arguments are those of `predict`. A checkpoint has embeddings, an exported folder with `Global.embedding`.

    Raises ConfigError: an exported folder without embeddings. DataError: an image cannot be used.
    """
    return _predictor(model, options).embed(images)


def explain(
    model: Model,
    images: Any,
    *,
    label: str | int | None = None,
    method: str | None = None,
    layer: str | None = None,
    **options: Any,
) -> Explanations:
    """Show what in images speaks for a class.

    Args:
        model, images, options: those of `predict`.
        label: the class, by name or number; None: for each image the most probable one.
        method: layercam, gradcam, scorecam or smoothgrad, of a checkpoint or a run; occlusion or lime, of an exported
            folder, too. None: layercam, of an exported folder occlusion.
        layer: whose map layercam, gradcam and scorecam show; None: the family's, see `explanation.heat_maps`.

    Returns:
        an `Explanation` for each image, also of one image in a list: `heat` (H, W), `class_id`, `score`, `picture`.

    Raises:
        ConfigError: unknown class, method or layer, or a method that looks inside the network of an exported folder.
        DataError: an image cannot be used.
    """
    from .explaining import explanations

    return explanations(_predictor(model, options), images, label, method, layer)
