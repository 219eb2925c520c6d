"""What a page says of seeds that are not finished: how far they came, and whether the same command finishes them."""

from __future__ import annotations

import math

from comix_fast.errors import first_few
from comix_fast.report.gathering.readings import Reading, is_number

_LOST = 1e9
"""A loss beyond this comes to nothing any more: the iterations that follow give no finite one."""
_SHOWN = 4


def unfinished_note(reading: Reading) -> str:
    """One note of all seeds of a run that are not finished; the reading has some."""
    missing, there = reading.unfinished, reading.seeds
    named = first_few(map(str, missing))
    what = "its table and matrices are of the others" if there else "there is no table and no matrix yet"
    parts = [f"{len(missing)} of {len(missing) + len(there)} seeds are not finished ({named}): {what}"]
    if came := [how_far for seed in missing if (how_far := _how_far(reading, seed))]:
        parts.append(f"the last that was written of them: {first_few(came, _SHOWN)}")
    again = "the command that began the run goes on with what was interrupted"
    lost = [seed for seed in missing if _is_lost(reading, seed)]
    if lost:
        whose = f"the loss of {'seed' if len(lost) == 1 else 'seeds'} {first_few(map(str, lost))} grew beyond use"
        way = "begin again under another --name with a lower --lr or smaller λs, or --feature-norm domain"
        parts.append(f"{whose}: the command that began the run ends there again; {way}")
    if len(lost) < len(missing):
        parts.append(f"{again}, and ends again where a loss was no finite number")
    return "; ".join(parts)


def _total(reading: Reading, seed: int) -> float | None:
    """The sum of losses at a seed's last evaluation; None where it has none."""
    lines = reading.lines.get(seed, ())
    value = lines[-1].get("total") if lines else None
    return float(value) if value is not None and is_number(value) else None


def _is_lost(reading: Reading, seed: int) -> bool:
    total = _total(reading, seed)
    return total is not None and not (math.isfinite(total) and abs(total) < _LOST)


def _how_far(reading: Reading, seed: int) -> str:
    """ "seed 1: adapt, step 20, loss 0.4"; empty where nothing was written."""
    lines = reading.lines.get(seed, ())
    if not lines:
        return ""
    total = _total(reading, seed)
    loss = "" if total is None else f", loss {total:.3g}"
    return f"seed {seed}: {lines[-1]['phase']}, step {lines[-1]['iteration']:,}{loss}"
