"""Single steps of the tiny backbone on clips that are there already, and the same steps by hand in one graph."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tiny as made
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from comix_fast.backbones.trainable import TrainableBackbone
from comix_fast.config import AdaptRecipe
from comix_fast.heads import Head, make_head
from comix_fast.losses import comix_loss
from comix_fast.objectives import Setting, new_objective
from comix_fast.stages.bank import Standardise
from comix_fast.stages.batches import CHUNK, Drawn, Stream
from comix_fast.stages.stack import Member, Stack
from comix_fast.training.frames import FrameRows
from comix_fast.training.learning import Learning, Schedule
from comix_fast.training.processes import Processes
from comix_fast.video.pixels import Clip

N_CLASSES, BINS, LENGTH, ITERATIONS = 3, 4, 4, 3
SLOW = torch.tensor([True, False, True, False])
LABELS = torch.tensor([[2, 0, 1], [1, 1, 0], [0, 2, 2]])
RECIPE = AdaptRecipe(
    dropout=0.0, lr=0.05, lambda_bgm=0.3, lambda_tpl=0.2, pseudo_threshold=0.3, precision="fp32", batch_size=3,
    hidden_dim=6, weight_decay=0.0,
)  # fmt: skip
NORMS = tuple(Standardise(torch.full((made.DIM,), 0.4 + 0.1 * n), torch.full((made.DIM,), 0.8)) for n in range(2))
Streams = list[list[list[Clip[Any]]]]


def drawn_streams(seed: int, sizes: Sequence[int] = (3, 3, 3, 3)) -> Streams:
    """Source, target, mixed source, mixed target: `sizes` videos of 4 clips of 4 coarse frames."""
    rng = np.random.default_rng(seed)

    def clip(is_mixed: bool) -> Clip[Any]:
        frames = [
            np.kron(rng.integers(0, 256, (4, 4, 3), np.uint8), np.ones((8, 8, 1), np.uint8)) for _ in range(LENGTH)
        ]
        if not is_mixed:
            return Clip(list(frames))
        return Clip(list(frames), rng.integers(0, 256, (32, 32, 3), np.uint8), float(rng.random() / 2))

    return [[[clip(stream > 1) for _ in range(BINS)] for _ in range(size)] for stream, size in enumerate(sizes)]


class Shown:
    """In the place of FramesAhead: clips that are there already."""

    def __init__(self, iterations: Sequence[Streams]) -> None:
        self._left = iter(iterations)

    def __enter__(self) -> Shown:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def next(self) -> Streams:
        return next(self._left)


class Listed:
    """Draws whose rows say nothing: which clips are shown does not hang on them."""

    def __init__(self, upstream: Learning, iterations: Sequence[Streams]) -> None:
        def undescribed(rows: Tensor) -> Any:
            raise AssertionError(rows)

        rows = FrameRows(undescribed, upstream.take)
        self._sizes = [len(videos) for videos in iterations[0]]
        self.streams = tuple(Stream(rows, number % 2) for number in range(len(self._sizes)))

    def chunk(self, number: int) -> Drawn:
        rows = tuple(torch.zeros(CHUNK, size, BINS, dtype=torch.int64) for size in self._sizes)
        labels = torch.stack([LABELS[n % len(LABELS)] for n in range(CHUNK)])[:, : self._sizes[0]]
        return Drawn(rows, labels, SLOW.expand(CHUNK, -1))


def taken(upstream: Learning) -> Tensor:
    """The features of the next stream, of three videos."""
    rows = FrameRows(lambda _: None, lambda _, index: upstream.take(rows, index))  # type: ignore[arg-type,return-value]
    return rows.take(torch.zeros(1, 3, BINS, dtype=torch.int64))


def some_head(name: str = "graph", width: int = made.DIM) -> Head:
    head = make_head(name, width, 6, N_CLASSES, 0.0)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return head


def learning(
    network: TrainableBackbone,
    iterations: Sequence[Streams],
    micro_batch: int | None = None,
    graphs: str = "recompute",
    weight_decay: float = 0.0,
    **options: Any,
) -> Learning:
    n_videos = len(iterations[0][0])
    together = micro_batch or n_videos
    return Learning(
        network,
        lambda first: Shown(iterations[first:]),  # type: ignore[arg-type,return-value]
        Processes(),
        schedule=Schedule(0.02, 0.9, weight_decay, len(iterations)),
        part_clips=together * BINS,
        graphs=graphs,  # type: ignore[arg-type]
        n_parts=len(iterations[0]) * -(-n_videos // together),
        **options,
    )


def stacked(head: Head, upstream: Learning, iterations: Sequence[Streams], recipe: AdaptRecipe = RECIPE) -> Stack:
    prior = torch.full((N_CLASSES,), 1 / N_CLASSES)
    objective = new_objective(recipe, Setting(head, prior, lambda: torch.zeros(1, N_CLASSES), 0))
    norms = NORMS if recipe.head == "graph" else tuple(Standardise(*(part.repeat(2) for part in n)) for n in NORMS)
    member = Member(
        head, recipe, 0, "adapt", Listed(upstream, iterations), norms, len(iterations), 1, lambda *_: None,
        objective=objective, upstream=upstream,
    )  # fmt: skip
    return Stack([member])


# ---- by hand: one graph over everything, float32


def pixels_of(videos: list[list[Clip[Any]]]) -> Tensor:
    """What the network takes: mixed, in [-1, 1], halved to 16 pixels, scaled as the architecture says."""
    clips = []
    for clip in itertools.chain(*videos):
        frames = torch.from_numpy(np.stack(clip.frames)).float()
        if clip.background is not None:
            frames = (1 - clip.gamma) * frames + clip.gamma * torch.from_numpy(clip.background).float()
        clips.append(frames.permute(3, 0, 1, 2) / 255)
    halved = F.avg_pool3d(torch.stack(clips), (1, 2, 2))
    mean, std = (torch.tensor(values).view(3, 1, 1, 1) for values in (made.TINY.mean, made.TINY.std))
    return (halved - mean) / std


def features_by_hand(network: nn.Module, videos: list[list[Clip[Any]]]) -> Tensor:
    maps = pixels_of(videos)
    for name in made.PARTS:
        maps = network.get_submodule(name)(maps)
    return maps.mean(dim=(2, 3, 4)).view(len(videos), BINS, made.DIM)


def loss_by_hand(network: nn.Module, head: Head, streams: Streams, labels: Tensor) -> Tensor:
    features = [
        (features_by_hand(network, videos) - NORMS[n % 2].mean) / NORMS[n % 2].std for n, videos in enumerate(streams)
    ]
    numbers = (RECIPE.lambda_bgm, RECIPE.lambda_tpl, RECIPE.pseudo_threshold, RECIPE.temperature)
    return comix_loss(head, *features, labels, SLOW, *numbers, RECIPE.label_smoothing).total


def of_network(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.grad for name, value in network.named_parameters() if value.grad is not None}


def gradients_by_hand(network: nn.Module, head: Head, streams: Streams) -> dict[str, Tensor]:
    network.zero_grad()
    loss_by_hand(network, head, streams, LABELS[0][: len(streams[0])]).backward()  # type: ignore[no-untyped-call]
    return of_network(network)


def by_hand(network: nn.Module, head: Head, iterations: Sequence[Streams], decay: float) -> None:
    """SGD with momentum 0.9 and weight decay, a cosine from 0.02 and 0.05 to zero; in place."""
    velocity: dict[nn.Parameter, Tensor] = {}
    for number, streams in enumerate(iterations):
        loss = loss_by_hand(network, head, streams, LABELS[number])
        cosine = (1 + math.cos(math.pi * number / len(iterations))) / 2
        network.zero_grad()
        head.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for module, lr in ((network, 0.02 * cosine), (head, 0.05 * cosine)):
            for value in module.parameters():
                if value.grad is None:
                    continue
                slope = value.grad + (decay if module is network else 0.0) * value.detach()
                velocity[value] = 0.9 * velocity[value] + slope if value in velocity else slope
                value.data.sub_(lr * velocity[value])
