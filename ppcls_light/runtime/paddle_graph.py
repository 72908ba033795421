"""The graph in inference.json and inference.pdiparams, Paddle's format since 3.0, read and written without Paddle."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Tuple

import numpy as np

_CUSTOM = 3  # the number of the dialect of custom operators

# Numbers of `VarType` in Paddle's framework.proto, and the names of types in the graph.
_TYPES: Dict[np.dtype, Tuple[int, str]] = {
    np.dtype("int32"): (2, "0.t_i32"),
    np.dtype("int64"): (3, "0.t_i64"),
    np.dtype("float32"): (5, "0.t_f32"),
}


# Errors that reading a damaged graph may end in.
DAMAGE = (
    TypeError,
    ValueError,
    LookupError,
    ArithmeticError,
    AttributeError,
    RecursionError,
    MemoryError,
    struct.error,
)


class GraphError(Exception):
    """The graph or its parameters are not as expected; the message says what."""


class Operator(NamedTuple):
    """`inputs` and `outputs` are numbers of values; `name` is without its dialect, "conv2d"."""

    name: str
    inputs: Tuple[int, ...]
    outputs: Tuple[int, ...]
    attributes: dict


class PaddleGraph:
    """The operators of a graph, by the values that they make, and its parameters.

    Raises:
        GraphError: the files are damaged, or not in this format.
        OSError: they cannot be read.
    """

    def __init__(self, graph_file: str | Path, params_file: str | Path) -> None:
        text, parameters = (Path(path).read_bytes() for path in (graph_file, params_file))
        try:
            self._document = json.loads(text)
            self._makers: Dict[int, Operator] = {}
            names = []
            for entry in self._entries():
                operator = _operator(entry)
                self._makers.update(dict.fromkeys(operator.outputs, operator))
                if operator.name == "parameter":
                    names.append(operator.attributes["name"])
            self._parameters = dict(zip(sorted(names), _parameters(parameters)))
        except DAMAGE as problem:
            raise GraphError(f"{graph_file} is not understood ({problem!r})") from None

    def _entries(self) -> List[Dict[str, Any]]:
        (region,) = self._document["program"]["regions"]
        (block,) = region["blocks"]
        return block["ops"]

    def maker(self, value: int) -> Operator:
        """Return the `Operator` that makes a value. Raises GraphError: there is none."""
        if value not in self._makers:
            raise GraphError(f"nothing makes value {value}")
        return self._makers[value]

    def parameter(self, value: int) -> np.ndarray:
        """Return the parameter that a value is, an array. Raises GraphError: it is something else."""
        operator = self.maker(value)
        name = operator.attributes.get("name")
        if operator.name != "parameter" or name not in self._parameters:
            raise GraphError(f"a parameter is expected in place of {operator.name}")
        return self._parameters[name]

    def output(self) -> int:
        """Return the value that the graph returns first. Raises GraphError: there is none."""
        return self._first("fetch")["I"][0]["%"]

    def _first(self, name: str) -> Dict[str, Any]:
        """Return the operator `name` ("data" or "fetch") of the graph's first input or output."""
        found = [entry for entry in self._entries() if entry["#"].endswith(f".{name}")]
        if not found:
            raise GraphError(f"no {name} is here")
        return min(found, key=lambda entry: _operator(entry).attributes.get("col", 0))

    def as_one_operator(
        self, name: str, parameters: Mapping[str, np.ndarray], attributes: Mapping[str, int]
    ) -> Tuple[bytes, bytes]:
        """Return the files of a graph with this one's input, first output and one custom operator, as bytes.

        The operator's inputs are (x, *parameters), in its order, which is that of the alphabet.
        """
        data, fetch = map(self._first, ("data", "fetch"))
        places = range(len(parameters))
        x, result = len(parameters), len(parameters) + 1
        operator = {
            "#": f"{_CUSTOM}.{name}",
            "A": [{"AT": {"#": "0.a_i32", "D": value}, "N": key} for key, value in attributes.items()],
            "I": [{"%": x}, *({"%": place} for place in places)],
            "O": [{**fetch["O"][0], "%": result}],
            "OA": data["OA"],
        }
        entries = [
            *map(_parameter_entry, places, parameters, parameters.values()),
            {**data, "O": [{**data["O"][0], "%": x}]},
            operator,
            {**fetch, "I": [{"%": result}], "O": [{**fetch["O"][0], "%": result + 1}]},
        ]
        region = self._document["program"]["regions"][0]
        regions = [{**region, "blocks": [{**region["blocks"][0], "ops": entries}]}]
        document = {**self._document, "program": {**self._document["program"], "regions": regions}}
        content = b"".join(_tensor_header(array) + array.tobytes() for array in parameters.values())
        return json.dumps(document).encode(), content


def _operator(entry: Mapping[str, Any]) -> Operator:
    if entry["#"] == "p":
        return Operator("parameter", (), (entry["O"]["%"],), {"name": entry["A"][3]})
    return Operator(
        entry["#"].split(".", 1)[1],
        tuple(value["%"] for value in entry["I"]),
        tuple(value["%"] for value in entry["O"]),
        {attribute["N"]: _plain(attribute["AT"]) for attribute in entry["A"]},
    )


def _plain(attribute: Mapping[str, Any]) -> Any:
    if attribute["#"] == "0.a_array":
        return [_plain(one) for one in attribute["D"]]
    return attribute.get("D")


def _parameter_entry(value: int, name: str, array: np.ndarray) -> Dict[str, Any]:
    kind = {"#": "0.t_dtensor", "D": [{"#": _TYPES[array.dtype][1]}, list(array.shape), "NCHW", [], 0]}
    return {
        "#": "p",
        "A": [0, 1, 1, name],
        "DA": [],
        "O": {"%": value, "TT": kind},
        "OA": [1, 0, 1],
        "QA": [],
    }


def _parameters(content: bytes) -> Iterator[np.ndarray]:
    """Yield the arrays of inference.pdiparams, which has them in the order of their names.

    Each is: version (uint32), levels of sequences (uint64, here 0), version (uint32), size of a description (int32),
    the description (protobuf: 1 the type, 2 a dimension), the numbers.
    """
    place = 0
    while place < len(content):
        _, levels, _, size = struct.unpack_from("<IQIi", content, place)
        place += struct.calcsize("<IQIi")
        _, number, *dimensions = _varints(content[place : place + size])
        kinds = [kind for kind, (its_number, _) in _TYPES.items() if its_number == number]
        if levels or not kinds:
            raise ValueError(f"a parameter of type {number} with {levels} levels")
        place += size
        shape = dimensions[1::2]  # each behind its tag
        array = np.frombuffer(content, kinds[0], math.prod(shape), place)
        yield array.reshape(shape)
        place += array.nbytes


def _varints(content: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in content:
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            yield number
            number = shift = 0


def _tensor_header(array: np.ndarray) -> bytes:
    description = bytes([1 << 3, _TYPES[array.dtype][0]])
    for count in array.shape:
        description += bytes([2 << 3]) + _varint(count)
    return struct.pack("<IQIi", 0, 0, 0, len(description)) + description


def _varint(number: int) -> bytes:
    content = bytearray()
    while number > 127:
        content.append(number & 127 | 128)
        number >>= 7
    return bytes([*content, number])
