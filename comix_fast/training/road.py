"""The road from frames: a run's features computed by a backbone, which learns unless it is frozen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

import torch
from torch import Tensor

from comix_fast.backbones import Backbone
from comix_fast.backbones.trainable import TrainableBackbone
from comix_fast.config import AdaptRecipe
from comix_fast.console import Reporter, Silent
from comix_fast.datasets import Video
from comix_fast.stages import runs
from comix_fast.stages.bank import Banks, FeatureBank
from comix_fast.stages.batches import AdaptationDraws, Draws, SupervisedDraws
from comix_fast.stages.candidates import labels_of
from comix_fast.stages.pooling import parse_statistics, pooled_bank
from comix_fast.stages.road import WARMSTART
from comix_fast.stages.runs import SeedFolder
from comix_fast.training.decoding import FramesAhead
from comix_fast.training.extraction import Extractor
from comix_fast.training.footage import Footage
from comix_fast.training.frames import FrameBanks, FrameRows, Others, frame_bank
from comix_fast.training.learning import Computing, Learning, Schedule
from comix_fast.training.recipe import Graphs, VideoRecipe

Network = Backbone | TrainableBackbone
_BACKBONE, _MOMENTUM = "backbone.", "momentum."


class VideoRoad:
    """See comix_fast.stages.road.Road; used in a `with`, at whose end nothing is being decoded.

    network: frozen, or as the first phase of each seed begins.
    """

    def __init__(
        self,
        recipe: AdaptRecipe,
        video: VideoRecipe,
        footage: Footage,
        network: Network,
        extractor: Extractor,
        *,
        graphs: Graphs,
    ) -> None:
        self._recipe, self._video, self._footage = recipe, video, footage
        self._network, self._extractor, self._graphs = network, extractor, graphs
        self._statistics = parse_statistics(recipe.statistics) if recipe.pooled else ()
        self._initial = _copied(network.state()) if isinstance(network, TrainableBackbone) else {}
        self._upstream: Computing | None = None
        self._draws: Draws | None = None
        self._seen: Banks | None = None
        rows = extractor.surveys.rows
        both = (footage.source, footage.target)
        mixing = recipe.uses_mixes
        others = [Others(ids, rows.__contains__) if mixing else None for ids in footage.donors[::-1]]
        banks = [
            frame_bank(videos, lambda name: rows[name].n_frames, video, whose, self._computed)
            for videos, whose in zip(both, others, strict=True)
        ]
        self._banks = FrameBanks(*banks)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._upstream is not None:
            self._upstream.__exit__(kind, error, trace)
            self._upstream = None

    @property
    def upstream(self) -> Computing | None:
        """See Road."""
        return self._upstream

    @property
    def source_labels(self) -> Tensor:
        """See Road."""
        return self._banks.source.labels

    def draws(self, recipe: AdaptRecipe, seed: int, phase: str) -> Draws:
        """See Road: the very draws that a cache is asked for."""
        if phase == WARMSTART:
            self._draws = SupervisedDraws(self._banks.source, recipe.batch_size, seed, phase)
        else:
            self._draws = AdaptationDraws(self._banks, recipe.batch_size, seed, recipe.uses_mixes)
        return self._draws

    def begin(self, files: SeedFolder, phase: str, iterations: int, kept: Mapping[str, Tensor] | None) -> None:
        """See Road."""
        self.__exit__(None, None, None)
        if isinstance(self._network, Backbone):
            machine_part = self._extractor.part_clips(self._network)
            self._upstream = Computing(
                self._network,
                lambda first: self._frames(range(first, iterations)),
                self._extractor.processes,
                device=self._extractor.device,
                part_clips=machine_part,
                statistics=self._statistics,
            )
            return
        self._seen = None
        if kept is not None:
            self._network.load(_below(kept, _BACKBONE), "the checkpoint")
        elif phase == WARMSTART:
            self._network.load(self._initial, "the first weights")
        else:
            self.load(files, runs.SOURCE_ONLY)
        learning = self._learning(self._network, phase, iterations)
        learning.load_momentum(_below(kept or {}, _MOMENTUM))
        self._upstream = learning

    def _learning(self, network: TrainableBackbone, phase: str, iterations: int) -> Learning:
        recipe, processes = self._recipe, self._extractor.processes
        n_streams = 1 if phase == WARMSTART else 4 if recipe.uses_mixes else 2
        n_source, n_target = len(self._footage.source), len(self._footage.target)
        batch = min(recipe.batch_size, n_source if phase == WARMSTART else max(n_source, n_target))
        mine = len(range(batch)[processes.share(batch)])
        together = min(self._video.micro_batch or mine, mine)
        return Learning(
            network,
            lambda first: self._frames(range(first, iterations)),
            processes,
            schedule=Schedule(self._video.lr, recipe.momentum, recipe.weight_decay, iterations),
            part_clips=together * self._video.bins,
            graphs=self._graphs,
            n_parts=n_streams * -(-mine // together),
            statistics=self._statistics,
        )

    def _frames(self, iterations: range) -> FramesAhead:
        assert self._draws is not None
        extractor = self._extractor
        return FramesAhead(
            self._draws,
            iterations,
            extractor.processes.share,
            background=extractor.surveys.background,
            decoder=extractor.decoder,
            size=self._video.size,
            device=extractor.device,
            threads=extractor.threads,
        )

    def _computed(self, rows: FrameRows, index: Tensor) -> Tensor:
        assert self._upstream is not None
        if isinstance(self._network, TrainableBackbone):
            # The weights are about to change.
            self._seen = None
        return self._upstream.take(rows, index)

    def seen(self) -> Banks:
        """See Road: features of the target's videos, extracted when they are asked for and the backbone has changed."""
        if self._seen is None:
            footage = self._footage
            with_target = {video.id for video in footage.target}
            also = [video for video in footage.measured if video.id not in with_target]
            target, *rest = self.features([footage.target, footage.measured] if also else [footage.target])
            measured = rest[0] if rest else _picked(target, footage.measured)
            # No label-free score looks at the source unless some of it is held out, and here none is.
            unseen = FeatureBank((), labels_of(()), target.bin_first[:0], target.bin_size[:0], target.clips)
            self._seen = Banks(unseen, target, measured, footage.transductive, footage.names)
        return self._seen

    def features(
        self, lists: Sequence[Sequence[Video]], every: bool = False, reporter: Reporter | None = None
    ) -> list[FeatureBank]:
        """What the head takes of some lists of videos, as the backbone is now; a bank for each, float16 or float32.

        every: of all candidate clips, but for statistics: these are of the test clips, one of each bin, as an iteration
        has one of each; the maximum of more clips is another number. reporter: None where
        another progress is being shown.
        """
        network = self._network if isinstance(self._network, Backbone) else self._network.frozen()
        every = every and not self._statistics
        plans = [self._extractor.plan(video) for videos in lists for video in videos]
        total = sum(plan.n_clips if every else plan.n_bins for plan in plans)
        with (reporter or Silent()).progress("features", total, "clips") as advance:
            banks = [self._extractor.bank(network, videos, every, advance) for videos in lists]
        return [pooled_bank(bank, self._statistics) for bank in banks] if self._statistics else banks

    def kept(self) -> dict[str, Tensor]:
        """See Road."""
        if isinstance(self._network, Backbone) or not isinstance(self._upstream, Learning):
            return {}
        momentum = self._upstream.momentum()
        return {_BACKBONE + name: value for name, value in self._network.state().items()} | {
            _MOMENTUM + name: value for name, value in momentum.items()
        }

    def save(self, files: SeedFolder, name: str) -> None:
        """See Road."""
        if isinstance(self._network, TrainableBackbone):
            runs.save_tensors(files.backbone_path(name), self._network.state())

    def load(self, files: SeedFolder, name: str) -> None:
        """See Road."""
        if isinstance(self._network, TrainableBackbone):
            path = files.backbone_path(name)
            self._network.load(runs.load_tensors(path)[0], str(path))
            self._seen = None


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _copied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in state.items()}


def _picked(bank: FeatureBank, videos: Sequence[Video]) -> FeatureBank:
    """The bank itself where it is of just these videos, so that what is measured once serves twice."""
    ids = tuple(video.id for video in videos)
    if ids == bank.ids:
        return bank
    number = {name: place for place, name in enumerate(bank.ids)}
    return bank.subset(torch.tensor([number[name] for name in ids], dtype=torch.int64))
