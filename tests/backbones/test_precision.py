"""Precision: when bf16 is taken, and that a wrong one is found out."""

from __future__ import annotations

import copy

import pytest
import torch

from comix_fast.backbones import precision
from comix_fast.backbones.network import VideoNetwork
from comix_fast.backbones.precision import agreement, check_clips, has_bf16_units, prepare

CPU = torch.device("cpu")


@pytest.fixture
def with_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bf16_units", lambda device: True)


def break_a_channel(network: VideoNetwork) -> None:
    """A broken kernel: right dtype, wrong numbers."""
    network.get_parameter("body.0.bias")[0] += 3
    network.get_submodule("body").to(torch.bfloat16)


def test_auto_takes_bf16_where_it_agrees(tiny: VideoNetwork, with_units: None) -> None:
    prepared = prepare(tiny, "auto", CPU, 16)
    assert (prepared.precision, prepared.note) == ("bf16", "")
    assert prepared.network.get_parameter("body.0.weight").dtype == torch.bfloat16
    assert prepared.network.get_parameter("logits.weight").dtype == torch.float32


def test_auto_falls_back_where_bf16_is_wrong(
    tiny: VideoNetwork, with_units: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(tiny), "to_bf16", break_a_channel)
    expected = tiny(check_clips(16, CPU))
    prepared = prepare(tiny, "auto", CPU, 16)
    assert prepared.precision == "fp32"
    assert "cosine" in prepared.note and "0.999" in prepared.note
    torch.testing.assert_close(prepared.network(check_clips(16, CPU)), expected)


def test_bf16_by_name_is_kept_but_the_doubt_is_said(tiny: VideoNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(tiny), "to_bf16", break_a_channel)
    prepared = prepare(tiny, "bf16", CPU, 16)
    assert prepared.precision == "bf16" and "cosine" in prepared.note


def go_wrong_where_it_is_bright(network: VideoNetwork) -> None:
    """A kernel that is right on the check clips, whose mean is 0, and wrong on clips that are nearly white."""
    body = network.get_submodule("body").to(torch.bfloat16)

    def shifted(_module: torch.nn.Module, args: tuple[torch.Tensor], out: torch.Tensor) -> torch.Tensor:
        return torch.cat([out[:, :1] + 40 * (args[0].mean() > 0.5), out[:, 1:]], dim=1)

    body.register_forward_hook(shifted)


def test_the_first_clips_are_checked_as_well(
    tiny: VideoNetwork, with_units: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    bright = torch.rand(5, 3, 8, 16, 16, generator=torch.Generator().manual_seed(0)) * 0.2 + 0.8
    assert prepare(copy.deepcopy(tiny), "auto", CPU, 16, bright).precision == "bf16"
    monkeypatch.setattr(type(tiny), "to_bf16", go_wrong_where_it_is_bright)
    assert prepare(copy.deepcopy(tiny), "auto", CPU, 16).precision == "bf16"
    only_last = torch.cat([-bright[:4], bright[4:]])
    found = prepare(copy.deepcopy(tiny), "auto", CPU, 16, only_last)
    assert found.precision == "fp32" and "first 5 clips" in found.note and "cosine" in found.note
    kept = prepare(tiny, "bf16", CPU, 16, only_last)
    assert kept.precision == "bf16" and "first 5 clips" in kept.note


def test_auto_without_units_says_why(tiny: VideoNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bf16_units", lambda device: False)
    prepared = prepare(tiny, "auto", CPU, 16)
    assert prepared.precision == "fp32" and "no bfloat16 units" in prepared.note
    assert prepare(tiny, "fp32", CPU, 16).note == ""


def test_cpu_units_are_read_from_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    for capabilities, expected in (
        ({"avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, False),
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True}, True),
        ({}, False),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=capabilities: found)
        assert has_bf16_units(CPU) is expected


@pytest.mark.parametrize(("major", "supported", "expected"), [(7, True, False), (8, False, False), (9, True, True)])
def test_gpu_units_need_compute_capability_eight(
    monkeypatch: pytest.MonkeyPatch, major: int, supported: bool, expected: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: supported)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (major, 0))
    assert has_bf16_units(torch.device("cuda")) is expected


def test_agreement_is_the_lowest_cosine_of_a_clip(tiny: VideoNetwork) -> None:
    first, second = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    clips = torch.zeros(2, 3, 4, 4, 4)
    assert agreement(lambda _: first, lambda _: second, clips) == pytest.approx(0.6)
    broken = torch.tensor([[1.0, 0.0], [float("nan"), 0.0]])
    assert agreement(lambda _: first, lambda _: broken, clips) == -1.0


def test_check_clips_are_fixed_and_fill_the_range() -> None:
    clips = check_clips(56, CPU)
    assert clips.shape == (2, 3, 8, 56, 56) and torch.equal(clips, check_clips(56, CPU))
    assert -1 <= float(clips.min()) < -0.9 and 0.9 < float(clips.max()) <= 1
    assert not torch.equal(clips[0], clips[1])
