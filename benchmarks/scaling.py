"""What a million and a hundred million videos would cost, computed from what one real cache measures.

    python -m benchmarks.scaling CACHE --clips-per-second 40

CACHE: one of form 2 that `comix extract` made. The pace is the one that extract printed, of one machine.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from comix_fast.cache import FeatureCache
from comix_fast.cache.format import SHARDS, SURVEYS
from comix_fast.cache.seal import check_whole

SIZES = (1_000_000, 100_000_000)


@dataclass(frozen=True)
class PerVideo:
    """What one video of a cache costs, on average.

    clips: of all views. shards: files, a fraction. open_seconds: of opening the cache; open_bytes: of memory, then.
    hash_rate: bytes a second that are hashed.
    """

    clips: float
    shard_bytes: float
    survey_bytes: float
    shards: float
    open_seconds: float
    open_bytes: float
    hash_rate: float


def measure(path: Path) -> PerVideo:
    """Reads a cache twice: opens it, and hashes every byte."""
    begun = time.perf_counter()
    cache = FeatureCache(path)
    opened = time.perf_counter() - begun
    tracemalloc.start()
    again = FeatureCache(path)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    n = len(again.extracted)
    shards = sorted((path / SHARDS).glob("*.h5"))
    n_bytes = sum(shard.stat().st_size for shard in shards)
    begun = time.perf_counter()
    for shard in shards:
        check_whole(shard)
    hashed = time.perf_counter() - begun
    surveys = sum(survey.stat().st_size for survey in (path / SURVEYS).glob("*.h5"))
    clips = sum(cache.summary().clips.values())
    return PerVideo(clips / n, n_bytes / n, surveys / n, len(shards) / n, opened / n, held / n, n_bytes / hashed)


def lines(one: PerVideo, clips_per_second: float, videos: int) -> list[str]:
    """What so many videos cost."""
    hours = videos * one.clips / clips_per_second / 3600
    shards, gigabytes = videos * one.shards, videos * one.open_bytes / 1e9
    return [
        f"{videos:,} videos",
        f"  extract        {hours:,.0f} hours of that machine, {hours / 24 / 1000:,.2f} days of 1,000 such machines",
        f"  features       {videos * one.shard_bytes / 1e12:,.2f} TB in {shards:,.0f} shards",
        f"  surveys        {videos * one.survey_bytes / 1e12:,.2f} TB in {shards:,.0f} files",
        f"  to open        {videos * one.open_seconds / 60:,.1f} min, {gigabytes:,.1f} GB of memory",
        f"  to hash        {videos * one.shard_bytes / one.hash_rate / 3600:,.1f} h on one core",
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints what was measured, then what follows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--clips-per-second", type=float, required=True)
    asked = parser.parse_args(arguments)
    one = measure(asked.cache)
    print(
        f"a video: {one.clips:.0f} clips, {one.shard_bytes / 1e3:,.0f} kB of features, "
        f"{one.survey_bytes / 1e3:,.0f} kB of survey, {1e3 * one.open_seconds:.2f} ms and {one.open_bytes:,.0f} "
        f"bytes to open; hashed at {one.hash_rate / 1e6:,.0f} MB/s"
    )
    for videos in SIZES:
        print("\n".join(lines(one, asked.clips_per_second, videos)))


if __name__ == "__main__":
    main()
