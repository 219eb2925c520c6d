"""Pickles from strangers: what is allowed loads as numpy itself would load it, all else is refused unread."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from comix_fast import safe_pickle
from comix_fast.safe_pickle import NUMPY_ALLOWED, PickleError

ARRAYS = {
    "floats": np.linspace(-1, 1, 6).reshape(2, 3),
    "half": np.arange(4, dtype=np.float16),
    "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "other-endian": np.arange(3, dtype=">i4"),
    "bools": np.array([True, False]),
    "text": np.array(["ab", "c"]),
    "bytes": np.array([b"ab", b"c"]),
    "objects": np.array([["P01", None], ["a", "b"]], dtype=object),
    "scalar-shape": np.array(3.5),
    "empty": np.zeros((0, 3), np.float32),
}


class Calls:
    """An object whose pickle calls a function when it is read."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_load_as_numpy_loads_them(name: str, protocol: int) -> None:
    array = ARRAYS[name]
    content = pickle.dumps({"x": array, "again": [array, array]}, protocol)
    loaded = safe_pickle.load(content, NUMPY_ALLOWED)
    expected = pickle.loads(content)["x"]
    found = np.asarray(loaded["x"])
    assert type(found) is np.ndarray
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert np.array_equal(found, expected)
    assert loaded["again"][0] is loaded["again"][1]


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_numbers_load(protocol: int) -> None:
    values = [np.float32(1.5), np.int64(-7), np.bool_(True)]
    assert safe_pickle.load(pickle.dumps(values, protocol), NUMPY_ALLOWED) == values


@pytest.mark.parametrize("core", ["numpy.core", "numpy._core"])
def test_both_spellings_of_numpy_load(core: str) -> None:
    content = pickle.dumps(np.arange(5), 0)
    for spelling in (b"numpy.core", b"numpy._core"):
        content = content.replace(b"c" + spelling + b".", b"c" + core.encode() + b".")
    assert core.encode() + b".multiarray" in content
    assert safe_pickle.load(content, NUMPY_ALLOWED).tolist() == [0, 1, 2, 3, 4]


def test_a_file_and_a_mapping_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "weights.ckpt"
    path.write_bytes(b"\x80\x02cflax.core.frozen_dict\nFrozenDict\n}X\x01\x00\x00\x00aK\x05s\x85R.")
    allowed = {("flax.core.frozen_dict", "FrozenDict"): dict}
    assert safe_pickle.load(path, allowed) == {"a": 5}
    with pytest.raises(PickleError, match=r"weights.ckpt asks for flax.core.frozen_dict.FrozenDict"):
        safe_pickle.load(path, NUMPY_ALLOWED)


def hostile(marker: Path) -> dict[str, bytes]:
    """Pickles that make the marker file if Python's own unpickler reads them, and what each asks for."""
    text, command = str(marker), f"touch {marker}"
    source = f"open({text!r}, 'w').close()"
    chain = f"cbuiltins\ngetattr\n(cos\nsystem\nV__call__\ntR(V{command}\ntR."
    dotted = pickle.PROTO + b"\x04" + b"\x8c\x05posix\x8c\x0fsystem.__call__\x93"
    return {
        "posix.system": pickle.dumps(Calls(os.system, command)),
        "builtins.eval": pickle.dumps(Calls(eval, source)),
        "builtins.exec": pickle.dumps(Calls(exec, source)),
        "io.open": pickle.dumps(Calls(io.open, text, "w")).replace(b"_io", b"io"),
        "builtins.getattr": chain.encode(),
        "posix.system.__call__": dotted + b"\x8c" + bytes([len(command)]) + command.encode() + b"\x85R.",
        "numpy.testing._private.utils.runstring": (
            f"cnumpy.testing._private.utils\nrunstring\n(V{source}\n(dtR.".encode()
        ),
        "numpy.fromfile": f"cnumpy\nfromfile\n(V{text}\ntR.".encode(),
    }


@pytest.mark.parametrize("name", hostile(Path("unused")))
def test_hostile_pickles_are_refused_by_name_and_nothing_runs(name: str, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    content = hostile(marker)[name]
    with pytest.raises(PickleError) as refused:
        safe_pickle.load(content, NUMPY_ALLOWED)
    assert f"asks for {name}," in refused.value.message
    assert not marker.exists()


@pytest.mark.parametrize("name", ["posix.system", "builtins.eval", "builtins.getattr", "posix.system.__call__"])
def test_the_hostile_pickles_are_hostile(name: str, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    pickle.loads(hostile(marker)[name])
    assert marker.exists()


def test_a_hostile_object_inside_an_array_is_refused(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    array = np.array([Calls(os.system, f"touch {marker}")], dtype=object)
    with pytest.raises(PickleError, match=r"posix\.system"):
        safe_pickle.load(pickle.dumps(array), NUMPY_ALLOWED)
    assert not marker.exists()


def _text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


def _global(module: str, name: str) -> bytes:
    return _text(module) + _text(name) + b"\x93"


DTYPE = _global("numpy", "dtype")
FORGED = {
    # A compound type, whose flags could say that it holds no objects over bytes then taken for pointers.
    "compound": pickle.dumps(np.zeros(1, dtype=[("a", object)]).dtype),
    "text-code": b"\x80\x04" + DTYPE + _text("O,O") + b"\x85R.",
    "no-code": b"\x80\x04" + DTYPE + b"K\x05\x85R.",
    # Setting an attribute on a function or on a class by the BUILD instruction.
    "alter-function": b"\x80\x04" + _global("numpy.core.multiarray", "_reconstruct")
    + b"N}" + _text("__name__") + _text("x") + b"s\x86b.",
    "alter-class": b"\x80\x04" + DTYPE + b"N}" + _text("__init__") + _text("x") + b"s\x86b.",
    "outside": b"\x80\x04" + _text("id") + b"Q.",
    "truncated": pickle.dumps(np.arange(50))[:-30],
    "empty": b"",
    "text": b"path,label\n",
    "stack": b"\x80\x04R.",
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
def test_forged_and_damaged_pickles_are_refused(name: str) -> None:
    with pytest.raises(PickleError):
        safe_pickle.load(FORGED[name], NUMPY_ALLOWED)


@pytest.mark.parametrize(
    "state",
    [
        (1, (9,), False, bytes(8)),  # more numbers than bytes
        (1, (1,), False, bytes(16)),  # fewer
        (1, (-1,), False, b""),
        (1, [1], False, bytes(8)),
        (1, (1,), False, [7]),  # objects where numbers belong
    ],
)
def test_an_array_must_fit_its_bytes(state: tuple[Any, ...]) -> None:
    version, shape, fortran, content = state
    array = safe_pickle.load(pickle.dumps(np.zeros(0)), NUMPY_ALLOWED)
    double = NUMPY_ALLOWED["numpy", "dtype"]("f8")
    with pytest.raises(PickleError):
        array.__setstate__((version, shape, double, fortran, content))
    array.__setstate__((1, (1,), double, False, np.float64(2.5).tobytes()))
    assert np.asarray(array).tolist() == [2.5]


def test_a_class_that_pickles_could_alter_is_not_accepted() -> None:
    class Open:
        pass

    with pytest.raises(TypeError, match="must define __setstate__"):
        safe_pickle.load(pickle.dumps(1), {("a", "Open"): Open})
