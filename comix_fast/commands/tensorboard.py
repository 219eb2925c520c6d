"""`--tensorboard`: what finished runs say, for those who look at it there."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from comix_fast.cache import FeatureCache
from comix_fast.console import Reporter
from comix_fast.report.tensorboard import require_tensorboard, write_tensorboard
from comix_fast.stages.runs import RunFolder


def require() -> None:
    """Before anything is trained. Raises ComixError where the extra is not installed."""
    require_tensorboard()


def write(done: Sequence[RunFolder], cache: Path, reporter: Reporter) -> None:
    """RUN/tensorboard of every run; says how to look at them."""
    opened = FeatureCache(cache)
    paths = [write_tensorboard(run, opened) for run in done]
    # Above several runs TensorBoard finds those of each by itself.
    shown = paths[0] if len(paths) == 1 else done[0].root.parent
    reporter.say(f"to look at it: tensorboard --logdir {shlex.quote(str(shown))}")
