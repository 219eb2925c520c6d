"""Which heads of a run a cache's features are for."""

from __future__ import annotations

from comix_fast.backbones.state import read_state, state_sha256
from comix_fast.cache.reader import FeatureCache
from comix_fast.stages import runs
from comix_fast.stages.runs import RunFolder, SeedFolder

HEADS = (runs.SOURCE_ONLY, runs.LAST, runs.SELECTED)


def backbone_sha256(run: RunFolder, seed: SeedFolder, head: str) -> str:
    """The digest of the backbone whose features a head takes, as a cache's recipe has it: of its own, or of the run's.

    Raises WeightsError if the file is damaged.
    """
    path = seed.backbone_path(head)
    return state_sha256(read_state(path)) if path.exists() else str(run.features["backbone"]["weights_sha256"])


def heads_on(cache: FeatureCache, run: RunFolder, seed: SeedFolder) -> list[str]:
    """The heads of a seed that take this cache's features: all of a run on it, or those whose own backbone made it.

    None of heads on statistics that were trained from frames: a cache's statistics are of more clips.
    """
    kept = [head for head in HEADS if seed.head_path(head).exists()]
    if run.meta["cache_key"] == cache.key:
        return kept
    if run.meta["cache_key"] or (run.recipe.pooled and not run.takes_every_clip):
        return []
    made_by = cache.recipe["backbone"]["weights_sha256"]
    return [head for head in kept if backbone_sha256(run, seed, head) == made_by]
