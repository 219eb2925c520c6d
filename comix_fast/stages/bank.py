"""A domain's features in memory, ready to be drawn from: one tensor, no data loader."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from comix_fast.cache.format import UNLABELLED
from comix_fast.cache.reader import CachedVideo, FeatureCache
from comix_fast.config import PLAIN, FeatureNorm
from comix_fast.errors import CacheError, first_few

STD_FLOOR = 1e-3


class Standardise(NamedTuple):
    """x ↦ (x − mean) / std, per feature: mean, std [D] float32."""

    mean: Tensor
    std: Tensor

    def times(self, size: float) -> Standardise:
        """The same, its result `size` times as large."""
        return Standardise(self.mean, self.std / size)

    def __call__(self, features: Tensor) -> Tensor:
        """[…, D] of any float type -> […, D] float32."""
        return (features.float() - self.mean) / self.std


@dataclass(frozen=True)
class FeatureBank:
    """The videos of one list: V videos, N candidate clips in all, B bins a video, J draws of mixing.

    ids: V names; labels: [V] int64, −1 where unlabelled.
    clips: [N, D] float16, every candidate clip of every video.
    bin_first, bin_size: [V, B] int64, row of each bin's first candidate, the one that videos are tested on (published
        code), and how many candidates it has.
    mixed: [J, V, B, D] float16 or None; mixed_rows: [J, V, B] int64, the plain rows at the same starts.
    """

    ids: tuple[str, ...]
    labels: Tensor
    clips: Tensor
    bin_first: Tensor
    bin_size: Tensor
    mixed: Tensor | None = None
    mixed_rows: Tensor | None = None

    @property
    def n_bins(self) -> int:
        """Clips drawn of each video."""
        return self.bin_first.shape[1]

    def draw(self, videos: Tensor, generator: torch.Generator) -> Tensor:
        """[b] video numbers -> [b, B, D] float16: one candidate per bin at random (published code)."""
        size = self.bin_size[videos]
        offset = (torch.rand(size.shape, generator=generator) * size).long()
        return self.clips[self.bin_first[videos] + offset]

    def draw_mixed(self, videos: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """[b] video numbers -> plain and mixed clips at the same starts, [b, B, D] float16 each."""
        if self.mixed is None or self.mixed_rows is None:
            raise CacheError("this cache has no background-mixed views", hint="extract with --mixes, or use --no-bgm")
        draw = torch.randint(len(self.mixed), (len(videos),), generator=generator)
        return self.clips[self.mixed_rows[draw, videos]], self.mixed[draw, videos]

    def subset(self, videos: Tensor) -> FeatureBank:
        """The bank of some of its videos; the clips are shared."""
        picked = None if self.mixed is None or self.mixed_rows is None else (self.mixed, self.mixed_rows)
        return FeatureBank(
            tuple(self.ids[int(video)] for video in videos),
            self.labels[videos],
            self.clips,
            self.bin_first[videos],
            self.bin_size[videos],
            None if picked is None else picked[0][:, videos],
            None if picked is None else picked[1][:, videos],
        )

    def standardise(self) -> Standardise:
        """Mean and standard deviation of the clips of this bank's videos, all candidates counted."""
        first = self.bin_first[:, 0]
        counts = self.bin_size.sum(dim=1)
        rows = torch.cat([torch.arange(f, f + n) for f, n in zip(first.tolist(), counts.tolist(), strict=True)])
        std, mean = torch.std_mean(self.clips[rows].float(), dim=0, correction=0)
        # Features that never vary say nothing; the floor keeps them from being blown up.
        return Standardise(mean, std.clamp_min(STD_FLOOR))


def load_bank(cache: FeatureCache, videos: list[CachedVideo], mixed: bool) -> FeatureBank:
    """Reads the plain view of some videos, and their mixed views if asked. Raises CacheError if there are none."""
    if not videos:
        raise CacheError(
            f"none of the listed videos has features in {cache.path}",
            hint="run extract, and look at its failures",
        )
    stride, n_bins = int(cache.recipe["clips"]["stride"]), int(cache.recipe["clips"]["bins"])
    names = cache.mixed_views() if mixed else ()
    clips: list[np.ndarray] = []
    firsts = np.empty((len(videos), n_bins), np.int64)
    sizes = np.empty((len(videos), n_bins), np.int64)
    mixes: list[list[np.ndarray]] = [[] for _ in names]
    rows = np.empty((len(names), len(videos), n_bins), np.int64)
    base = 0
    for number, video in enumerate(videos):
        plain = cache.features(video.id, PLAIN)
        clips.append(plain)
        parts = np.array_split(np.arange(base, base + len(plain)), n_bins)
        firsts[number] = [part[0] for part in parts]
        sizes[number] = [len(part) for part in parts]
        for draw, name in enumerate(names):
            drawn = cache.clips(video.id, name)
            mixes[draw].append(drawn.features)
            rows[draw, number] = base + drawn.starts // stride
        base += len(plain)
    return FeatureBank(
        ids=tuple(video.id for video in videos),
        labels=torch.tensor([UNLABELLED if video.label is None else video.label for video in videos]),
        clips=torch.from_numpy(np.concatenate(clips)),
        bin_first=torch.from_numpy(firsts),
        bin_size=torch.from_numpy(sizes),
        mixed=torch.from_numpy(np.stack([np.stack(draw) for draw in mixes])) if names else None,
        mixed_rows=torch.from_numpy(rows) if names else None,
    )


class Banks(NamedTuple):
    """What a run trains on and is measured on. transductive: every measured video is a training one, unlabelled."""

    source: FeatureBank
    target: FeatureBank
    measured: FeatureBank
    transductive: bool
    names: tuple[str, str]


def load_banks(cache: FeatureCache, mixed: bool, reverse: bool = False) -> Banks:
    """Source and target of a cache, or the other way about. Raises CacheError if a source label is missing."""
    source_domain, target_domain = ("target", "source") if reverse else ("source", "target")
    train = {domain: cache.videos(domain, "train") for domain in (source_domain, target_domain)}
    unlabelled = [video.id for video in train[source_domain] if video.label is None]
    if unlabelled:
        raise CacheError(
            f"{len(unlabelled):,} source videos have no label: {first_few(unlabelled)}",
            hint="the source must be labelled; --reverse needs labels in both domains",
        )
    source, target = (load_bank(cache, train[domain], mixed) for domain in (source_domain, target_domain))
    measured = target
    if cache.has_test(target_domain):
        measured = load_bank(cache, cache.videos(target_domain, "test"), mixed=False)
    transductive = set(measured.ids) <= set(target.ids)
    return Banks(source, target, measured, transductive, (cache.names[source_domain], cache.names[target_domain]))


def feature_norms(banks: Banks, norm: FeatureNorm) -> tuple[Standardise, Standardise]:
    """How source and target features are standardised before the head, no label used.

    source: both by the source's statistics; domain: each by its own (the idea of AdaBN, Li et al. 2016);
    none: as they are. Standardised features are brought back to the root mean square of the source's raw ones:
    the head's affinities are products of features with themselves, and at unit variance in 1024 dimensions they
    start out saturated, so that some seeds never leave their first loss at the published learning rate.
    """
    if norm == "none":
        width = banks.source.clips.shape[1]
        identity = Standardise(torch.zeros(width), torch.ones(width))
        return identity, identity
    source = banks.source.standardise()
    size = float((source.mean.square() + source.std.square()).mean().sqrt())
    target = banks.target.standardise() if norm == "domain" else source
    return source.times(size), target.times(size)
