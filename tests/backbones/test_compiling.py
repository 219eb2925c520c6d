"""torch.compile of a backbone: the same features, from several threads, and errors that say the way out."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor

from comix_fast.backbones import load_backbone
from comix_fast.backbones.compiling import (
    COMPILE_SECONDS,
    SECONDS_SAVED,
    CompiledForward,
    can_compile,
    pays,
    require_compiler,
)
from comix_fast.backbones.network import VideoNetwork
from comix_fast.errors import ComixError

CPU = torch.device("cpu")


@pytest.fixture
def own_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("g++") is None:
        pytest.skip("torch.compile needs g++")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch.compiler.reset()


def some_clips(n_clips: int) -> Tensor:
    return torch.rand(n_clips, 3, 4, 16, 16, generator=torch.Generator().manual_seed(n_clips)) * 2 - 1


def test_threads_share_one_compiled_network(tiny: VideoNetwork, own_code: None) -> None:
    tiny.fold()
    compiled = CompiledForward(tiny)
    batches = [some_clips(2) + 0.01 * number for number in range(8)]
    expected = [tiny(batch) for batch in batches]

    def one(batch: Tensor) -> Tensor:
        torch.set_num_threads(1)
        with torch.inference_mode():
            return compiled(batch)

    with ThreadPoolExecutor(2) as pool:
        got = list(pool.map(one, batches))
    for features, wanted in zip(got, expected, strict=True):
        torch.testing.assert_close(features, wanted, atol=1e-5, rtol=1e-5)
    assert len({float(features.sum()) for features in got}) == len(batches)


def test_what_cannot_be_compiled_is_an_error_to_act_on(
    tiny: VideoNetwork, own_code: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks_the_graph(self: VideoNetwork, clips: Tensor) -> Tensor:
        torch._dynamo.graph_break()
        return clips.mean(dim=(2, 3, 4))

    monkeypatch.setattr(type(tiny), "forward", breaks_the_graph)
    with pytest.raises(ComixError, match="could not be compiled") as caught:
        CompiledForward(tiny)(some_clips(1))
    assert "--compile" in caught.value.hint and caught.value.details[0]


def test_a_missing_compiler_is_said_before_any_weights_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler -O2")
    with pytest.raises(ComixError, match="no-such-compiler") as caught:
        load_backbone("i3d", "no-such-weights", compiled=True)
    assert "$CXX" in caught.value.hint
    assert not can_compile(torch.device("cpu"))
    monkeypatch.setenv("CXX", "sh")
    assert can_compile(torch.device("cpu"))
    require_compiler(CPU)


def test_the_recipe_names_it_only_where_it_is_so() -> None:
    plain = load_backbone("mc3_18", "random")
    assert "compiled" not in plain.recipe() and not plain.compiled
    if shutil.which("g++") is None:
        pytest.skip("torch.compile needs g++")
    compiled = load_backbone("mc3_18", "random", compiled=True)
    assert compiled.recipe() == {**plain.recipe(), "compiled": True}
    assert set(compiled.state_dict()) == set(plain.state_dict())


def test_it_pays_where_the_work_is_long_and_there_is_a_gain() -> None:
    assert not pays(10**9, CPU, "bf16") and not pays(10**9, torch.device("meta"), "fp32")
    assert not pays(14_000, CPU, "fp32") and pays(16_000, CPU, "fp32")
    cuda = torch.device("cuda")
    assert not pays(10**9, cuda, "bf16") and not pays(10**9, cuda, "fp32")
    assert {device for device, _ in SECONDS_SAVED} == set(COMPILE_SECONDS)
