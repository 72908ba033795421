"""Header of a plan, which says what export the steps are of, and the error of a plan that is none."""

from __future__ import annotations

import struct

_VERSION = 1
# Magic, version, classes, floats, integers, and the SHA-256 of the export's parameters.
_HEADER = struct.Struct("<8sIIQQ32s")
_MAGIC = b"PPCLPLAN"


class PlanError(Exception):
    """Steps that do not fit together, or bytes that are no plan; the message is the reason."""


def header(class_num: int, floats: int, integers: int, parameters: str) -> bytes:
    """Return the header of a plan; `parameters` is the SHA-256 of its export's, in hexadecimal digits."""
    return _HEADER.pack(_MAGIC, _VERSION, class_num, floats, integers, bytes.fromhex(parameters))


def parameters_of(plan: bytes) -> str:
    """Return the SHA-256 of the parameters that a plan was made with. Raises PlanError: it has no header."""
    if len(plan) < _HEADER.size:
        raise PlanError("it is shorter than a plan's header")
    return _HEADER.unpack_from(plan)[-1].hex()
