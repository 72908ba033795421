"""Weights: safe loading and saving, strict matching to a network, conversion of the authors' key names."""

from ..base.plain_pickle import dump_plain_pickle, load_plain_pickle
from .convert import convert_file, convert_state_dict
from .io import KeyReport, load_weights, read_weights, write_weights

__all__ = [
    "KeyReport",
    "convert_file",
    "convert_state_dict",
    "dump_plain_pickle",
    "load_plain_pickle",
    "load_weights",
    "read_weights",
    "write_weights",
]
