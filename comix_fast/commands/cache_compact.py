"""`comix cache compact`: writes a cache into one file, says how to read it."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from comix_fast.cache.compact import Compacted, compact
from comix_fast.cache.reader import FeatureCache
from comix_fast.console import Reporter


def run(cache: Path, out: Path, force: bool, reporter: Reporter) -> Compacted:
    """Writes the file."""
    begun = time.monotonic()
    done = compact(cache, out, force=force, reporter=reporter)
    left = FeatureCache(cache).summary()
    missing = sum(left.listed.values()) - sum(left.extracted.values())
    if missing or left.unfinished_parts:
        parts = f", and parts {', '.join(left.unfinished_parts)} are not finished" if left.unfinished_parts else ""
        reporter.warn(f"{missing:,} listed videos have no features in it{parts}: nothing can be added to it later")
    seconds = max(time.monotonic() - begun, 1e-3)
    reporter.say(f"{seconds:.1f} s, {done.n_bytes / 1e6 / seconds:,.0f} MB/s; every row of features was checked")
    return done


def to_json(done: Compacted) -> dict[str, Any]:
    """For --json."""
    return {"file": str(done.path), "bytes": done.n_bytes, "videos": done.n_videos, "clips": dict(done.clips)}


def closing(done: Compacted) -> RenderableType:
    """The file, what is in it, and what to do with it."""
    n_clips = sum(done.clips.values())
    views = ", ".join(f"{view} {count:,}" for view, count in done.clips.items())
    path = shlex.quote(str(done.path))
    mixed = "" if FeatureCache(done.path).mixed_views() else " --no-bgm"
    return Text(
        f"{done.path}: {done.n_bytes / 1e6:,.1f} MB, {done.n_videos:,} videos, {n_clips:,} clips ({views})\n"
        f"with h5py alone: print(h5py.File({str(done.path)!r}).attrs['how-to-read'])\n"
        f"next: comix adapt --from-cache {path}{mixed}"
    )
