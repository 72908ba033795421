"""Images to try things on, by name: a few photos that come with the package, and data sets that are downloaded."""

from ..base.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, {"sample": ["SAMPLES", "sample_data"]})
