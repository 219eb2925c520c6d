"""Training from frames on a GPU: the CPU's losses, the same in parts, the same bytes after a cut."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from comix_fast.backbones import load_backbone
from comix_fast.backbones.trainable import TrainableBackbone
from comix_fast.config import AdaptRecipe
from comix_fast.console import Silent
from comix_fast.datasets import Dataset, Domain
from comix_fast.errors import OutOfTime
from comix_fast.stages.runs import RunFolder
from comix_fast.training.processes import Processes
from comix_fast.training.train import Engine, run
from comix_fast.video import choose_decoder
from stopping_after import Stopping

TRAINING = Path(__file__).parents[1] / "training"
sys.path.append(str(TRAINING))

from tiny import NAME, RECIPE, draw_footage, footage_of, register, video_recipe  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")

SHORT = replace(RECIPE, warmstart_iterations=3, iterations=3, eval_every=3, dropout=0.0)
SETTINGS: Mapping[str, tuple[AdaptRecipe, Mapping[str, Any]]] = {
    "finetune": (replace(SHORT, method="source-only"), {"micro_batch": 1}),
    "train": (SHORT, {"micro_batch": 1}),
    "train, bf16": (replace(SHORT, precision="bf16"), {"precision": "bf16", "batch_norm": "frozen"}),
    "train, backbone frozen": (SHORT, {"freeze": True}),
    "train from the middle, a teacher": (replace(SHORT, lambda_teacher=0.3), {"train_from": "middle"}),
}


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_footage(tmp_path_factory.mktemp("footage"))


@pytest.fixture
def few(footage: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    register(monkeypatch.setattr)
    whole = footage_of(footage)
    return Dataset("few", whole.classes, *(Domain(d.name, d.train[:4]) for d in (whole.source, whole.target)))


def trained(
    root: Path, dataset: Dataset, setting: str, device: str = "cuda", after: int = 10**6, **changes: Any
) -> RunFolder:
    recipe, video = SETTINGS[setting]
    video = {**video, **changes}
    options = {name: video[name] for name in ("batch_norm", "train_from", "precision") if name in video}
    network: Any
    if video.get("freeze"):
        network = load_backbone(NAME, "random", device=device)
    else:
        network = TrainableBackbone(NAME, "random", device=device, **options)
    described = replace(video_recipe(network, **video), device=device)
    engine = Engine(choose_decoder("pyav"), torch.device(device), 2, Processes(), save_every=2)
    return run(recipe, described, dataset, root, network, engine, reporter=Silent(), stop=Stopping(after))


def files_of(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def losses(run: RunFolder) -> list[float]:
    return [line["total"] for line in run.seed(0).metrics() if "total" in line]


@pytest.mark.parametrize("setting", SETTINGS)
def test_cut_and_resumed_it_ends_with_the_very_same_bytes(setting: str, few: Dataset, tmp_path: Path) -> None:
    whole = trained(tmp_path / "a/run", few, setting)
    assert whole.meta["device"] == "cuda"
    for after in (2, 2):
        with pytest.raises(OutOfTime):
            trained(tmp_path / "b/run", few, setting, after=after)
            raise OutOfTime("ended before")
    trained(tmp_path / "b/run", few, setting)
    ours, theirs = files_of(tmp_path / "b/run"), files_of(whole.root)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []


@pytest.mark.parametrize("setting", ["finetune", "train", "train, backbone frozen"])
def test_the_losses_are_the_cpus(setting: str, few: Dataset, tmp_path: Path) -> None:
    ours, theirs = (losses(trained(tmp_path / device, few, setting, device)) for device in ("cuda", "cpu"))
    assert ours
    assert ours == pytest.approx(theirs, rel=1e-3)


def test_parts_are_the_whole(few: Dataset, tmp_path: Path) -> None:
    found = [
        losses(trained(tmp_path / str(at_once), few, "train", batch_norm="frozen", micro_batch=at_once))
        for at_once in (1, 2)
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-4)


@pytest.mark.parametrize("command", ["finetune", "train"])
def test_as_typed(command: str, footage: Path, tmp_path: Path) -> None:
    words = [sys.executable, str(TRAINING / "typed.py"), command]
    words += ["--source", str(footage / "source"), "--target", str(footage / "target"), "--backbone", "tiny"]
    words += ["--weights", "random", "--clips", "4", "--batch-size", "2", "--hidden-dim", "8", "--decoder", "pyav"]
    words += ["--device", "cuda", "--micro-batch", "1", "--warmstart-iterations", "2", "--name", "r"]
    words += [] if command == "finetune" else ["--iterations", "2"]
    done = subprocess.run(
        words, check=False, cwd=tmp_path, env={**os.environ, "COLUMNS": "200"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    assert json.loads((tmp_path / "runs/r/run.json").read_text())["device"] == "cuda"
