"""Caches of random features in the true form and at any size: what loading and training are timed on.

    python benchmarks/random_cache.py /tmp/ucf-hmdb

makes one of the size of UCF-HMDB: 3,209 videos, some 530 MB. The features are noise with a weak trace of the class, so
that a head has something to learn; accuracies on them mean nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from comix_fast.cache import CacheWriter
from comix_fast.cache.format import VideoRow, ViewClips
from comix_fast.cache.writer import ShardWriter
from comix_fast.config import ExtractRecipe, ViewPlan
from comix_fast.video import ClipPlan, plan_clips

Listed = list[tuple[str, int]]

SHARD_VIDEOS = 32
# Of a clip's standard deviation of 1: how far classes lie apart, how far their videos and the two domains do.
CLASS_SPREAD, VIDEO_SPREAD, DOMAIN_SPREAD = 0.06, 0.5, 0.3
# Candidates of a video: 16 at least, which is one a bin, few above 60, 35 on average.
FEWEST, TYPICAL, MOST = 16, 35, 60


def make(
    path: Path,
    n_source: int = 1438,
    n_target: int = 840,
    seed: int = 0,
    *,
    n_source_test: int = 571,
    n_target_test: int = 360,
    n_classes: int = 12,
    mixes: int = 4,
    dim: int = 1024,
) -> Path:
    """Writes a cache at `path`, which must not exist; returns `path`. The defaults are UCF-HMDB's lists.

    Training videos have the plain view and `mixes` draws of background mixing, test videos the plain view. A list of
    0 test videos is left out.
    """
    rng = np.random.default_rng(seed)
    lists = {
        "source": (_listed("source", n_source, n_classes), _listed("source/test", n_source_test, n_classes)),
        "target": (_listed("target", n_target, n_classes), _listed("target/test", n_target_test, n_classes)),
    }
    centres = CLASS_SPREAD * rng.standard_normal((n_classes, dim), dtype=np.float32)
    shifts = dict(zip(lists, DOMAIN_SPREAD * rng.standard_normal((2, dim), dtype=np.float32), strict=True))
    with CacheWriter.open(path, _recipe(mixes)) as cache:
        for domain, (train, test) in lists.items():
            donors = [video for video, _ in lists["target" if domain == "source" else "source"][0]]
            for videos, n_mixes in ((train, mixes), (test, 0)):
                for some in _chunks(videos):
                    with cache.shard(domain) as shard:
                        _fill(shard, some, centres + shifts[domain], n_mixes, donors, rng)
        cache.write_dataset(_dataset(path.name, lists, n_classes))
    return path


def _listed(prefix: str, n_videos: int, n_classes: int) -> Listed:
    return [(f"{prefix}/class-{n % n_classes:02}/{n:05}", n % n_classes) for n in range(n_videos)]


def _chunks(videos: Listed) -> Iterator[Listed]:
    for first in range(0, len(videos), SHARD_VIDEOS):
        yield videos[first : first + SHARD_VIDEOS]


def _recipe(mixes: int) -> ExtractRecipe:
    backbone = {"name": "random", "weights": "none", "weights_sha256": "0" * 64, "precision": "fp32"}
    return ExtractRecipe(backbone, {"name": "none", "version": "0"}, ViewPlan((), mixes))


def _dataset(name: str, lists: dict[str, tuple[Listed, Listed]], n_classes: int) -> dict[str, object]:
    dataset: dict[str, object] = {"name": name, "classes": [f"class {c}" for c in range(n_classes)], "notes": []}
    for domain, (train, test) in lists.items():
        dataset[domain] = {"name": f"random {domain}", "train": train, "test": test or None}
    return dataset


def _fill(
    shard: ShardWriter,
    videos: Listed,
    centres: np.ndarray,
    n_mixes: int,
    donors: Sequence[str],
    rng: np.random.Generator,
) -> None:
    for video, label in videos:
        n_clips = int(np.clip(rng.gamma(4.0, (TYPICAL - FEWEST) / 4.0) + FEWEST, FEWEST, MOST))
        plan = plan_clips(4 * (n_clips + 2) + int(rng.integers(4)))
        centre = centres[label] + VIDEO_SPREAD * rng.standard_normal(centres.shape[1], dtype=np.float32)
        views = {"plain": _noisy(centre, plan.starts, rng)}
        for draw in range(n_mixes):
            donor, gamma = donors[int(rng.integers(len(donors)))], float(rng.uniform(0, 0.5))
            views[f"bgmix-{draw}"] = replace(_noisy(centre, _one_per_bin(plan, rng), rng), donor=donor, gamma=gamma)
        shard.add(VideoRow(video, label, plan.n_frames, 25.0, "0" * 64, 1_000_000), views)


def _one_per_bin(plan: ClipPlan, rng: np.random.Generator) -> list[int]:
    return [starts[int(rng.integers(len(starts)))] for starts in plan.bins]


def _noisy(centre: np.ndarray, starts: Sequence[int], rng: np.random.Generator) -> ViewClips:
    features = centre + rng.standard_normal((len(starts), len(centre)), dtype=np.float32)
    return ViewClips(features.astype(np.float16), np.array(starts, dtype=np.int64))


if __name__ == "__main__":
    make(Path(sys.argv[1]))
