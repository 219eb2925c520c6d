"""A Ray of one's own: it begins with the first block, ends with the crew, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from stand_in import files_of, films, here, job_of, misbehave, setup_of

from builders import Interrupting, WriteVideo
from comix_fast.console import Silent
from comix_fast.datasets import Dataset
from comix_fast.errors import ComixError
from comix_fast.stages import extract, ray_session
from comix_fast.stages.extract import Extracted
from comix_fast.stages.ray_actor import BlockActor
from comix_fast.stages.ray_crew import RayCrew
from comix_fast.stages.ray_session import connected

RAY_MISSING = "needs the extra scale: pip install 'comix-fast[scale]'"
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class StandIn(BlockActor):
    def __init__(self, told: str) -> None:
        misbehave(seconds=0.02)
        super().__init__(told)


@pytest.fixture
def dataset(tmp_path: Path, film: WriteVideo) -> Dataset:
    return films(tmp_path, film)


def with_own_ray(dataset: Dataset, out: Path, reporter: Silent | None = None, address: str | None = None) -> Extracted:
    with RayCrew(setup_of(dataset, out), 1, address, actor=StandIn) as crew:
        return extract.run_with(crew, job_of(dataset), dataset, out, reporter or Silent())


def test_after_ctrl_c_the_same_command_goes_on(
    dataset: Dataset, tmp_path: Path, short_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason=RAY_MISSING)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        with_own_ray(dataset, tmp_path / "cache", Interrupting(2))
    assert signal.getsignal(signal.SIGTERM) == before
    left = files_of(tmp_path / "cache")
    assert any(name.startswith("surveys/") for name in left)
    assert not [name for name in left if ".partial" in name or ".attempts" in name]
    here(dataset, tmp_path / "whole")
    here(dataset, tmp_path / "cache")
    assert files_of(tmp_path / "cache") == files_of(tmp_path / "whole")


def test_nothing_to_do_connects_to_nothing(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here(dataset, tmp_path / "cache")
    monkeypatch.setattr(ray_session, "import_ray", None)
    done = with_own_ray(dataset, tmp_path / "cache")
    assert (done.n_new, done.n_present) == (0, 8)


def test_a_client_outside_a_cluster_is_sent_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason=RAY_MISSING)
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    with pytest.raises(ComixError, match="for clients outside a cluster") as refused, connected(None, 1):
        pass
    assert "ray job submit" in refused.value.hint


def test_a_cluster_that_refuses_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray", reason=RAY_MISSING)

    def refuse(**options: object) -> None:
        assert options["address"] == "head:6379"
        assert "num_cpus" not in options
        raise ConnectionError("\x1b[36mmuch\x1b[39m\nRay Client is not able to connect")

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(ComixError) as refused, connected("head:6379", 1):
        pass
    assert refused.value.message == "no Ray cluster takes us at head:6379: Ray Client is not able to connect"


def test_without_the_extra_the_way_to_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ComixError, match="--engine ray needs Ray") as refused, connected(None, 1):
        pass
    assert 'pip install "comix-fast[scale]"' in refused.value.hint


def test_a_numbered_gpu_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ComixError, match="gives out the GPUs itself, and can't be held to cuda:1"):
        RayCrew(setup_of(dataset, tmp_path, device="cuda:1"))
    assert os.environ.get("RAY_BACKEND_LOG_LEVEL") is None
