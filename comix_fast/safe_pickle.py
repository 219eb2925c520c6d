"""Read a pickle that may come from a stranger: only names on a list are ever looked up.

A pickle is a small program that names functions and calls them. `load` resolves a name through the caller's
list alone, nothing is imported on the pickle's behalf, and what the list holds for numpy are stand-ins that
check what they are given: numpy's own `dtype` takes flags from the pickle as they come, and wrong flags let
raw bytes pass for object pointers. Before anything is built the program is read through once for what would bring
the interpreter itself down: places in its memory far beyond what it stores (it sets aside room up to the highest), and
tuples in tuples without end (to hash one takes the whole stack).
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from comix_fast.errors import ComixError
from comix_fast.printable import printable

_IMMUTABLE_TYPE = 1 << 8  # Py_TPFLAGS_IMMUTABLETYPE: attributes of such a type can't be set
_DTYPE_CODE = re.compile(r"[?bhilqBHILQefdgFD]|[biufc][0-9]{1,2}|[SUV][0-9]{1,9}|O8?|O4")

MOST_TUPLES = 10_000
"""Tuples in one pickle, some ten times what the published files hold; they can't be nested deeper than that."""

MOST_PLACES = 2**20
"""Places of memory in one pickle at least; more if the pickle has as many bytes."""

_SHOWN = 120

# What the interpreter of pickles raises when the bytes make no sense to it.
_DAMAGE = (
    pickle.UnpicklingError,
    EOFError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)


class PickleError(ComixError):
    """A pickle names something that isn't allowed, or is damaged."""


def load(source: Path | bytes, allowed: Mapping[tuple[str, str], Any]) -> Any:
    """The object in a pickle whose every global name is a key of `allowed`.

    source: a file, or the pickle's bytes.
    allowed: (module, name) as written in the pickle -> the object to use in its place. A class written in
        Python must define `__setstate__`, so that no pickle can set attributes on the class itself.
    Arrays restored through NUMPY_ALLOWED are of an ndarray subclass; `np.asarray` gives a plain one, no copy.
    Raises PickleError, with the full name, for any other name (nothing of it is imported or run), and for
    bytes that are no whole pickle. Raises OSError if the file can't be read.
    """
    where = "pickle" if isinstance(source, bytes) else printable(str(source))
    if isinstance(source, Path) and source.exists() and not source.is_file():
        raise PickleError(f"{where} is not a file")
    content = source if isinstance(source, bytes) else source.read_bytes()
    reader = _Unpickler(content, allowed, where)
    try:
        _read_through(content, where)
        return reader.load()
    except PickleError:
        raise
    except _DAMAGE as error:
        reason = printable(str(error), _SHOWN) or type(error).__name__
        raise PickleError(f"{where} is not a whole, plain pickle: {reason}") from error


def _read_through(content: bytes, where: str) -> None:
    """Looks at every instruction and follows none."""
    n_tuples, most_places = 0, max(MOST_PLACES, len(content))
    for code, argument, _ in pickletools.genops(content):
        if "PUT" in code.name and isinstance(argument, int) and not 0 <= argument <= most_places:
            raise PickleError(f"{where} asks for place {argument:,} of a memory that it can't fill")
        n_tuples += "TUPLE" in code.name
        if n_tuples > MOST_TUPLES:
            raise PickleError(f"{where} holds more than {MOST_TUPLES:,} tuples, which no list or weights do")


class _Unpickler(pickle.Unpickler):
    def __init__(self, content: bytes, allowed: Mapping[tuple[str, str], Any], where: str) -> None:
        super().__init__(io.BytesIO(content))
        self._allowed = {key: _sealed(key, use) for key, use in allowed.items()}
        self._where = where

    def find_class(self, module: str, name: str, /) -> Any:
        try:
            return self._allowed[module, name]
        except KeyError:
            raise PickleError(
                f"{self._where} asks for {printable(f'{module}.{name}', _SHOWN)}, which is not allowed in such a file",
                ["nothing of it was run"],
                "use the file only if you trust where it came from; it can't be read here",
            ) from None

    def persistent_load(self, pid: Any, /) -> NoReturn:
        raise PickleError(f"{self._where} refers to something outside itself, not allowed: {pid!r:.50}")


class _Sealed:
    """A function a pickle may call, and do nothing else with (functions have attributes to overwrite)."""

    __slots__ = ("_function",)

    def __init__(self, function: Any) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setstate__(self, state: Any) -> NoReturn:
        raise PickleError("a pickle tries to alter a function, which is not allowed")


def _sealed(key: tuple[str, str], use: Any) -> Any:
    if not isinstance(use, type):
        return _Sealed(use) if callable(use) else use
    if use.__flags__ & _IMMUTABLE_TYPE or hasattr(use, "__setstate__"):
        return use
    raise TypeError(f"{use.__qualname__}, allowed for {'.'.join(key)}, must define __setstate__")


class _Dtype:
    """Stands in for numpy.dtype: a plain code and a byte order, no fields, no flags."""

    def __init__(self, code: Any, align: Any = False, copy: Any = False) -> None:
        if not isinstance(code, str) or not _DTYPE_CODE.fullmatch(code.lstrip("<>|=")):
            raise PickleError(f"a pickle holds an array of type {code!r:.80}; only plain types are allowed")
        self.real = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        _version, order, subtype, names, fields, *_sizes_and_flags = state
        if subtype is not None or names is not None or fields is not None:
            raise PickleError("a pickle holds an array of a compound type; only plain types are allowed")
        if order not in ("<", ">", "|", "="):
            raise PickleError(f"a pickle holds an array of unknown byte order {order!r:.20}")
        if order in ("<", ">"):
            self.real = self.real.newbyteorder(order)


class _Array(np.ndarray[Any, Any]):
    """Stands in for numpy.ndarray: takes its contents only if type, shape and size fit."""

    def __setstate__(self, state: Any, /) -> None:
        _version, shape, dtype, fortran, content = state
        real, size = _checked(shape, dtype)
        if real.hasobject:
            if not isinstance(content, list) or len(content) != size:
                raise PickleError("a pickle's array of objects does not fit its shape")
        elif not isinstance(content, bytes) or len(content) != size * real.itemsize:
            raise PickleError("a pickle's array has more or fewer bytes than its shape asks for")
        restore: Any = super().__setstate__  # its annotation lacks the form with a version
        restore((1, shape, real, bool(fortran), content))


def _checked(shape: Any, dtype: Any) -> tuple[np.dtype[Any], int]:
    if not isinstance(dtype, _Dtype):
        raise PickleError("a pickle holds an array without a type")
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        raise PickleError(f"a pickle holds an array of shape {shape!r:.80}")
    size = math.prod(shape)
    # Values without bytes would let a few bytes stand for an array without end.
    if size and not dtype.real.itemsize:
        raise PickleError("a pickle holds an array of values of no bytes")
    return dtype.real, size


def _reconstruct(subtype: Any, shape: Any, typecode: Any) -> _Array:
    # numpy writes an empty array's arguments here; the state that follows gives the real shape.
    if subtype is not _Array:
        raise PickleError("a pickle holds an array of an unknown class")
    return _Array((0,), np.dtype("i1"))


def _scalar(dtype: Any, content: Any) -> Any:
    real, _ = _checked((), dtype)
    if real.hasobject or not isinstance(content, bytes) or len(content) != real.itemsize:
        raise PickleError("a pickle's number has more or fewer bytes than its type asks for")
    return np.frombuffer(content, real)[0]


def _from_buffer(content: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    real, size = _checked(shape, dtype)
    if real.hasobject or not isinstance(content, (bytes, bytearray)) or len(content) != size * real.itemsize:
        raise PickleError("a pickle's array has more or fewer bytes than its shape asks for")
    if order not in ("C", "F"):
        raise PickleError(f"a pickle holds an array in unknown order {order!r:.20}")
    return np.frombuffer(content, real).reshape(shape, order=order).view(_Array)


def _encode(text: Any, encoding: Any) -> bytes:
    # Protocols 0 to 2 have no bytes; Python writes them as latin-1 text to be encoded.
    if not isinstance(text, str) or encoding != "latin1":
        raise PickleError(f"a pickle asks for the encoding {encoding!r:.20}; only latin1 is allowed")
    return text.encode("latin-1")


def _empty_bytes() -> bytes:
    return b""


def _numpy_allowed() -> dict[tuple[str, str], Any]:
    names: dict[tuple[str, str], Any] = {("numpy", "ndarray"): _Array, ("numpy", "dtype"): _Dtype}
    for core in ("numpy.core", "numpy._core"):  # numpy 1 and numpy 2
        names[f"{core}.multiarray", "_reconstruct"] = _reconstruct
        names[f"{core}.multiarray", "scalar"] = _scalar
        names[f"{core}.numeric", "_frombuffer"] = _from_buffer
    names["_codecs", "encode"] = _encode
    names["__builtin__", "bytes"] = _empty_bytes
    return names


#: What a pickle of plain numpy arrays and numbers needs, as numpy 1 and numpy 2 write it.
NUMPY_ALLOWED: Mapping[tuple[str, str], Any] = _numpy_allowed()
