"""A run that was cut, wherever and however often, ends with the very bytes of one that was not."""

from __future__ import annotations

import multiprocessing
import random
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import RECIPE, footage_of, register, train_small

from comix_fast.config import AdaptRecipe
from comix_fast.datasets import Dataset, Domain
from comix_fast.errors import OutOfTime, RunError
from comix_fast.stages import members
from comix_fast.stages.checkpoints import Checkpoints
from comix_fast.stages.runs import SeedFolder
from comix_fast.training.learning import Computing, Learning
from stopping_after import Stopping

SHORT = replace(RECIPE, warmstart_iterations=4, iterations=4, eval_every=4)
FINETUNE = replace(SHORT, method="source-only", warmstart_iterations=7, eval_every=3)
TAUGHT = replace(SHORT, lambda_teacher=0.3, feature_norm="none")
POOLED = replace(TAUGHT, head="mlp", statistics="mean+change", feature_norm="domain", lambda_bgm=0.0, lambda_tpl=0.0)

SETTINGS: Mapping[str, tuple[AdaptRecipe, Mapping[str, Any], Mapping[str, Any]]] = {
    "finetune": (FINETUNE, {"micro_batch": 1}, {"save_every": 3}),
    "train": (SHORT, {"micro_batch": 1}, {"save_every": 1}),
    "train, batch norm frozen, graphs kept, a teacher": (
        replace(TAUGHT, eval_every=2),
        {"batch_norm": "frozen", "mixes": 2, "micro_batch": 1},
        {"save_every": 3, "graphs": "keep"},
    ),
    "train, a teacher on statistics": (POOLED, {"train_from": "middle"}, {"save_every": 3}),
    "train, backbone frozen, two seeds": (
        replace(SHORT, seeds=2, warmstart_iterations=3),
        {"freeze": True},
        {"save_every": 1},
    ),
}


def some_of(dataset: Dataset, n: int = 4, **changes: Any) -> Dataset:
    """The first videos of each domain."""
    return Dataset(
        "few", dataset.classes, *(Domain(d.name, d.train[:n]) for d in (dataset.source, dataset.target)), **changes
    )


def files_of(run: Path) -> dict[str, bytes]:
    """Every file of a run by its path in it."""
    return {str(path.relative_to(run)): path.read_bytes() for path in sorted(run.rglob("*")) if path.is_file()}


def require_same_files(cut: Path, whole: Path) -> None:
    ours, theirs = files_of(cut), files_of(whole)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []


class Tripping:
    """Counts the moments of a run at which it may be cut, and presses Ctrl-C at one of them.

    Moments: before an iteration's features, before and after the backbone's step (then the head has not had its own),
    before and after an evaluation, a line of metrics, a checkpoint, a head that is kept.
    """

    def __init__(self, put: pytest.MonkeyPatch) -> None:
        self.count, self._at = 0, -1
        places = ((Computing, "begin"), (Computing, "learn"), (Learning, "learn"), (members, "measure"))
        more = ((SeedFolder, "add_metrics"), (Checkpoints, "save"), (members, "keep_head"))
        for where, name in (*places, *more):
            put.setattr(where, name, self._around(getattr(where, name)))

    def _around(self, done: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **named: Any) -> Any:
            self._moment()
            result = done(*args, **named)
            self._moment()
            return result

        return wrapped

    def _moment(self) -> None:
        self.count += 1
        if self.count == self._at:
            raise KeyboardInterrupt

    @contextmanager
    def at(self, moment: int) -> Iterator[None]:
        """Cuts what runs inside at that moment, counted from 1 as it begins."""
        self.count, self._at = 0, moment
        try:
            with pytest.raises(KeyboardInterrupt):
                yield
        finally:
            self.count, self._at = 0, -1


@pytest.fixture
def few(tiny: str, footage_dataset: Dataset) -> Dataset:
    """Four videos of each domain."""
    return some_of(footage_dataset)


def _all_iterations(recipe: AdaptRecipe) -> int:
    """Of one seed."""
    return (recipe.warmstart_iterations or 0) + ((recipe.iterations or 0) if recipe.adapts else 0)


def _iterations_done(run: Path, recipe: AdaptRecipe) -> int:
    """By the newest checkpoint of the first seed."""
    newest = max((path.stem for path in run.glob("seed-0/checkpoints/*")), default="0-warmstart-0")
    _, phase, iteration = newest.split("-")
    return int(iteration) + ((recipe.warmstart_iterations or 0) if phase == "adapt" else 0)


@pytest.mark.parametrize("setting", list(SETTINGS))
def test_cut_at_random_and_resumed(setting: str, few: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, video, engine = SETTINGS[setting]
    drawn = random.Random(setting)
    tripping = Tripping(monkeypatch)
    whole = train_small(tmp_path / "a/run", few, recipe, video, **engine)
    moments, cut = tripping.count, tmp_path / "b/run"
    # In the middle of something, by time that is over in the last phase, and once more before or after a step.
    with tripping.at(drawn.randrange(1, moments // 3)):
        train_small(cut, few, recipe, video, **engine)
    done = _iterations_done(cut, recipe)
    warm, all_of_seed = recipe.warmstart_iterations or 0, _all_iterations(recipe)
    last_phase = range((warm if recipe.adapts else 0) + 1, all_of_seed)
    with pytest.raises(OutOfTime):
        train_small(cut, few, recipe, video, stop=Stopping(drawn.choice(last_phase) - done), **engine)
    with tripping.at(drawn.randrange(1, 6)):
        train_small(cut, few, recipe, video, **engine)
    assert not (cut / "results.json").exists()
    train_small(cut, few, recipe, video, **engine)
    require_same_files(cut, whole.root)


def _train(root: Path, footage: Path) -> None:
    """What a process of its own does, until it is killed."""
    torch.set_num_threads(1)
    register()
    train_small(root, some_of(footage_of(footage)), SHORT, {"micro_batch": 1}, save_every=1)


def _newest(run: Path) -> int:
    """The number of a run's newest checkpoint; −1 before the first."""
    return max((int(path.name[:6]) for path in run.glob("seed-0/checkpoints/0*.safetensors")), default=-1)


def test_killed_at_random_again_and_again(few: Dataset, footage_root: Path, tmp_path: Path) -> None:
    """SIGKILL, which no process can answer, at moments that no test chooses."""
    cut, drawn = tmp_path / "b/run", random.Random(5)
    # Forked from a process that has all modules: a kill comes while it trains, and not while it imports.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["comix_fast.training.train"])
    reached, codes = -1, []
    for _ in range(3):
        process = context.Process(target=_train, args=(cut, footage_root))
        process.start()
        until = time.monotonic() + 120
        while process.is_alive() and _newest(cut) <= reached:
            assert time.monotonic() < until
            time.sleep(0.002)
        process.join(drawn.uniform(0, 0.15))
        process.kill()
        process.join()
        codes.append(process.exitcode)
        reached = _newest(cut)
    assert codes[:2] == [-signal.SIGKILL] * 2
    done = train_small(cut, few, SHORT, {"micro_batch": 1}, save_every=1)
    whole = train_small(tmp_path / "a/run", few, SHORT, {"micro_batch": 1}, save_every=1)
    require_same_files(done.root, whole.root)


@pytest.mark.parametrize("after", [3, 6])
def test_a_damaged_checkpoint_is_passed_over(few: Dataset, tmp_path: Path, after: int) -> None:
    """Whether the one before it is of the same phase or of the one before, and whether it is cut short or garbage."""
    whole, cut = train_small(tmp_path / "a/run", few, SHORT, save_every=1), tmp_path / "b/run"
    with pytest.raises(OutOfTime):
        train_small(cut, few, SHORT, save_every=1, stop=Stopping(after))
    oldest, newest = sorted((cut / "seed-0/checkpoints").iterdir())
    newest.write_bytes(newest.read_bytes()[:-100] if after == 3 else b"no checkpoint")
    train_small(cut, few, SHORT, save_every=1)
    require_same_files(cut, whole.root)
    assert not oldest.parent.exists()


def test_if_all_are_damaged_it_is_said(few: Dataset, tmp_path: Path) -> None:
    with pytest.raises(OutOfTime):
        train_small(tmp_path / "run", few, SHORT, save_every=1, keep=3, stop=Stopping(3))
    found = sorted((tmp_path / "run/seed-0/checkpoints").iterdir())
    assert len(found) == 3
    for path in found:
        path.write_bytes(b"")
    with pytest.raises(RunError, match=r"no checkpoint in .* can be read") as refused:
        train_small(tmp_path / "run", few, SHORT, save_every=1)
    assert "delete that folder" in refused.value.hint


def test_another_command_in_the_folder_is_refused(few: Dataset, footage_dataset: Dataset, tmp_path: Path) -> None:
    root = tmp_path / "run"
    with pytest.raises(OutOfTime):
        train_small(root, few, SHORT, {"mixes": 2}, save_every=1, stop=Stopping(2))
    before = files_of(root)
    for changes, expected in (
        ({"recipe": replace(SHORT, lr=0.5)}, ["recipe.lr: 0.5, there 0.01"]),
        ({"video": {"mixes": 2, "lr": 0.5, "batch_norm": "frozen"}}, ["video.batch_norm: frozen", "video.lr: 0.5"]),
        ({"video": {}}, ["video.mixes: None, there 2"]),
        ({"video": {"mixes": 2, "freeze": True}}, ["video.freeze: True, there False"]),
        ({"dataset": footage_dataset}, ["dataset.source.n: 6, there 4"]),
    ):
        asked = {"dataset": few, "recipe": SHORT, "video": {"mixes": 2}, **changes}
        with pytest.raises(RunError, match="is another run; nothing was changed") as refused:
            train_small(root, **asked)
        for line in expected:
            assert line in "\n".join(refused.value.details)
    assert files_of(root) == before
    # What does not decide a result may change from one session to the next.
    train_small(root, few, SHORT, {"mixes": 2}, save_every=2, keep=1)


def test_target_labels_decide_nothing(few: Dataset, tmp_path: Path) -> None:
    """The other way round: weights, norms, scores and the chosen step stay, the accuracy alone changes."""

    videos = tuple(replace(video, label=1 - (video.label or 0)) for video in few.target.train)
    swapped = replace(few, target=replace(few.target, train=videos))
    recipe = replace(SHORT, eval_every=2, lambda_teacher=0.3)
    runs = [train_small(tmp_path / name, of, recipe) for name, of in (("labelled", few), ("swapped", swapped))]
    weights = [
        {name: content for name, content in files_of(run.root).items() if name.endswith(".safetensors")} for run in runs
    ]
    assert len(weights[0]) == 7
    assert weights[0] == weights[1]
    lines = [run.seed(0).metrics() for run in runs]
    right, wrong = ([line.pop("target_accuracy") for line in some] for some in lines)
    for line in (*lines[0], *lines[1]):
        del line["pseudo"]["precision"]
    assert lines[0] == lines[1]
    assert wrong == [1 - accuracy for accuracy in right]
