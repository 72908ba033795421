"""Formats of other runtimes that an export is converted to, each a `Target` in a module of its name."""

from . import openvino

TARGETS = {target.name: target for target in (openvino.TARGET,)}
