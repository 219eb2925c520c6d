"""The features of a list of videos, ready to be drawn from: rows and their numbers, no data loader."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from comix_fast.cache.layout import FEATURE_BYTES, Layout, lay_out
from comix_fast.cache.reader import CachedVideo, FeatureCache
from comix_fast.cache.rows import MappedRows, Rows
from comix_fast.config import PLAIN, FeatureNorm
from comix_fast.console import Reporter, Silent
from comix_fast.errors import CacheError, first_few
from comix_fast.memory import available_memory
from comix_fast.stages.candidates import Candidates, bins_of, labels_of

# auto: features are loaded if they take at most this share of what is available; heads and batches need the rest.
LOADED_SHARE = 0.5
# From here on loading takes long enough to be shown.
SHOWN_BYTES = 2 << 30
STD_FLOOR = 1e-3
# Statistics: rows read at once; and numbers summed at once in float64, which stay in the processor's cache and are too
# few for torch to share among threads: thousands of small sums would wait long for a second core that is busy.
READ_ROWS, SUMMED_NUMBERS = 1024, (1 << 15) - 1

MemoryUse = Literal["auto", "load", "map"]


class Standardise(NamedTuple):
    """x ↦ (x − mean) / std, per feature: mean, std [D] float32."""

    mean: Tensor
    std: Tensor

    def times(self, size: float) -> Standardise:
        """The same, its result `size` times as large."""
        return Standardise(self.mean, self.std / size)

    def to(self, device: torch.device | str) -> Standardise:
        """The same on another device."""
        return Standardise(self.mean.to(device), self.std.to(device))

    def __call__(self, features: Tensor) -> Tensor:
        """[…, D] of any float type -> […, D] float32."""
        return (features.float() - self.mean) / self.std


@dataclass(frozen=True)
class FeatureBank(Candidates):
    """The videos of one list and the features of their clips.

    clips: N rows, every candidate clip of every video; a video's rows follow each other.
    mixed: J·V·B rows or None; mixed_first: [J, V] int64, the first of a video's B rows in `mixed`;
        mixed_rows: [J, V, B] int64, the rows of `clips` at the same starts.
    """

    clips: Rows
    mixed: Rows | None = None
    mixed_rows: Tensor | None = None
    mixed_first: Tensor | None = None

    @property
    def n_mixes(self) -> int:
        """Draws of background mixing to choose among, 0 where there are none."""
        return 0 if self.mixed_rows is None else len(self.mixed_rows)

    def mixed_pair(self, videos: Tensor, draw: Tensor) -> tuple[Tensor, Tensor]:
        """One draw of mixing of each video: rows of `clips` and of `mixed` at the same starts, […, b, B] int64 each.

        videos, draw: […, b] int64, draw in [0, n_mixes). Raises CacheError if the bank has no mixed views.
        """
        if self.mixed_rows is None or self.mixed_first is None:
            raise CacheError("this cache has no background-mixed views", hint="extract with --mixes, or use --no-bgm")
        places = torch.arange(self.n_bins, device=self.mixed_first.device)
        return self.mixed_rows[draw, videos], self.mixed_first[draw, videos].unsqueeze(-1) + places

    def subset(self, videos: Tensor) -> FeatureBank:
        """The bank of some of its videos, [v] int64 numbers; the rows are shared."""
        return replace(
            self,
            ids=tuple(self.ids[int(video)] for video in videos),
            labels=self.labels[videos],
            bin_first=self.bin_first[videos],
            bin_size=self.bin_size[videos],
            mixed_rows=None if self.mixed_rows is None else self.mixed_rows[:, videos],
            mixed_first=None if self.mixed_first is None else self.mixed_first[:, videos],
        )

    def loaded(self, advance: Callable[[int], None]) -> FeatureBank:
        """The bank with its rows in memory. Raises MemoryError if they find no room there."""
        mixed = None if self.mixed is None else self.mixed.load(advance)
        return replace(self, clips=self.clips.load(advance), mixed=mixed)

    def to(self, device: torch.device | str) -> FeatureBank:
        """The bank on another device; mapped rows stay in their files and are taken to it."""
        return replace(
            self,
            labels=self.labels.to(device),
            clips=self.clips.to(device),
            bin_first=self.bin_first.to(device),
            bin_size=self.bin_size.to(device),
            mixed=None if self.mixed is None else self.mixed.to(device),
            mixed_rows=None if self.mixed_rows is None else self.mixed_rows.to(device),
            mixed_first=None if self.mixed_first is None else self.mixed_first.to(device),
        )

    def standardise(self) -> Standardise:
        """Mean and standard deviation of the clips of this bank's videos, all candidates counted; summed in float64."""
        at_once = max(1, SUMMED_NUMBERS // self.clips.dim)
        total = torch.zeros(self.clips.dim, dtype=torch.float64, device=self.clips.device)
        squares, n_rows = torch.zeros_like(total), 0
        for first, last in self._runs():
            for low in range(first, last, READ_ROWS):
                for some in torch.split(self.clips.read(low, min(low + READ_ROWS, last)), at_once):
                    values = some.double()
                    total += values.sum(dim=0)
                    squares += values.square_().sum(dim=0)
            n_rows += last - first
        mean = total / n_rows
        std = (squares / n_rows - mean.square()).clamp_min(0).sqrt()
        # Features that never vary say nothing; the floor keeps them from being blown up.
        return Standardise(mean.float(), std.clamp_min(STD_FLOOR).float())

    def _runs(self) -> list[tuple[int, int]]:
        """First and last + 1 of this bank's rows, neighbouring videos joined; what is listed twice counts twice."""
        runs: list[tuple[int, int]] = []
        for first, count in sorted(zip(self.bin_first[:, 0].tolist(), self.bin_size.sum(dim=1).tolist(), strict=True)):
            if runs and runs[-1][1] == first:
                runs[-1] = runs[-1][0], first + count
            else:
                runs.append((first, first + count))
        return runs


def map_bank(cache: FeatureCache, videos: Sequence[CachedVideo], mixed: bool) -> FeatureBank:
    """The plain view of some videos, and their mixed views if asked; the features stay in their files.

    Raises CacheError if there are no videos, views are missing, or the arrays contradict each other.
    """
    if not videos:
        raise CacheError(
            f"none of the listed videos has features in {cache.path}",
            hint="run extract, and look at its failures",
        )
    n_bins = int(cache.recipe["clips"]["bins"])
    ids = tuple(video.id for video in videos)
    plain, *mixes = lay_out(cache, ids, (PLAIN, *(cache.mixed_views() if mixed else ())))
    if (short := plain.count < n_bins).any():
        names = first_few(ids[number] for number in np.flatnonzero(short))
        raise CacheError(f"{int(short.sum()):,} videos of {cache.path} have fewer clips than bins: {names}")
    bin_first, bin_size = bins_of(plain.first, plain.count, n_bins)
    bank = FeatureBank(
        ids=ids,
        labels=labels_of(videos),
        bin_first=bin_first,
        bin_size=bin_size,
        clips=MappedRows(plain.stretches, plain.dim),
    )
    return _with_mixes(bank, cache, plain, mixes) if mixes else bank


def _with_mixes(bank: FeatureBank, cache: FeatureCache, plain: Layout, mixes: Sequence[Layout]) -> FeatureBank:
    stride = int(cache.recipe["clips"]["stride"])
    rows = np.empty((len(mixes), len(bank.ids), bank.n_bins), np.int64)
    for draw, layout in enumerate(mixes):
        if (layout.count != bank.n_bins).any():
            raise CacheError(f"{cache.path} has mixed views of other than {bank.n_bins} clips", hint="it is damaged")
        candidate = layout.starts[layout.first[:, None] + np.arange(bank.n_bins)] // stride
        if (candidate < 0).any() or (candidate >= plain.count[:, None]).any():
            raise CacheError(f"{cache.path} has mixed clips without a plain one", hint="it is damaged")
        rows[draw] = plain.first[:, None] + candidate
    before = np.cumsum([0, *(len(layout.starts) for layout in mixes[:-1])])
    return replace(
        bank,
        mixed=MappedRows([stretch for layout in mixes for stretch in layout.stretches], mixes[0].dim),
        mixed_rows=torch.from_numpy(rows),
        mixed_first=torch.from_numpy(np.stack([layout.first for layout in mixes]) + before[:, None]),
    )


def _settled(banks: Sequence[FeatureBank], memory: MemoryUse, reporter: Reporter) -> list[FeatureBank]:
    """Banks of mapped rows, loaded or left as they are."""
    rows = [rows for bank in banks for rows in (bank.clips, bank.mixed) if rows is not None]
    n_bytes = sum(FEATURE_BYTES * len(some) * some.dim for some in rows)
    room = available_memory()
    if memory == "auto":
        memory = "load" if room is None or n_bytes <= LOADED_SHARE * room else "map"
        if memory == "map":
            free = "" if room is None else f", {gigabytes(room)} of memory are free"
            reporter.say(f"the features take {gigabytes(n_bytes)}{free}: they are read from their files as needed")
    if memory == "map":
        return list(banks)
    shown = reporter if n_bytes >= SHOWN_BYTES else Silent()
    try:
        with shown.progress("loading features", sum(map(len, rows)), "clips") as advance:
            return [bank.loaded(advance) for bank in banks]
    except MemoryError as error:
        free = "" if room is None else f", and {gigabytes(room)} are free"
        raise CacheError(
            f"the features take {gigabytes(n_bytes)} of memory{free}",
            hint="leave them in their files: memory='map', or 'auto', which maps what is too large",
        ) from error


def gigabytes(n_bytes: int) -> str:
    """Reads "1.24 GB"."""
    return f"{n_bytes / 1e9:,.2f} GB"


class Banks(NamedTuple):
    """What a run trains on and is measured on. transductive: every measured video is a training one, unlabelled.

    held_out: labelled source videos that no head learns, for label-free scores that want some; None if none are listed.
    """

    source: FeatureBank
    target: FeatureBank
    measured: FeatureBank
    transductive: bool
    names: tuple[str, str]
    held_out: FeatureBank | None = None

    def each(self, change: Callable[[FeatureBank], FeatureBank]) -> Banks:
        """Every bank changed, those that are one and the same just once."""
        target = change(self.target)
        return self._replace(
            source=change(self.source),
            target=target,
            measured=target if self.measured is self.target else change(self.measured),
            held_out=None if self.held_out is None else change(self.held_out),
        )


def load_banks(
    cache: FeatureCache,
    mixed: bool,
    reverse: bool = False,
    *,
    memory: MemoryUse = "auto",
    reporter: Reporter | None = None,
) -> Banks:
    """Source and target of a cache, or the other way about.

    memory: "load" reads all features, "map" leaves them in their files and reads what each batch needs; "auto" loads
    them if they take at most half of the memory that is available, and says so if not. Either way the rows are the
    same. Raises CacheError if a source label is missing, or features to be loaded find no room.
    """
    source_domain, target_domain = ("target", "source") if reverse else ("source", "target")
    train = {domain: cache.videos(domain, "train") for domain in (source_domain, target_domain)}
    unlabelled = [video.id for video in train[source_domain] if video.label is None]
    if unlabelled:
        raise CacheError(
            f"{len(unlabelled):,} source videos have no label: {first_few(unlabelled)}",
            hint="the source must be labelled; --reverse needs labels in both domains",
        )
    mapped = {domain: map_bank(cache, train[domain], mixed) for domain in (source_domain, target_domain)}
    if cache.has_test(target_domain):
        mapped["measured"] = map_bank(cache, cache.videos(target_domain, "test"), mixed=False)
    if held_out := unseen(cache, source_domain):
        mapped["held out"] = map_bank(cache, held_out, mixed=False)
    banks = dict(zip(mapped, _settled(list(mapped.values()), memory, reporter or Silent()), strict=True))
    target = banks[target_domain]
    measured = banks.get("measured", target)
    return Banks(
        banks[source_domain],
        target,
        measured,
        transductive=set(measured.ids) <= set(target.ids),
        names=(cache.names[source_domain], cache.names[target_domain]),
        held_out=banks.get("held out"),
    )


def unseen(cache: FeatureCache, domain: str) -> list[CachedVideo]:
    """Labelled videos of a domain's test list that are not among its training videos."""
    if not cache.has_test(domain):
        return []
    learnt = {video.id for video in cache.videos(domain, "train")}
    return [video for video in cache.videos(domain, "test") if video.label is not None and video.id not in learnt]


def feature_norms(banks: Banks, norm: FeatureNorm, size: float | None = None) -> tuple[Standardise, Standardise]:
    """How source and target features are standardised before the head, no label used.

    source: both by the source's statistics; domain: each by its own (the idea of AdaBN, Li et al. 2016);
    none: as they are. size: the root mean square that standardised features are brought to; None: that of the source's
    raw ones. The graph head's affinities are products of features with themselves, and at unit variance in 1024
    dimensions they start out saturated, so that some seeds never leave their first loss at the published learning rate.
    """
    if norm == "none":
        return identity_norms(banks.source.clips.dim, banks.source.clips.device)
    source = banks.source.standardise()
    if size is None:
        size = float((source.mean.square() + source.std.square()).mean().sqrt())
    target = banks.target.standardise() if norm == "domain" else source
    return source.times(size), target.times(size)


def identity_norms(width: int, device: torch.device | None = None) -> tuple[Standardise, Standardise]:
    """Features as they are."""
    identity = Standardise(torch.zeros(width, device=device), torch.ones(width, device=device))
    return identity, identity


POOLED_NORM = 512.0
"""Mean squared length of a standardised row of pooled statistics, whatever its width: softmax regression by SGD is
stable up to some product of learning rate and squared length, and at the published rate of 0.01 this is well inside."""


def pooled_size(width: int) -> float:
    """The root mean square of the features of such a row."""
    return math.sqrt(POOLED_NORM / width)
