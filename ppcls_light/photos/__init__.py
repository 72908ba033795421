"""The whole way of a folder of photos: check, split, choice of the training, training, evaluation, export, report."""

from ..base.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, {"job": ["photos_of", "train_photos"]})
