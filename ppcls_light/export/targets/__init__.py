"""Formats of other runtimes that an export is converted to, each a `Target` in a module of its name."""

from . import ncnn, openvino

TARGETS = {target.name: target for target in (openvino.TARGET, ncnn.TARGET)}
