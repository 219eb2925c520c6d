"""Small runs as the commands make them, and their pages as `comix report` writes them."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from builders import listed, noisy_clips, small_recipe
from comix_fast.cache import CacheWriter, FeatureCache
from comix_fast.cache.format import VideoRow
from comix_fast.commands import report
from comix_fast.config import AdaptRecipe
from comix_fast.console import Silent
from comix_fast.heads import TemporalGraph
from comix_fast.stages import adapt, imported
from comix_fast.stages.published_checkpoints import read_published
from comix_fast.stages.runs import RunFolder
from comix_fast.stages.start import start_of
from comix_fast.video import choose_decoder, plan_clips

TWO_PHASES = AdaptRecipe(
    head="linear", statistics="mean+std", warmstart_iterations=20, iterations=20, eval_every=10, batch_size=6,
    mixing=False, lambda_bgm=0.0, lambda_tpl=0.0, lambda_teacher=0.1, seeds=2,
)  # fmt: skip
RECIPES: Mapping[str, AdaptRecipe] = {
    "two": TWO_PHASES,
    "one": replace(TWO_PHASES, method="source-only", lambda_teacher=0.0, iterations=0),
    "bound": replace(TWO_PHASES, method="target-supervised"),
    "back": replace(TWO_PHASES, reverse=True, seeds=1),
    "labels": replace(TWO_PHASES, method="self-training", lambda_teacher=0.0),
}
N_CLASSES, PER_CLASS = 3, 6


@dataclass(frozen=True)
class RealRuns:
    """root: of the folders of runs. Their names: those of RECIPES, and "continued", "imported" and "unlabelled"."""

    root: Path

    def page(self, *names: str) -> Path:
        """The page of these runs, side by side in this order; made once."""
        out = self.root.parent / f"{'-'.join(names)}.html"
        if not out.exists():
            report.run([self.root / name for name in names], report.Options(out=out), Silent())
        return out

    def values(self, *names: str) -> dict[str, Any]:
        """What stands in that page."""
        text = self.page(*names).read_text(encoding="utf-8")
        begin = text.index(">", text.index('id="values"')) + 1
        return dict(json.loads(text[begin : text.index("</script>", begin)]))

    def results(self, name: str) -> dict[str, Any]:
        return dict(json.loads((self.root / name / "results.json").read_text()))

    def predicted(self, name: str, seed: int) -> list[dict[str, str]]:
        """Rows of predictions.csv."""
        with (self.root / name / f"seed-{seed}" / "predictions.csv").open(newline="") as file:
            return list(csv.DictReader(file))


def make_real_runs(root: Path) -> RealRuns:
    """Two caches, the second one's target without labels, and a run of each kind."""
    runs = root / "runs"
    cache, blind = FeatureCache(_cache(root / "cache")), FeatureCache(_cache(root / "blind", labelled=False))
    for name, recipe in RECIPES.items():
        adapt.run(recipe, cache, runs / name, reporter=Silent())
    on = replace(TWO_PHASES, warmstart_iterations=0)
    adapt.run(on, cache, runs / "continued", reporter=Silent(), start=start_of(RunFolder(runs / "one")))
    adapt.run(replace(TWO_PHASES, seeds=1), blind, runs / "unlabelled", reporter=Silent())
    _import(root, runs / "imported")
    return RealRuns(runs)


def _import(root: Path, out: Path) -> None:
    """A published head alone; the backbone's weights are drawn rather than Kinetics'."""
    torch.manual_seed(2)
    path = root / "Graph-CoMix-Model-Best.pth"
    torch.save(TemporalGraph(1024, 8, 2).state_dict(), path)
    engine = imported.Engine(choose_decoder("pyav"), precision="fp32")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(imported, "KINETICS", "random")
        imported.import_run(read_published(path), imported.Terms(("go", "stop"), "a test"), engine, out)


def _cache(root: Path, *, labelled: bool = True) -> Path:
    """Classes are directions, the target is shifted, and so noisy that no head is right everywhere."""
    rng = np.random.default_rng(7)
    centres, offset = rng.normal(size=(N_CLASSES, 24)), 3 * rng.normal(size=24)
    lists: dict[str, object] = {"name": root.name, "classes": [f"class {c}" for c in range(N_CLASSES)], "notes": []}
    with CacheWriter.open(root, small_recipe(0)) as cache:
        for domain in ("source", "target"):
            videos = listed(domain, N_CLASSES, PER_CLASS)
            with cache.shard(domain) as shard:
                for number, (video, label) in enumerate(videos):
                    plan = plan_clips(72 + 4 * (number % 5))
                    centre = centres[label] + (offset if domain == "target" else 0)
                    views = {"plain": noisy_clips(rng, centre, 9.0, plan.starts)}
                    shard.add(VideoRow(video, label, plan.n_frames, 25.0, "f" * 64, 1000), views)
            known = labelled or domain == "source"
            train: Sequence[tuple[str, int | None]] = [(video, label if known else None) for video, label in videos]
            lists[domain] = {"name": f"{domain} domain", "train": train, "test": None}
        cache.write_dataset(lists)
    return root
