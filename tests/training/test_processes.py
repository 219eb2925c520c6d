"""Two processes by the real command line: the result of one with the same batch, and one end for both."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import CLIP_SIZE
from typed import SHORT, begun, folders

from builders import Ended
from comix_fast.commands import train
from comix_fast.errors import ComixError
from comix_fast.stages.runs import RunFolder
from comix_fast.training.processes import Processes, launch, share_of

FROZEN = ("--batch-norm", "frozen", "--warmstart-iterations", "3", "--iterations", "3", "--eval-every", "2")
TRAINED = ("--micro-batch", "1", "--warmstart-iterations", "2", "--iterations", "2", "--feature-norm", "domain")
TOLERANCE = 1e-5
"""Of weights, norms and losses after six iterations: sums are taken in another order, and steps let that grow."""


def ended(process: subprocess.Popen[str], patience: float = 240) -> Ended:
    """What it came to; fails if it does not end."""
    try:
        out, err = process.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        pytest.fail(f"it did not end within {patience} seconds:\n{err}")
    return Ended(process.returncode, out, err)


def require_close(ours: RunFolder, theirs: RunFolder) -> None:
    """Every tensor that is kept, every loss and label-free score; what is predicted is the same."""
    files = sorted(path.relative_to(theirs.root) for path in theirs.root.rglob("*.safetensors"))
    assert files == sorted(path.relative_to(ours.root) for path in ours.root.rglob("*.safetensors"))
    assert len(files) == 7
    for name in files:
        one, other = load_file(ours.root / name), load_file(theirs.root / name)
        assert one.keys() == other.keys()
        for key, value in one.items():
            torch.testing.assert_close(value, other[key], atol=TOLERANCE, rtol=TOLERANCE, msg=f"{name}: {key}")
    for mine, line in zip(ours.seed(0).metrics(), theirs.seed(0).metrics(), strict=True):
        assert (mine.pop("phase"), mine.pop("scores").keys()) == (line.pop("phase"), line.pop("scores").keys())
        assert mine.pop("pseudo") == pytest.approx(line.pop("pseudo"), abs=TOLERANCE)
        assert mine == pytest.approx(line, abs=TOLERANCE, rel=TOLERANCE)
    predicted = [run.root / "seed-0/predictions.csv" for run in (ours, theirs)]
    assert predicted[0].read_bytes() == predicted[1].read_bytes()


@pytest.fixture
def alone(tiny: str, comix: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """A command in this process, which knows the tiny backbone."""
    monkeypatch.setattr(train, "CLIP_SIZE", CLIP_SIZE)
    return comix


def test_an_error_in_one_stopped_together_resumed_and_as_one_alone(
    alone: Callable[..., Ended], footage_root: Path, tmp_path: Path
) -> None:
    """The second process fails, then time is over for both, then they go on to the end; one alone does the same."""
    words = ("train", *folders(footage_root), *SHORT, *FROZEN, "--save-every", "1", "--name")
    assert alone(*words, "alone").code == 0
    failed = ended(begun((*words, "two", "--devices", "2"), tmp_path, FAIL_AT="1 2"))
    assert failed.code == 2
    assert "error: process 2 of 2 ended with code 2, so all were ended" in failed.err
    assert "error: a made-up failure" in failed.err
    assert "there is nothing to do about it" in failed.err
    assert "Traceback" not in failed.err
    root = tmp_path / "runs/two"
    saved = [path.name for path in sorted((root / "seed-0/checkpoints").iterdir())]
    assert saved == ["000000-warmstart-1.safetensors", "000001-warmstart-2.safetensors"]

    stopped = ended(begun(("train", "--resume", "runs/two", "--max-minutes", "0"), tmp_path))
    assert stopped.code == 75
    assert "the time given is over; what is done is saved" in stopped.err
    assert "go on with: comix train --resume runs/two" in stopped.err
    assert "2 processes" in stopped.err
    assert [path.name for path in sorted((root / "seed-0/checkpoints").iterdir())] == saved

    gone_on = ended(begun(("train", "--resume", "runs/two"), tmp_path))
    assert gone_on.code == 0
    # One table, one of each line; nothing written by another process, in the run or beside it.
    assert gone_on.out.count("run runs/two") == gone_on.err.count("run runs/two") == 1
    assert gone_on.out.count("source-only") == 1
    assert gone_on.err.count("warning:") == 1
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [".alone.lock", ".two.lock", "alone", "two"]
    expected = {path.relative_to(tmp_path / "runs/alone") for path in (tmp_path / "runs/alone").rglob("*")}
    assert {path.relative_to(root) for path in root.rglob("*")} == expected
    require_close(RunFolder(root), RunFolder(tmp_path / "runs/alone"))


def test_batch_norm_by_the_same_parts(alone: Callable[..., Ended], footage_root: Path, tmp_path: Path) -> None:
    """With one video a part, two processes normalise the very parts that one does, and share the statistics."""
    words = ("train", *folders(footage_root), *SHORT, *TRAINED, "--name")
    assert alone(*words, "one").code == 0
    two = ended(begun((*words, "two", "--devices", "2"), tmp_path))
    assert two.code == 0, two.err
    require_close(RunFolder(tmp_path / "runs/two"), RunFolder(tmp_path / "runs/one"))


def test_a_batch_that_cannot_be_shared_is_refused_before_anything_begins(
    alone: Callable[..., Ended], footage_root: Path, tmp_path: Path
) -> None:
    refused = alone("train", *folders(footage_root), *SHORT, "--batch-size", "3", "--devices", "2", "--name", "r")
    assert refused.code == 2
    assert "3 videos an iteration can't be shared evenly by 2 processes" in refused.err
    assert "--batch-size that --devices divides" in refused.err
    assert list(tmp_path.iterdir()) == []


def test_shares_of_a_batch() -> None:
    """Each place belongs to one process, in their order."""
    assert [share_of(6, rank, 3) for rank in range(3)] == [slice(0, 2), slice(2, 4), slice(4, 6)]
    assert Processes().share(5) == slice(0, 5)
    for n_videos in (1, 5):
        with pytest.raises(ComixError, match=f"{n_videos} videos an iteration"):
            share_of(n_videos, 0, 2)


@pytest.mark.parametrize(
    ("device", "message"),
    [("cuda:0", "--devices 2 and --device cuda:0 contradict"), ("cuda", "--devices 2: this machine has 1 GPUs")],
)
def test_gpus_that_are_not_there(monkeypatch: pytest.MonkeyPatch, device: str, message: str) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ComixError, match=message), launch(2, device, print):
        pytest.fail("it was launched")
    with launch(1, "cpu", print) as (processes, device_of_one):
        assert (processes.rank, processes.count, device_of_one.type) == (0, 1, "cpu")
