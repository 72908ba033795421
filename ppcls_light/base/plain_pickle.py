"""Safe loading and atomic writing of pickles that contain only plain data and arrays.

A pickle can call any function that it names. Here it is read by an unpickler that knows a handful of
harmless names and builds every array itself, so that not even numpy's own `__setstate__` sees a byte of
the file unchecked. A few bytes can also ask for gigabytes or for hours of hashing: nothing is read or built that is
larger than the file could hold, and keys are texts and numbers.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import re
import struct
import tarfile
import zipfile
import zlib
from collections import OrderedDict
from typing import Any, BinaryIO, Callable, ClassVar, Iterable, Iterator

import numpy as np

from ..errors import UserError, WeightsError
from .files import StrPath, atomic_path

# Errors of reading a damaged or hostile file: a pickle, or one of the archives that hold some.
_DAMAGED = (
    pickle.UnpicklingError,
    struct.error,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    OverflowError,
    MemoryError,
    RuntimeError,  # nested too deep; encrypted or of an unknown version (zipfile)
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
)


_DTYPE = re.compile(r"[<>=|]?(?:[?\w]|[a-z]+\d{0,3})", re.ASCII)


class _PlainDtype:
    """Stands for numpy.dtype while unpickling: a number type and a byte order, nothing else."""

    def __init__(self, code: Any, *_: object) -> None:
        text = code.decode("latin1") if isinstance(code, bytes) else code
        # NumPy reads more into other texts: structures, shapes, Python's literals.
        if not isinstance(text, str) or not _DTYPE.fullmatch(text):
            raise ValueError("a dtype that is no name of numbers")
        self.dtype = np.dtype(code)
        if self.dtype.kind not in "biufc":
            raise ValueError(f"dtype {code!r} is no number type")

    def __setstate__(self, state: Any) -> None:
        if state[1] == ">":
            self.dtype = self.dtype.newbyteorder(">")


class PlainArray:
    """Stands for numpy.ndarray while unpickling; `load_plain_pickle` puts `numpy()` in its place."""

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, is_fortran, data = state
        self._array = _array(data, dtype, shape, "F" if is_fortran else "C")

    def numpy(self) -> np.ndarray:
        return self._array


def _array(data: Any, dtype: Any, shape: Any, order: Any = "C") -> np.ndarray:
    if isinstance(data, str):  # Python 2 pickles hold the bytes as text
        data = data.encode("latin1")
    return np.frombuffer(data, dtype.dtype).reshape(shape, order=order).copy(order)


def _settle(value: Any, settled: dict[int, Any]) -> Any:
    """Return `value` with each placeholder of the unpickler replaced by the array that it stands for.

    `settled` ({id: result}) holds the results so far: a few bytes of a pickle can hold one list in itself 2^40 times.
    """
    if isinstance(value, PlainArray):
        return value.numpy()
    if isinstance(value, _PlainDtype):
        return value.dtype
    if id(value) in settled:
        return settled[id(value)]
    result: Any
    if isinstance(value, dict):
        result = type(value)((_settle(key, settled), _settle(item, settled)) for key, item in value.items())
    elif isinstance(value, (list, tuple, set, frozenset)):
        result = type(value)([_settle(item, settled) for item in value])
    elif value is None or isinstance(
        value, (str, bytes, bytearray, int, float, complex, np.generic, np.ndarray)
    ):
        return value
    else:
        raise pickle.UnpicklingError(f"it holds a {type(value).__name__}")
    settled[id(value)] = result
    return result


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    if encoding != "latin1":
        raise ValueError("an encoding that is not latin1")
    return text.encode("latin1")


# Types that may be hashed: nested tuples would take time that doubles with each level.
_KEYS = (str, bytes, int, float, type(None), type)
_LARGEST_KEY = 1 << 64


def _check_keys(keys: Iterable[object]) -> None:
    for key in keys:
        if not isinstance(key, _KEYS) or (isinstance(key, int) and abs(key) > _LARGEST_KEY):
            raise pickle.UnpicklingError(f"a {type(key).__name__} as a key or member of a set")


def _ordered_dict(pairs: Any = ()) -> OrderedDict:
    _check_keys(key for key, _ in pairs)
    return OrderedDict(pairs)


PLAIN_GLOBALS: dict[tuple[str, str], Callable] = {
    ("builtins", "tuple"): tuple,
    ("__builtin__", "bytes"): lambda: b"",  # how protocols 0 to 2 write empty bytes
    ("collections", "OrderedDict"): _ordered_dict,
    ("_codecs", "encode"): _latin1,  # how protocol 2 writes bytes
    ("numpy", "dtype"): _PlainDtype,
    ("numpy", "ndarray"): PlainArray,
}
for _core in ("numpy.core", "numpy._core"):  # numpy 1 and numpy 2
    PLAIN_GLOBALS[f"{_core}.multiarray", "_reconstruct"] = lambda *_: PlainArray()
    PLAIN_GLOBALS[f"{_core}.multiarray", "scalar"] = lambda dtype, data: _array(data, dtype, ())[()]
    PLAIN_GLOBALS[f"{_core}.numeric", "_frombuffer"] = _array


class _BoundedFile:
    """An open binary file that refuses to read more than it holds, before memory is taken for it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        here = file.tell()
        self.size = file.seek(0, os.SEEK_END)
        file.seek(here)
        self.readline = file.readline

    def read(self, count: int) -> bytes:
        if count > _ALWAYS_READ and count > self.size - self._file.tell():
            raise EOFError(f"it asks for {count} bytes, more than it has")
        return self._file.read(count)


_ALWAYS_READ = 1 << 12  # so much is cheaper to read than to ask for

# The part of the stack above the last mark that an operation hashes; operations that call functions of the file.
_HASHED = {
    pickle.DICT: slice(None, None, 2),
    pickle.SETITEM: slice(-2, -1),
    pickle.SETITEMS: slice(None, None, 2),
    pickle.ADDITEMS: slice(None),
    pickle.FROZENSET: slice(None),
}
_BUILDING = (pickle.REDUCE, pickle.NEWOBJ, pickle.NEWOBJ_EX, pickle.INST, pickle.OBJ)


_LOAD: dict[int, Callable[[Any], None]] = dict(pickle._Unpickler.dispatch)


def _with_keys_checked(code: bytes, keys: slice) -> Callable:
    load = _LOAD[code[0]]

    def load_checked(unpickler: PlainUnpickler) -> None:
        _check_keys(unpickler.stack[keys])
        load(unpickler)

    return load_checked


def _with_room_taken(code: bytes) -> Callable:
    load = _LOAD[code[0]]

    def load_counted(unpickler: PlainUnpickler) -> None:
        load(unpickler)
        unpickler.take_room()

    return load_counted


# The Python implementation: in C, one damaged memo index makes a table of many gigabytes.
class PlainUnpickler(pickle._Unpickler):
    """Builds plain data, with a `PlainArray` for each array; refuses everything else."""

    known: ClassVar[dict] = PLAIN_GLOBALS
    # Of the superclass, whose types leave them out.
    stack: list[Any]
    read: Callable[[int], bytes]
    append: Callable[[object], None]

    def __init__(self, file: BinaryIO, **settings: Any) -> None:
        bounded = _BoundedFile(file)
        super().__init__(bounded, **settings)
        # Of the results of functions, each byte of the file may be in a text, in bytes made of it and in an array.
        self._room = 4 * bounded.size + _ALWAYS_READ

    def find_class(self, module: str, name: str) -> Any:
        return self.known[module, name] if (module, name) in self.known else self.unknown(module, name)

    def unknown(self, module: str, name: str) -> Any:
        raise UserError(
            f"refused: it asks to load {module}.{name}, which plain data never need; "
            "get the file from a source you trust, with arrays only"
        )

    def load_build(self) -> None:
        """Set the state of an array, never attributes of the functions and classes above."""
        if isinstance(self.stack[-2], (PlainArray, _PlainDtype)):
            _LOAD[pickle.BUILD[0]](self)
            self.take_room()
        else:
            self.load_other_state()

    def get_extension(self, code: int) -> None:
        raise pickle.UnpicklingError(f"extension {code} of another program's registry")

    def load_bytearray8(self) -> None:
        (size,) = struct.unpack("<Q", self.read(8))
        self.append(bytearray(self.read(size)))

    def take_room(self) -> None:
        made = self.stack[-1]
        made = made.numpy() if isinstance(made, PlainArray) and hasattr(made, "_array") else made
        self._room -= made.nbytes if hasattr(made, "nbytes") else len(made) if hasattr(made, "__len__") else 0
        if self._room < 0:
            raise pickle.UnpicklingError("it builds more than it holds")

    def load_other_state(self) -> None:
        raise pickle.UnpicklingError(f"it sets the state of a {type(self.stack[-2]).__name__}")

    dispatch: ClassVar[dict] = {
        **_LOAD,
        **{code[0]: _with_keys_checked(code, keys) for code, keys in _HASHED.items()},
        **{code[0]: _with_room_taken(code) for code in _BUILDING},
        pickle.BUILD[0]: load_build,
        pickle.BYTEARRAY8[0]: load_bytearray8,
    }


# Behind the pickle of a sealed file, where other readers of pickles do not look; 64 hexadecimal digits follow.
_SEAL = b"\nSHA-256 "


def load_plain_pickle(path: StrPath, sealed: bool = False) -> Any:
    """Return the content of the pickle file `path`, plain data only; see `read_plain_pickle`.

    A seal (see `dump_plain_pickle`) is always checked; with `sealed` there must be one.

    Raises WeightsError: the file is missing, damaged, or asks for anything else (the message names it).
    """
    with reading(path, "pickle"), open(path, "rb") as file:
        _check_seal(file, sealed)
        return read_plain_pickle(file)


def _check_seal(file: BinaryIO, required: bool) -> None:
    """Raise ValueError if the open `file` ends in a seal that is not its own, or `required` and in none."""
    size, length = file.seek(0, os.SEEK_END), len(_SEAL) + 64
    file.seek(max(0, size - length))
    end = file.read()
    file.seek(0)
    if not end.startswith(_SEAL):
        if required:
            raise ValueError("it was cut, or its seal is damaged")
        return
    digest = hashlib.sha256(file.read(size - length)).hexdigest()
    file.seek(0)
    if digest.encode() != end[len(_SEAL) :]:
        raise ValueError("its SHA-256 is not the one that it was sealed with")


def read_plain_pickle(file: BinaryIO, encoding: str = "ASCII") -> Any:
    """Return the content of the next pickle in the open binary `file`, plain data only.

    Plain data: dict, OrderedDict, list, tuple, set, str, bytes, numbers, bool, None, and numpy arrays and
    scalars of number types. Nothing that the file names is imported or called. `encoding` is that of texts which
    Python 2 wrote.

    Raises UserError: it asks for anything else. Errors of a damaged pickle pass through; see `reading`.
    """
    return _settle(PlainUnpickler(file, encoding=encoding).load(), {})


@contextlib.contextmanager
def reading(path: StrPath, kind: str, error: type[UserError] = WeightsError) -> Iterator[None]:
    """Turn the errors of reading the file `path`, supposed to be a `kind`, into one `error` that names it."""
    path = os.fspath(path)
    try:
        yield
    except OSError as problem:
        raise error(f"cannot read {path}: {problem.strerror or problem}") from None
    except UserError as problem:
        raise error(f"{path}: {problem}") from None
    except _DAMAGED as problem:
        reason = " ".join(str(problem).split()) or type(problem).__name__
        raise error(
            f"{path} ({os.path.getsize(path)} bytes) is damaged or no {kind}: {reason}; copy or download it again"
        ) from None


def dump_plain_pickle(obj: object, path: StrPath, keep: bool = False, seal: bool = False) -> None:
    """Write `obj`, made of plain data (see `load_plain_pickle`), to `path` atomically, as pickle protocol 4.

    `keep` as in `files.atomic_path`. With `seal` the SHA-256 of the pickle follows it, where `pickle.load` and Paddle
    do not look.
    """
    with atomic_path(path, WeightsError, keep) as temporary, open(temporary, "wb") as file:
        if seal:
            content = pickle.dumps(obj, protocol=4)
            file.write(content + _SEAL + hashlib.sha256(content).hexdigest().encode())
        else:
            pickle.dump(obj, file, protocol=4)
