"""Every method on every head that takes statistics: a head beside others is, bit by bit, what it is alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from builders import MakeCache
from comix_fast.cache import FeatureCache
from comix_fast.config import AdaptRecipe
from comix_fast.console import Silent
from comix_fast.presets import RECOMMENDED
from comix_fast.stages import adapt, runs
from comix_fast.stages.runs import RunFolder

pytestmark = pytest.mark.usefixtures("one_thread")

SHORT = replace(RECOMMENDED, statistics="mean+std", warmstart_iterations=2, iterations=3, eval_every=3, hidden_dim=16)
METHODS: dict[str, AdaptRecipe] = {
    "comix": replace(SHORT, lambda_teacher=1.0),
    "coral": replace(SHORT, method="coral", lambda_align=1e-3),
    "mmd": replace(SHORT, method="mmd"),
    "dann": replace(SHORT, method="dann"),
    "mcd": replace(SHORT, method="mcd", head="mlp"),
    "self-training": replace(SHORT, method="self-training", pseudo_threshold=0.3),
    "adamatch": replace(SHORT, method="adamatch"),
}
CASES = [(name, head) for name in METHODS for head in ("linear", "mlp") if (name, head) != ("mcd", "linear")]


def learnt(run: RunFolder, seed: int) -> dict[str, bytes]:
    """The seed's heads, and its lines with every loss and score."""
    names = ["metrics.jsonl", *(run.seed(seed).head_path(name).name for name in (runs.SOURCE_ONLY, runs.LAST))]
    return {name: (run.seed(seed).root / name).read_bytes() for name in names}


# Few classes and many, and batches that fill no whole vector of the processor: what is left over, it may compute in
# another way.
@pytest.mark.parametrize(("n_classes", "batch_size"), [(6, 8), (27, 7)])
@pytest.mark.parametrize(("name", "head"), CASES)
def test_seeds_together_are_each_alone_to_the_bit(
    make_cache: MakeCache, tmp_path: Path, name: str, head: str, n_classes: int, batch_size: int
) -> None:
    cache = FeatureCache(make_cache(n_classes=n_classes, per_class=6 if n_classes == 6 else 2, mixes=1))
    recipe = replace(METHODS[name], head=head, batch_size=batch_size)
    for n_seeds in (3, 8):
        together = adapt.run(replace(recipe, seeds=n_seeds), cache, tmp_path / f"{n_seeds}", reporter=Silent())
        for seed in (0, n_seeds - 1):
            root = tmp_path / f"alone-{seed}"
            alone = adapt.run(replace(recipe, seed=seed, seeds=1), cache, root, reporter=Silent())
            assert learnt(together, seed) == learnt(alone, seed), (n_seeds, seed)
    starts, lasts = (together.seed(0).head_path(name).read_bytes() for name in (runs.SOURCE_ONLY, runs.LAST))
    assert starts != lasts
