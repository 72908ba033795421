"""Weights: published ones by name, safe loading and saving, strict matching, conversion of the authors' key names."""

from ..base.plain_pickle import dump_plain_pickle, load_plain_pickle
from .convert import convert_file, convert_state_dict
from .io import KeyReport, load_weights, read_weights, write_weights
from .pretrained import load_pretrained, local_file, read_pretrained, record_sums
from .published import Training, Trainings, list_pretrained

__all__ = [
    "KeyReport",
    "Training",
    "Trainings",
    "convert_file",
    "convert_state_dict",
    "dump_plain_pickle",
    "list_pretrained",
    "load_plain_pickle",
    "load_pretrained",
    "load_weights",
    "local_file",
    "read_pretrained",
    "read_weights",
    "record_sums",
    "write_weights",
]
