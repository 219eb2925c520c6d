"""State dicts: reading, the digest, fitting; every way a file can be wrong."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from comix_fast.backbones.network import VideoNetwork
from comix_fast.backbones.state import State, fill, fit_state, read_state, state_sha256, write_state
from comix_fast.errors import WeightsError


@pytest.fixture
def state(tiny: VideoNetwork) -> State:
    return {name: tensor.clone() for name, tensor in tiny.state_dict().items()}


def test_digest_by_hand() -> None:
    state = {"b": torch.tensor([[1.0, 2.0]]), "a": torch.tensor(3, dtype=torch.int64)}
    text = b'["a", "int64", []]\n' + (3).to_bytes(8, "little")
    text += b'["b", "float32", [1, 2]]\n' + bytes.fromhex("0000803f00000040")
    assert state_sha256(state) == hashlib.sha256(text).hexdigest()
    assert state_sha256(state | {"x.num_batches_tracked": torch.tensor(7)}) == state_sha256(state)
    assert state_sha256({"b": state["b"].t().contiguous().t(), "a": state["a"]}) == state_sha256(state)
    for other in ({"b": state["b"].half()}, {"b": state["b"].t()}, {"b": state["b"] + 1}, {"c": state["b"]}):
        assert state_sha256(other) != state_sha256({"b": state["b"]})


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("nest", [None, "state_dict", "model_state_dict", "model"])
@pytest.mark.parametrize("legacy", [False, True])
def test_one_network_in_every_wrapping(
    tmp_path: Path, state: State, prefix: str, nest: str | None, legacy: bool
) -> None:
    named: dict[str, Any] = {prefix + name: tensor for name, tensor in state.items()}
    content = {nest: named, "epoch": 3} if nest else named
    torch.save(content, tmp_path / "w.pt", _use_new_zipfile_serialization=not legacy)
    save_file({prefix + name: tensor for name, tensor in state.items()}, tmp_path / "w.safetensors")
    from_torch, from_safetensors = read_state(tmp_path / "w.pt"), read_state(tmp_path / "w.safetensors")
    assert set(from_torch) == set(from_safetensors) == set(state)
    assert state_sha256(from_torch) == state_sha256(from_safetensors) == state_sha256(state)


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "extra": Bomb(tmp_path / "ran")}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="holds more than weights, so it was not read") as caught:
        read_state(tmp_path / "w.pt")
    assert "state_dict()" in caught.value.hint
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("keep", [0, 1, 9, 300, -1])
def test_cut_files_are_errors_that_name_them(tmp_path: Path, state: State, suffix: str, keep: int) -> None:
    path = tmp_path / f"w{suffix}"
    torch.save(state, path) if suffix == ".pt" else save_file(state, path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(WeightsError) as caught:
        read_state(path)
    assert str(path) in caught.value.message


@pytest.mark.parametrize("content", [{"epoch": 3}, {}, [torch.zeros(2)], {"state_dict": {"a": 1}}])
def test_files_without_a_state_dict(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="holds no state dict"):
        read_state(tmp_path / "w.pth")


def test_absent_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no weights file at"):
        read_state(tmp_path / "none.pt")
    (tmp_path / "w.onnx").write_bytes(b"x")
    with pytest.raises(WeightsError, match="can be read here") as caught:
        read_state(tmp_path / "w.onnx")
    assert ".safetensors" in caught.value.hint


def drop(name: str) -> Callable[[State], None]:
    return lambda state: state.__delitem__(name)


def put(name: str, tensor: torch.Tensor) -> Callable[[State], None]:
    return lambda state: state.__setitem__(name, tensor)


@pytest.mark.parametrize(
    ("change", "count", "said"),
    [
        (drop("body.0.weight"), "4 of 5", "1 missing: body.0.weight"),
        (put("gc1.weight", torch.zeros(2)), "5 of 5", "1 unexpected: gc1.weight"),
        (put("body.1.bias", torch.zeros(7)), "5 of 5", "1 of another shape: body.1.bias [7], expected [4]"),
        (put("body.1.bias", torch.zeros(4, dtype=torch.int8)), "5 of 5", "1 not floating point: body.1.bias"),
    ],
)
def test_misfits_are_counted_and_named(
    tiny: VideoNetwork, state: State, change: Callable[[State], None], count: str, said: str
) -> None:
    del state["logits.weight"]
    change(state)
    with pytest.raises(WeightsError, match=f"w.pt does not fit the network: {count} tensors found") as caught:
        fit_state(tiny, state, "w.pt")
    assert caught.value.details == (said,)


@pytest.mark.parametrize(
    "change",
    [drop("logits.weight"), put("logits.bias", torch.zeros(9)), put("logits.weight", torch.zeros(9, 4))],
)
def test_another_classifier_is_left_out(tiny: VideoNetwork, state: State, change: Callable[[State], None]) -> None:
    assert fit_state(tiny, state, "w.pt").has_classifier
    change(state)
    fitted = fit_state(tiny, state, "w.pt")
    assert not fitted.has_classifier
    assert not [name for name in fitted.state if name.startswith("logits")]
    with torch.device("meta"):
        empty = type(tiny)()
    fill(empty, fitted)
    empty.eval()
    clips = torch.rand(1, 3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(empty(clips), tiny(clips))


def test_half_precision_files_become_float32(tiny: VideoNetwork, state: State) -> None:
    halved = {name: t.half() if t.is_floating_point() else t for name, t in state.items()}
    fitted = fit_state(tiny, halved, "w.pt")
    assert {tensor.dtype for tensor in fitted.state.values()} == {torch.float32}
    assert torch.equal(fitted.state["body.0.weight"], state["body.0.weight"].half().float())


def test_written_whole_or_not_at_all(tmp_path: Path, state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "w.safetensors"
    write_state(state, path, {"backbone": "tiny"})
    header = path.read_bytes()[8 : 8 + int.from_bytes(path.read_bytes()[:8], "little")]
    assert json.loads(header)["__metadata__"] == {"format": "pt", "backbone": "tiny"}
    before = path.read_bytes()

    def half_way(tensors: State, target: Path, **_: object) -> None:
        Path(target).write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr("comix_fast.backbones.state.save_file", half_way)
    with pytest.raises(OSError, match="No space"):
        write_state(state, path, {})
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]
