"""Search for the settings of a training: PaddleClas' stages, and free searches."""

from .job import search

__all__ = ["search"]
