"""Weights that are a run's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from comix_fast.backbones.registry import architecture_of
from comix_fast.backbones.state import random_state, write_state
from comix_fast.commands.extract import Engine, load
from comix_fast.commands.weights_of_run import resolve_backbone, resolve_weights
from comix_fast.config import AdaptRecipe, ViewPlan
from comix_fast.datasets import Dataset, Domain
from comix_fast.errors import RunError, WeightsError
from comix_fast.stages.runs import RunFolder, save_tensors
from comix_fast.video import choose_decoder

NOTHING = Dataset("none", ("go", "stop"), Domain("a", ()), Domain("b", ()))


def make_run(root: Path, seed: int = 0, **backbone: Any) -> RunFolder:
    described = {"name": "i3d", "weights": "kinetics400", "weights_sha256": "ab" * 32, **backbone}
    meta = {
        "cache": "",
        "cache_key": "",
        "dataset": {},
        "features": {"backbone": described},
        "recipe": AdaptRecipe(seed=seed, seeds=2).to_json(),
    }
    return RunFolder.make(root, meta)


def keep(run: RunFolder, seed: int, name: str, backbone: bool = True) -> None:
    files = run.seed(seed)
    save_tensors(files.head_path(name), {"w": torch.ones(1)})
    if backbone:
        files.backbone_path(name).write_bytes(b"")


@pytest.mark.parametrize("weights", ["kinetics400", "random", "some/file.pth", "absent"])
def test_names_and_files_are_left_as_they_are(tmp_path: Path, weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # A folder of that name does not take a name's place.
    for name in ("kinetics400", "random", "some"):
        (tmp_path / name).mkdir()
    (tmp_path / "some/file.pth").write_bytes(b"")
    assert resolve_weights(weights) == weights
    assert resolve_backbone("s3d", weights) == "s3d"


def test_a_run_stands_for_the_final_head_of_its_first_seed(tmp_path: Path) -> None:
    run = make_run(tmp_path / "r", seed=3)
    for seed in (3, 4):
        keep(run, seed, "source-only")
    # What it began its adaptation with is not what it came to.
    with pytest.raises(RunError, match=r"seed 3 of .* is not finished: it has no last head"):
        resolve_weights(str(run.root))
    for seed in (3, 4):
        keep(run, seed, "last")
    assert resolve_weights(str(run.root)) == str(run.root / "seed-3/last.backbone.safetensors")
    assert resolve_weights(f"{run.root}/") == str(run.root / "seed-3/last.backbone.safetensors")
    assert resolve_weights(str(run.root / "seed-4")) == str(run.root / "seed-4/last.backbone.safetensors")


def test_seeds_that_are_not_there(tmp_path: Path) -> None:
    run = make_run(tmp_path / "r")
    with pytest.raises(RunError, match=r"seed 0 of .* is not finished") as caught:
        resolve_weights(str(run.root))
    assert "finish it with the command" in caught.value.hint
    keep(run, 1, "last")
    with pytest.raises(RunError, match=r"seed 0 of .* is not finished") as caught:
        resolve_weights(str(run.root))
    assert "finished seeds: 1" in caught.value.hint
    with pytest.raises(RunError, match=r"seed 7 of .* is not finished"):
        resolve_weights(str(run.root / "seed-7"))


@pytest.mark.parametrize(
    ("backbone", "way_out"),
    [
        ({}, "--backbone i3d --weights kinetics400"),
        ({"name": "s3d", "weights": "random"}, "--backbone s3d --weights random"),
        ({"weights": "file"}, "starts with abababababab"),
    ],
)
def test_a_frozen_backbone_is_named_with_the_way_out(tmp_path: Path, backbone: dict[str, str], way_out: str) -> None:
    run = make_run(tmp_path / "r", **backbone)
    keep(run, 0, "last", backbone=False)
    name = backbone.get("name", "i3d")
    with pytest.raises(RunError, match=f"trained no backbone: it took the features of {name}, frozen") as caught:
        resolve_weights(str(run.root))
    assert way_out in caught.value.hint


def test_folders_that_are_no_run(tmp_path: Path) -> None:
    (tmp_path / "seed-0").mkdir()
    for name in ("", "seed-0"):
        with pytest.raises(RunError, match="holds no run"):
            resolve_weights(str(tmp_path / name))


def test_the_architecture_is_the_runs(tmp_path: Path) -> None:
    run = make_run(tmp_path / "r", name="r3d_18")
    assert resolve_backbone("i3d", str(run.root)) == "r3d_18"
    assert resolve_backbone("r3d_18", str(run.root)) == "r3d_18"
    with pytest.raises(RunError, match="trained r3d_18, not s3d") as caught:
        resolve_backbone("s3d", str(run.root))
    assert "--backbone" in caught.value.hint


def test_extract_loads_the_runs_backbone(tmp_path: Path) -> None:
    run = make_run(tmp_path / "r", name="r3d_18")
    state = {name: 0.5 * value for name, value in random_state(architecture_of("r3d_18").build()).items()}
    save_tensors(run.seed(0).head_path("last"), {"w": torch.ones(1)})
    write_state(state, run.seed(0).backbone_path("last"), {})
    engine, pyav = Engine(weights=str(run.root), precision="fp32", compiled=False), choose_decoder("pyav")
    backbone = load(engine, NOTHING, ViewPlan((), 0), tmp_path / "cache", "cpu", pyav)
    assert backbone.name == "r3d_18"
    assert backbone.recipe()["weights"] == "file"
    other = load(Engine("r3d_18", "random", "fp32", compiled=False), NOTHING, ViewPlan(), tmp_path / "c", "cpu", pyav)
    assert backbone.weights_sha256 != other.weights_sha256
    with pytest.raises(WeightsError, match="no weights named"):
        load(Engine(weights="absent", precision="fp32"), NOTHING, ViewPlan(), tmp_path / "c", "cpu", pyav)
