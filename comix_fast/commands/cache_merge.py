"""`comix cache merge`: joins the folders that parts of an extract were written to, says what there is now."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from comix_fast.cache.merge import Merged, merge
from comix_fast.cache.reader import FeatureCache
from comix_fast.console import Reporter

SHOWN_FAILURES = 20


def run(parts: Sequence[Path], out: Path, allow_missing: bool, reporter: Reporter) -> Merged:
    """Joins the parts."""
    done = merge(parts, out, allow_missing=allow_missing, reporter=reporter)
    if done.lacking:
        reporter.warn("\n  ".join((f"{done.cache} is not complete", *done.lacking)))
    return done


def to_json(done: Merged) -> dict[str, Any]:
    """For --json."""
    return {
        "cache": str(done.cache),
        "complete": not done.lacking,
        "lacking": list(done.lacking),
        "copied_files": done.n_files,
        "copied_bytes": done.n_bytes,
        "present_before": done.n_present,
        "videos": done.n_videos,
        "listed": done.n_listed,
        "failures": [dict(one) for one in done.failures],
    }


def closing(done: Merged) -> RenderableType:
    """What was joined, what could not be read, and what to do next."""
    copied = f"{done.n_files:,} files copied ({done.n_bytes / 1e6:,.1f} MB)" if done.n_files else "nothing to copy"
    there = f", {done.n_present:,} were there" if done.n_present else ""
    lines = [f"{done.cache}: {done.n_videos:,} of {done.n_listed:,} listed videos; {copied}{there}"]
    if done.failures:
        lines.append(f"videos that could not be read: {len(done.failures):,}")
        lines += [f"  {one.get('id')}: {one.get('reason')}" for one in done.failures[:SHOWN_FAILURES]]
        if len(done.failures) > SHOWN_FAILURES:
            lines.append(f"  … all of them: comix cache info {shlex.quote(str(done.cache))} --json")
    if done.lacking:
        lines.append("next: the same command with the folders of the missing parts; it adds to what is there")
    else:
        mixed = "" if FeatureCache(done.cache).mixed_views() else " --no-bgm"
        lines.append(f"next: comix adapt --from-cache {shlex.quote(str(done.cache))}{mixed}")
    return Text("\n".join(lines))
