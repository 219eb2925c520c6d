"""Statistics of each video's clips over time, and banks that hold one row of them for every video."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from comix_fast.cache.rows import LoadedRows, Rows
from comix_fast.errors import ComixError, ShapeError
from comix_fast.stages.bank import FeatureBank

STATISTICS: tuple[str, ...] = ("mean", "max", "std", "change", "peak-change")
"""Over a video's clips x[0] … x[n − 1] in temporal order: their mean, their maximum, their standard deviation (of the
population), the mean and the maximum of |x[t + 1] − x[t]|. The last two know the order of the clips."""

_CHANGES = ("change", "peak-change")
# Clip rows held at once; a longer video is read in pieces of so many.
HELD_ROWS = 1024


def parse_statistics(text: str) -> tuple[str, ...]:
    """From names as typed: "mean+max+std". Raises ComixError for a name that is unknown, empty or given twice."""
    names = tuple(name.strip() for name in text.split("+"))
    _require_known(names)
    return names


def temporal_statistics(clips: Tensor, names: Sequence[str]) -> Tensor:
    """Some statistics of STATISTICS, side by side in the order asked: […, n, D] float -> […, len(names)·D] float32.

    n ≥ 1 clips in temporal order; of one clip std, change and peak-change are 0. Raises ComixError as
    parse_statistics does, ShapeError if there is no clip.
    """
    _require_known(names)
    if clips.dim() < 2 or not clips.shape[-2]:
        raise ShapeError(f"statistics over time need clips [..., n, D] with n at least 1, not {list(clips.shape)}")
    return torch.cat(_each(clips, names), dim=-1)


def pooled_bank(bank: FeatureBank, names: Sequence[str]) -> FeatureBank:
    """The same videos with one "clip" each, in one bin: the statistics of all its candidate clips.

    clips: V rows of len(names)·D float32 numbers in memory, on the bank's device. Where the bank has mixes, `mixed`
    holds J·V rows, the statistics of each draw's B mixed clips, and mixed_rows pairs each with its video's plain row.
    Beside the result no more than HELD_ROWS + 1 clips are in memory. Raises ComixError as parse_statistics does,
    CacheError if a file can't be read.
    """
    _require_known(names)
    device = bank.bin_first.device
    own = torch.arange(len(bank.ids), device=device)
    pooled = FeatureBank(
        ids=bank.ids,
        labels=bank.labels,
        bin_first=own[:, None],
        bin_size=torch.ones_like(own)[:, None],
        clips=_pooled_rows(bank.clips, bank.bin_first[:, 0], bank.bin_size.sum(dim=1), names),
    )
    if bank.mixed is None or bank.mixed_first is None:
        return pooled
    first = bank.mixed_first.reshape(-1)
    return replace(
        pooled,
        mixed=_pooled_rows(bank.mixed, first, torch.full_like(first, bank.n_bins), names),
        mixed_first=torch.arange(len(first), device=device).view_as(bank.mixed_first),
        mixed_rows=own[None, :, None].repeat(bank.n_mixes, 1, 1),
    )


def pooled_bytes(bank: FeatureBank, names: Sequence[str]) -> int:
    """How much memory the rows of pooled_bank take: float32, one a video and one more for each of its mixes."""
    mixes = 0 if bank.mixed is None or bank.mixed_first is None else bank.mixed_first.numel()
    return torch.float32.itemsize * len(names) * bank.clips.dim * (len(bank.ids) + mixes)


def _require_known(names: Sequence[str]) -> None:
    hint = f"statistics are {', '.join(STATISTICS)}, joined by +"
    if not all(names) or not names:
        raise ComixError(f"a statistic is empty in {'+'.join(names)!r}", hint=hint)
    if unknown := [name for name in names if name not in STATISTICS]:
        raise ComixError(f"there is no statistic {', '.join(map(repr, unknown))}", hint=hint)
    if twice := [name for name in STATISTICS if names.count(name) > 1]:
        raise ComixError(f"{', '.join(twice)} can be given only once, not as in {'+'.join(names)!r}")


def _each(clips: Tensor, names: Sequence[str]) -> list[Tensor]:
    """[…, D] float32, one for every name. Sums are in float32; deviations are from the mean, so they do not cancel."""
    values = clips.float()
    found: dict[str, Tensor] = {}
    if "mean" in names or "std" in names:
        found["mean"] = values.mean(dim=-2)
    if "max" in names:
        found["max"] = values.amax(dim=-2)
    if "std" in names:
        variance = (values - found["mean"].unsqueeze(-2)).square_().mean(dim=-2)
        # Where nothing varies the root has no slope: the gradient there is 0, not NaN.
        varies = variance > 0
        found["std"] = variance.where(varies, 1.0).sqrt_() * varies
    if any(name in names for name in _CHANGES):
        moved = (values[..., 1:, :] - values[..., :-1, :]).abs_()
        if not moved.shape[-2]:
            moved = torch.zeros_like(values)
        if "change" in names:
            found["change"] = moved.mean(dim=-2)
        if "peak-change" in names:
            found["peak-change"] = moved.amax(dim=-2)
    return [found[name] for name in names]


def _pooled_rows(rows: Rows, first: Tensor, count: Tensor, names: Sequence[str]) -> LoadedRows:
    """One row for every video, of rows first … first + count − 1. first, count: [V] int64."""
    pooled = torch.empty(len(first), len(names) * rows.dim, device=rows.device)
    for group in _groups(first.tolist(), count.tolist()):
        low, high = group[0][1], group[-1][2]
        if high - low > HELD_ROWS:
            ((number, *_),) = group
            torch.cat(_each_of_long(rows, low, high, names), out=pooled[number])
            continue
        clips = rows.read(low, high)
        # Video by video, not all of one length at once: what a video's row is must not depend on who is beside it.
        for number, begin, end in group:
            torch.cat(_each(clips[begin - low : end - low], names), out=pooled[number])
    return LoadedRows(pooled)


def _groups(first: list[int], count: list[int]) -> Iterator[list[tuple[int, int, int]]]:
    """Videos to read together: number, first row, last row + 1, in the order of the rows.

    A group's rows follow each other (a video may be listed twice) and are at most HELD_ROWS, unless it is one video.
    """
    group: list[tuple[int, int, int]] = []
    for low, number in sorted(zip(first, range(len(first)), strict=True)):
        high = low + count[number]
        if group and (low > group[-1][2] or high - group[0][1] > HELD_ROWS):
            yield group
            group = []
        group.append((number, low, high))
    if group:
        yield group


def _each_of_long(rows: Rows, first: int, last: int, names: Sequence[str]) -> list[Tensor]:
    """As _each, of rows first … last − 1, read in pieces whose statistics are put together.

    The variance of all is the mean of the pieces' variances and of the squared distances of their means.
    """
    wanted = tuple(name for name in STATISTICS[:3] if name in names or name == "mean")
    moves = tuple(name for name in _CHANGES if name in names)
    parts: dict[str, list[Tensor]] = {name: [] for name in (*wanted, *moves)}
    lows = range(first, last, HELD_ROWS)
    sizes = torch.tensor([min(HELD_ROWS, last - low) for low in lows], device=rows.device)[:, None]
    for low, size in zip(lows, sizes[:, 0].tolist(), strict=True):
        # From the last clip of the piece before, so that no change is missed.
        before = int(low > first)
        clips = rows.read(low - before, low + size)
        for some, piece in ((wanted, clips[before:]), (moves, clips)):
            for name, values in zip(some, _each(piece, some), strict=True):
                parts[name].append(values)
    pieces = {name: torch.stack(values) for name, values in parts.items()}
    changes = sizes - (torch.arange(len(sizes), device=rows.device) == 0).long()[:, None]
    mean = (pieces["mean"] * sizes).sum(dim=0) / sizes.sum()
    whole = {name: values.amax(dim=0) for name, values in pieces.items()} | {"mean": mean}
    if "std" in pieces:
        variances = pieces["std"].square() + (pieces["mean"] - mean).square()
        whole["std"] = ((variances * sizes).sum(dim=0) / sizes.sum()).sqrt()
    if "change" in pieces:
        whole["change"] = (pieces["change"] * changes).sum(dim=0) / changes.sum()
    return [whole[name] for name in names]
