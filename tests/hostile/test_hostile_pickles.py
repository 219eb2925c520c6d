"""Pickles that carry code, or that would bring the interpreter down: refused by name, and nothing of them is run."""

from __future__ import annotations

import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile_files import in_little_memory

from comix_fast import safe_pickle
from comix_fast.backbones import i3d_jax
from comix_fast.datasets import load_preset, published
from comix_fast.datasets.published import read_segments
from comix_fast.errors import ComixError, DatasetError, WeightsError
from comix_fast.safe_pickle import NUMPY_ALLOWED, PickleError


class Runs:
    """Its pickle makes a file when it is read by Python's own means."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


def text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


def named(module: str, name: str) -> bytes:
    return text(module) + text(name) + b"\x93"


def test_the_payload_would_run(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Runs(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()


def test_an_epic_list_with_code(tmp_path: Path) -> None:
    for name in ("D1_train.pkl", "D1_test.pkl", "D2_train.pkl", "D2_test.pkl"):
        (tmp_path / name).write_bytes(pickle.dumps({"uid": [1], "video_id": Runs(tmp_path / "ran")}))
    with pytest.raises(DatasetError, match=r"D1_train\.pkl asks for posix\.system, which is not allowed") as refused:
        load_preset("epic-d1-d2", tmp_path, tmp_path)
    assert "nothing of it was run" in refused.value.details
    assert not (tmp_path / "ran").exists()


def test_i3d_jax_weights_with_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "i3d-kinetics-400.ckpt"
    path.write_bytes(pickle.dumps({"params": Runs(tmp_path / "ran"), "batch_stats": {}}))
    with pytest.raises(WeightsError, match="is not the published checkpoint"):
        i3d_jax.read_checkpoint(path)
    # Were another file of that hash ever found, its names would be refused all the same.
    monkeypatch.setattr(i3d_jax, "FILE_SHA256", i3d_jax.file_sha256(path))
    with pytest.raises(ComixError, match=r"asks for posix\.system"):
        i3d_jax.read_checkpoint(path)
    assert not (tmp_path / "ran").exists()


def test_a_name_that_would_move_the_cursor_is_written_out() -> None:
    for module, shown in (("os\x1b]0;owned\x07\n", r"os\x1b]0;owned\x07\n.system"), ("a" * 250, "…")):
        with pytest.raises(PickleError) as refused:
            safe_pickle.load(pickle.PROTO + b"\x04" + named(module, "system") + b".", NUMPY_ALLOWED)
        assert shown in refused.value.message
        assert refused.value.message.isprintable()
        assert len(refused.value.message) < 300


MEMORY = {
    "a place far away": b"\x80\x04Nr\xff\xff\xff\x1f.",
    "a place in text": b"Np500000000\n.",
    "text that is not there": b"\x80\x04\x8d" + struct.pack("<Q", 2**40) + b".",
    "bytes that are not there": b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b".",
    "a bytearray that is not there": b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".",
    "a frame that is not there": b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b"N.",
    "a number of a thousand million digits": b"\x80\x04\x8b" + struct.pack("<i", 2**30) + b".",
}


@pytest.mark.parametrize("kind", MEMORY)
def test_a_few_bytes_take_no_memory(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a.pkl").write_bytes(MEMORY[kind])
    code = """
        from pathlib import Path
        from comix_fast import safe_pickle
        room()
        try:
            safe_pickle.load(Path(sys.argv[1]), safe_pickle.NUMPY_ALLOWED)
        except safe_pickle.PickleError as error:
            print(error.message)
    """
    assert "a.pkl" in in_little_memory(code, 100, tmp_path / "a.pkl")


def test_tuples_in_tuples_do_not_take_the_stack() -> None:
    """To hash what lies so deep takes the interpreter down, not an exception: it must not be built."""
    deep = b"\x80\x04}(" + b")" + b"\x85" * 500_000 + b"Nu."
    with pytest.raises(PickleError, match="more than 10,000 tuples"):
        safe_pickle.load(deep, NUMPY_ALLOWED)
    allowed = b"\x80\x04}(" + b")" + b"\x85" * 9_000 + b"Nu."
    assert len(safe_pickle.load(allowed, NUMPY_ALLOWED)) == 1


def test_an_array_without_end_of_values_without_bytes() -> None:
    array = safe_pickle.load(pickle.dumps(np.zeros(0)), NUMPY_ALLOWED)
    for code in ("S0", "U0", "V0"):
        with pytest.raises(PickleError, match="values of no bytes"):
            array.__setstate__((1, (10**15,), NUMPY_ALLOWED["numpy", "dtype"](code), False, b""))


@pytest.mark.parametrize("content", [b"", b"\x80", b"\x80\x04N.", b"\x80\x04].", b"uid,video_id\n", b"\x80\x04}."])
def test_a_list_that_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "D1_train.pkl").write_bytes(content)
    with pytest.raises(DatasetError, match=r"D1_train\.pkl is not"):
        read_segments(tmp_path / "D1_train.pkl", tmp_path)


@pytest.mark.parametrize(
    "video_id", ["../../etc", "/etc", "a/b", "..", ".", "", "P01\x1b[2J", "P01\n01", "P01\u202e10", "a\0b"]
)
def test_video_ids_that_lead_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, video_id: str) -> None:
    columns = {"uid": [7, 8], "start_frame": [0, 0], "stop_frame": [20, 2**62], "verb_class": [1, 1]}
    arrays = {name: np.array(values) for name, values in columns.items()}
    for name in ("P01_01", video_id):
        arrays["video_id"] = np.array(["P02_02", name], dtype=object)
        monkeypatch.setattr(published, "read_columns", lambda path, wanted: arrays)
        if name == "P01_01":
            video = read_segments(tmp_path / "list.pkl", tmp_path)[1]
            assert (video.path, video.segment) == (tmp_path / "P01_01", (1, 2**62))
    with pytest.raises(DatasetError, match=r"1 of 2 rows of .* have no plain video id") as refused:
        read_segments(tmp_path / "list.pkl", tmp_path)
    assert str(refused.value).replace("\n", "").isprintable()


def test_a_device_in_place_of_a_list(tmp_path: Path) -> None:
    (tmp_path / "D1_train.pkl").symlink_to("/dev/zero")
    with pytest.raises(DatasetError, match="is not a file"):
        read_segments(tmp_path / "D1_train.pkl", tmp_path)
