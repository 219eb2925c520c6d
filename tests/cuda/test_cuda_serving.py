"""New videos classified on a GPU: the CPU's answers up to rounding."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import comix_fast
from builders import WriteVideo, write_run
from comix_fast.backbones import load_backbone
from comix_fast.config import AdaptRecipe
from comix_fast.presets import RECOMMENDED


@pytest.mark.parametrize("recipe", [RECOMMENDED, AdaptRecipe(hidden_dim=8, precision="fp32")], ids=["linear", "graph"])
def test_predictions_are_the_cpus(gpu: torch.device, tmp_path: Path, film: WriteVideo, recipe: AdaptRecipe) -> None:
    run = write_run(tmp_path / "run", recipe, load_backbone("i3d", "random"))
    films = [film(tmp_path / f"{number}.mp4", 72 + 4 * number, seed=number) for number in range(2)]
    model = comix_fast.load(run, head="last")
    assert next(model.backbone.parameters()).device.type == gpu.type
    ours, theirs = (
        list(one.predict(films, top_k=3)) for one in (model, comix_fast.load(run, head="last", device="cpu"))
    )
    assert len(ours) == 2
    for mine, cpus in zip(ours, theirs, strict=True):
        shares = [{one.name: one.probability for one in answer.top} for answer in (mine, cpus)]
        assert shares[0] == pytest.approx(shares[1], abs=2e-3)
