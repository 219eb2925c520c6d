"""From a cache on disk to the first batch: seconds, and memory beside the size of the features.

    python -m benchmarks.loading            the two lines of `make bench`, and how they grow with the number of videos

Each way is timed in a process of its own, after its imports, with the files in the system's page cache.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.measure import Ratio
from benchmarks.random_cache import make

ROOT = Path(__file__).parents[1]
MIXES, BATCH = 4, 8
# Videos of UCF-HMDB: source and target training, source and target test.
UCF_HMDB = (1438, 840, 571, 360)
SIZES = tuple(tuple(part // share for part in UCF_HMDB) for share in (4, 2, 1))
MOST_SECONDS, MOST_MEMORY = 2.0, 1.25


class Cost(NamedTuple):
    """seconds: from opening to first batch; grown: bytes by which the process grew at most; n_bytes: of features."""

    seconds: float
    grown: int
    n_bytes: int


def measure(quick: bool) -> list[Ratio]:
    """Seconds to the first batch, and peak memory over the features' size."""
    videos = SIZES[0] if quick else UCF_HMDB
    with _cache(videos) as path:
        ours, plain = _costs(path, rounds=1 if quick else 3, ways=("ours", "plain"))
    features = f"{ours.n_bytes / 1e6:,.0f} MB of float16"
    return [
        Ratio(
            f"loading {sum(videos):,} videos to the first batch, s",
            ours.seconds,
            plain.seconds,
            "s",
            ours.seconds,
            MOST_SECONDS,
            at_least=False,
            note=f"{features}, files in the page cache; the ratio is our seconds",
        ),
        Ratio(
            "loading, peak memory over float16 size",
            ours.grown / ours.n_bytes,
            plain.grown / ours.n_bytes,
            "times",
            ours.grown / ours.n_bytes,
            MOST_MEMORY,
            at_least=False,
            note=f"{features}; statistics and one batch included",
        ),
    ]


def scaling() -> list[tuple[int, Cost, Cost]]:
    """(videos, loaded, mapped) at three sizes."""
    table = []
    for videos in SIZES:
        with _cache(videos) as path:
            loaded, mapped = _costs(path, rounds=3, ways=("ours", "mapped"))
            table.append((sum(videos), loaded, mapped))
    return table


@contextmanager
def _cache(videos: tuple[int, ...]) -> Iterator[Path]:
    source, target, source_test, target_test = videos
    with tempfile.TemporaryDirectory(prefix="comix-loading-") as folder:
        yield make(
            Path(folder) / "cache",
            source,
            target,
            n_source_test=source_test,
            n_target_test=target_test,
            mixes=MIXES,
        )


def _costs(path: Path, rounds: int, ways: tuple[str, ...]) -> list[Cost]:
    """The median of each way; they take turns, so that a machine whose speed drifts slows all alike."""
    runs = [[_in_process(path, way) for way in ways] for _ in range(rounds)]
    return [Cost(*map(statistics.median, zip(*costs, strict=True))) for costs in zip(*runs, strict=True)]


def _in_process(path: Path, way: str) -> Cost:
    command = [sys.executable, "-m", "benchmarks.loading", way, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return Cost(*json.loads(done.stdout))


def _ours(path: Path, memory: str) -> int:
    """Loads and draws; returns the bytes of the features."""
    import torch

    from comix_fast.cache import FeatureCache
    from comix_fast.stages.bank import feature_norms, load_banks

    generator = torch.Generator().manual_seed(0)
    banks = load_banks(FeatureCache(path), mixed=True, memory=memory)
    videos, n_bins = torch.arange(BATCH), banks.source.n_bins
    for bank, norm in zip((banks.source, banks.target), feature_norms(banks, "domain"), strict=True):
        norm(bank.clips.take(bank.candidate_rows(videos, torch.rand(BATCH, n_bins, generator=generator))))
        plain, mixed = bank.mixed_pair(videos, torch.randint(MIXES, (BATCH,), generator=generator))
        norm(bank.clips.take(plain))
        norm(bank.mixed.take(mixed))
    rows = [rows for bank in banks[:3] for rows in (bank.clips, bank.mixed) if rows is not None]
    return sum(2 * len(some) * some.dim for some in rows)


def _plain(path: Path) -> int:
    from benchmarks.plain.loading import first_batch

    first_batch(path, MIXES, BATCH)
    return 0


def _child(way: str, path: Path) -> None:
    """One load in this process; prints its cost as JSON."""
    import torch

    from benchmarks.plain import loading
    from comix_fast.stages import bank

    assert bank and loading  # what is imported is not timed
    torch.rand(64, 64) @ torch.rand(64, 64)
    before = _peak(reset=True)
    begun = time.perf_counter()
    n_bytes = _plain(path) if way == "plain" else _ours(path, "map" if way == "mapped" else "load")
    seconds = time.perf_counter() - begun
    print(json.dumps([seconds, _peak() - before, n_bytes]))


def _peak(reset: bool = False) -> int:
    """The most memory that this process has held, in bytes; `reset` begins anew with what it holds now (Linux)."""
    if reset and Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")
    if Path("/proc/self/status").exists():
        status = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line for line in status if line.startswith("VmHWM")).split()[1])
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """The lines of `make bench`, then the three sizes."""
    for line in measure(quick=False):
        print(f"{line.name}: ours {line.ours:.2f}, plain {line.plain:.2f}, target {line.target}, ok {line.ok}")
    print("videos   features   loaded            mapped")
    for videos, loaded, mapped in scaling():
        costs = "   ".join(f"{cost.seconds:.2f} s, {cost.grown / 1e6:4,.0f} MB" for cost in (loaded, mapped))
        print(f"{videos:6,}   {loaded.n_bytes / 1e6:5,.0f} MB   {costs}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _child(sys.argv[1], Path(sys.argv[2]))
    else:
        main()
