"""Read a pickled pandas frame without pandas: its columns, as numpy arrays.

EPIC-Kitchens' published splits are such files. Only the names below are looked up, and each is answered by a
stand-in that keeps what it is handed and does nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comix_fast import safe_pickle
from comix_fast.errors import DatasetError, first_few
from comix_fast.printable import printable

_SHOWN = 80

Columns = dict[str, NDArray[Any]]


class _Kept:
    """An object of the file, as the arguments and the state that it came with."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Frame(_Kept):
    """Stands in for pandas.DataFrame."""


class _Blocks(_Kept):
    """Stands in for pandas' BlockManager: its state holds the axes and the blocks of values."""


class _Index(_Kept):
    """Stands in for pandas.Index."""


class _Range(_Kept):
    """Stands in for pandas.RangeIndex."""


def _index(kind: Any, content: Any) -> _Index:
    return _Index(kind, content)


_ALLOWED: Mapping[tuple[str, str], Any] = {
    **safe_pickle.NUMPY_ALLOWED,
    ("pandas.core.frame", "DataFrame"): _Frame,
    ("pandas.core.internals.managers", "BlockManager"): _Blocks,
    ("pandas.core.indexes.base", "Index"): _Index,
    ("pandas.core.indexes.base", "_new_Index"): _index,
    ("pandas.core.indexes.range", "RangeIndex"): _Range,
}


def read_columns(path: Path, wanted: tuple[str, ...]) -> Columns:
    """The wanted columns of a pickled frame, each an array [rows].

    Raises DatasetError if the file can't be read, holds anything but a frame of plain columns (a foreign name
    is refused by name, and nothing of it is run), or lacks a column.
    """
    try:
        frame = safe_pickle.load(path, _ALLOWED)
    except safe_pickle.PickleError as error:
        raise DatasetError(error.message, error.details, error.hint) from error
    except OSError as error:
        raise DatasetError(f"{path} can't be read: {error.strerror or error}") from error
    try:
        columns = _columns(frame)
    except (TypeError, LookupError, ValueError, ArithmeticError, AttributeError, RecursionError) as error:
        raise DatasetError(
            f"{path} is not a frame of plain columns as pandas 1 wrote them",
            [f"{type(error).__name__}: {printable(str(error), _SHOWN)}"],
        ) from error
    absent = [name for name in wanted if name not in columns]
    if absent:
        has = first_few((printable(name, _SHOWN) for name in columns), 12)
        raise DatasetError(f"{path} has no column {', '.join(absent)}", [f"it has {has}"])
    return {name: columns[name] for name in wanted}


def _columns(frame: Any) -> Columns:
    if not isinstance(frame, _Frame):
        raise TypeError(f"it holds a {type(frame).__name__.strip('_')}")
    blocks = frame.state["_data"]
    if not isinstance(blocks, _Blocks):
        raise TypeError("it has no blocks of values")
    form = blocks.state[3]["0.14.1"]  # the one form that pandas 0.14 to 1.2 wrote
    names, rows = _labels(form["axes"][0]), _length(form["axes"][1])
    columns: Columns = {}
    for block in form["blocks"]:
        values, places = np.asarray(block["values"]), np.asarray(block["mgr_locs"])
        if values.shape != (len(places), rows):
            raise ValueError(f"a block of shape {values.shape} for {len(places)} columns of {rows} rows")
        for place, column in zip(places, values, strict=True):
            columns[names[int(place)]] = column
    return {name: columns[name] for name in names}


def _labels(index: Any) -> list[str]:
    names = [str(name) for name in np.asarray(index.arguments[1]["data"])]
    if len(set(names)) != len(names):
        raise ValueError("two columns have the same name")
    return names


def _length(index: Any) -> int:
    content = index.arguments[1]
    if "data" in content:
        return len(np.asarray(content["data"]))
    return len(range(content["start"], content["stop"], content["step"]))
