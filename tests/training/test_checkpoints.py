"""Checkpoints and stopping: the last few, whole, of this run alone; the clock."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from comix_fast.errors import RunError
from comix_fast.stages import stopping
from comix_fast.stages.checkpoints import Checkpoints
from comix_fast.stages.runs import save_tensors
from comix_fast.stages.stopping import Stop


def tensors(number: int) -> dict[str, torch.Tensor]:
    return {"head.weight": torch.full((2, 3), float(number)), "momentum.weight": torch.arange(4) * number}


def kept(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "checkpoints").iterdir())


def saved(root: Path, keep: int = 2, phases: tuple[str, ...] = ("warmstart",) * 5) -> Checkpoints:
    checkpoints = Checkpoints(root, "this run", keep)
    for number, phase in enumerate(phases):
        checkpoints.save(phase, 10 * number, tensors(number))
    return checkpoints


@pytest.mark.parametrize("keep", [1, 2, 3, 9])
def test_the_last_few_are_kept(tmp_path: Path, keep: int) -> None:
    checkpoints = saved(tmp_path, keep)
    names = [f"{number:06}-warmstart-{10 * number}.safetensors" for number in range(5)]
    assert kept(tmp_path) == names[-keep:]
    found = checkpoints.latest("warmstart")
    assert found is not None
    assert (found.phase, found.iteration) == ("warmstart", 40)
    assert all(torch.equal(found.tensors[name], value) for name, value in tensors(4).items())
    assert found.tensors.keys() == tensors(4).keys()


def test_none_or_fewer_kept_is_one(tmp_path: Path) -> None:
    saved(tmp_path, 0)
    assert len(kept(tmp_path)) == 1


def test_newest_is_by_number_and_not_by_name_or_time(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 2, ("adapt",))
    for number, iteration in ((999_999, 7), (1_000_000, 5)):
        (tmp_path / "checkpoints/000000-adapt-0.safetensors").unlink(missing_ok=True)
        metadata = {"phase": "adapt", "iteration": str(iteration), "run": "this run"}
        save_tensors(tmp_path / f"checkpoints/{number:06}-adapt-{iteration}.safetensors", tensors(number), metadata)
    found = checkpoints.latest("adapt")
    assert found is not None
    assert found.iteration == 5
    checkpoints.save("adapt", 6, tensors(0))
    assert kept(tmp_path) == ["1000000-adapt-5.safetensors", "1000001-adapt-6.safetensors"]


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    path.write_bytes({"cut": content[:-5], "empty": b"", "flipped": bytes([content[0] ^ 255]) + content[1:]}[how])


@pytest.mark.parametrize("how", ["cut", "empty", "flipped"])
def test_a_damaged_one_is_passed_over_for_the_one_before(tmp_path: Path, how: str) -> None:
    checkpoints = saved(tmp_path, 3)
    damage(tmp_path / "checkpoints/000004-warmstart-40.safetensors", how)
    found = checkpoints.latest("warmstart")
    assert found is not None
    assert found.iteration == 30
    assert torch.equal(found.tensors["head.weight"], tensors(3)["head.weight"])
    # The next one has a number of its own.
    checkpoints.save("warmstart", 35, tensors(5))
    found = checkpoints.latest("warmstart")
    assert found is not None
    assert found.iteration == 35


def test_one_without_its_metadata_is_passed_over(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 2)
    save_tensors(tmp_path / "checkpoints/000009-warmstart-90.safetensors", tensors(9), {"run": "this run"})
    found = checkpoints.latest("warmstart")
    assert found is not None
    assert found.iteration == 40


def test_all_damaged_is_an_error_that_names_them(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 2)
    for path in (tmp_path / "checkpoints").iterdir():
        damage(path, "cut")
    with pytest.raises(RunError, match=r"(?s)no checkpoint in .*checkpoints can be read.*delete that folder") as raised:
        checkpoints.latest("warmstart")
    assert [line.split(":")[0] for line in raised.value.details] == kept(tmp_path)[::-1]


def test_those_of_another_run_are_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    with pytest.raises(RunError, match=r"000004-warmstart-40.safetensors belongs to another run"):
        Checkpoints(tmp_path, "another run").latest("warmstart")


def test_those_of_another_phase_are_not_gone_on_from(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 2, ("warmstart", "warmstart"))
    assert checkpoints.latest("adapt") is None
    checkpoints.save("adapt", 3, tensors(1))
    assert checkpoints.latest("warmstart") is None
    found = checkpoints.latest("adapt")
    assert found is not None
    assert found.iteration == 3


def test_the_one_file_of_before_is_read_and_then_replaced(tmp_path: Path) -> None:
    old = tmp_path / "checkpoint.safetensors"
    save_tensors(old, tensors(8), {"phase": "adapt", "iteration": "80", "run": "this run"})
    checkpoints = Checkpoints(tmp_path, "this run")
    found = checkpoints.latest("adapt")
    assert found is not None
    assert (found.iteration, found.tensors["momentum.weight"].tolist()) == (80, [0, 8, 16, 24])
    checkpoints.save("adapt", 90, tensors(9))
    assert not old.exists()
    assert kept(tmp_path) == ["000000-adapt-90.safetensors"]


def test_there_may_be_none(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path, "this run").latest("adapt") is None
    Checkpoints(tmp_path, "this run").clear()
    assert not any(tmp_path.iterdir())


def test_cleared_nothing_is_left(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path)
    save_tensors(tmp_path / "checkpoint.safetensors", tensors(0))
    # What a killed writer left behind.
    (tmp_path / "checkpoints/.000005-warmstart-50.safetensors.abc.partial").write_bytes(b"half")
    checkpoints.clear()
    assert not any(tmp_path.iterdir())


def test_what_is_none_of_it_is_left_alone(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path)
    for name in ("notes.txt", "mine.safetensors"):
        (tmp_path / "checkpoints" / name).write_text("mine")
    assert checkpoints.latest("warmstart") is not None
    checkpoints.clear()
    assert kept(tmp_path) == ["mine.safetensors", "notes.txt"]


def test_what_a_killed_writer_left_goes_with_the_next(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path)
    (tmp_path / "checkpoints/.000005-warmstart-50.safetensors.abc.partial").write_bytes(b"half")
    checkpoints.save("warmstart", 50, tensors(5))
    assert kept(tmp_path) == ["000004-warmstart-40.safetensors", "000005-warmstart-50.safetensors"]


def test_stop_is_asked_for_or_when_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(stopping.time, "monotonic", lambda: now)
    for_ever, limited, asked = Stop(), Stop(minutes=2), Stop(minutes=2)
    asked.set()
    assert [stop.is_set() for stop in (for_ever, limited, asked)] == [False, False, True]
    # Asked to stop is not out of time: that has an exit code of its own.
    assert not asked.out_of_time
    now = 1119.9
    assert not limited.is_set()
    now = 1120.0
    assert limited.is_set()
    assert limited.out_of_time
    assert not for_ever.is_set()
    assert Stop(minutes=0).is_set()
