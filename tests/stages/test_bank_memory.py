"""A cache several times larger than the memory that a process may take: mapped it works, loaded it says why not."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from builders import small_recipe
from comix_fast.cache import CacheWriter, FeatureCache
from comix_fast.cache.format import VideoRow, ViewClips
from comix_fast.stages.bank import Banks, feature_norms, load_banks
from comix_fast.video import plan_clips

N_VIDEOS, DIM, MIXES = 320, 1024, 2
ROOM = 22 << 20

# The limit is set once all is imported and used once: libraries and threads are no part of what loading needs.
CHILD = """
import resource, sys
import torch
from pathlib import Path
torch.set_num_threads(1)
sys.path[:0] = sys.argv[1:2]
import test_bank_memory as here
from comix_fast.cache import FeatureCache
from comix_fast.console import Terminal
from comix_fast.errors import ComixError
from comix_fast.stages.bank import load_banks
generator = torch.Generator().manual_seed(0)
(torch.rand(64, 64, generator=generator) @ torch.rand(64, 64)).half().double().sum(dim=0)
has = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData"))
limit = 1024 * int(has.split()[1]) + here.ROOM
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
try:
    banks = load_banks(FeatureCache(sys.argv[2]), True, memory=sys.argv[3], reporter=Terminal())
    print(here.all_of_it(banks))
except ComixError as error:
    sys.exit(f"error: {error}")
"""


def all_of_it(banks: Banks) -> str:
    """A digest of the statistics, of the test clips, and of an epoch of draws from either domain."""
    found = hashlib.sha256()
    for norm in feature_norms(banks, "domain"):
        found.update(norm.mean.numpy().tobytes() + norm.std.numpy().tobytes())
    for bank in (banks.source, banks.target):
        for rows in torch.split(bank.bin_first, 128):
            found.update(bank.clips.take(rows).numpy().tobytes())
        assert bank.mixed is not None
        generator = torch.Generator().manual_seed(0)
        for videos in torch.split(torch.randperm(len(bank.ids), generator=generator), 8):
            rows = bank.candidate_rows(videos, torch.rand(len(videos), 16, generator=generator))
            plain, mixed = bank.mixed_pair(videos, torch.randint(MIXES, (len(videos),), generator=generator))
            for clips in (bank.clips.take(rows), bank.clips.take(plain), bank.mixed.take(mixed)):
                found.update(clips.numpy().tobytes())
    return found.hexdigest()


@pytest.fixture(scope="module")
def large_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("large") / "cache"
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(64, DIM)).astype(np.float16)
    lists: dict[str, object] = {"classes": ["one"], "notes": []}
    with CacheWriter.open(root, small_recipe(MIXES)) as cache:
        for domain in ("source", "target"):
            ids = [f"{domain}/{number}" for number in range(N_VIDEOS)]
            for first in range(0, N_VIDEOS, 32):
                with cache.shard(domain) as shard:
                    for video in ids[first : first + 32]:
                        plan = plan_clips(int(rng.integers(160, 200)))
                        views = {"plain": ViewClips(noise[: plan.n_clips] + len(shard.rows), np.array(plan.starts))}
                        for draw in range(MIXES):
                            starts = np.array(plan.test_starts)
                            views[f"bgmix-{draw}"] = ViewClips(noise[starts // 4] - draw, starts, "donor", 0.25)
                        shard.add(VideoRow(video, 0, plan.n_frames, 25.0, "0" * 64, 1), views)
            lists[domain] = {"name": domain, "train": [[video, 0] for video in ids], "test": None}
        cache.write_dataset(lists | {"name": "large"})
    return root


def limited(cache: Path, memory: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", CHILD, str(Path(__file__).parent), str(cache), memory]
    tests = str(Path(__file__).parents[1])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": tests}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA limits what a process allocates on Linux alone")
def test_a_cache_larger_than_memory_is_drawn_from_all_over(large_cache: Path) -> None:
    n_bytes = sum(path.stat().st_size for path in (large_cache / "shards").iterdir())
    assert n_bytes > 4 * ROOM
    done = limited(large_cache, "auto")
    assert done.returncode == 0, done.stderr
    assert "they are read from their files as needed" in done.stderr
    whole = load_banks(FeatureCache(large_cache), mixed=True, memory="load")
    assert done.stdout.split() == [all_of_it(whole)]


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA limits what a process allocates on Linux alone")
def test_loading_what_finds_no_room_is_a_plain_error(large_cache: Path) -> None:
    done = limited(large_cache, "load")
    assert done.returncode != 0
    assert done.stdout == ""
    assert "error: the features take 0." in done.stderr
    assert "memory='map'" in done.stderr
    assert "Traceback" not in done.stderr
