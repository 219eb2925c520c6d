"""One step, one loop, one seed: used for the warm-start, the adaptation and the supervised bound alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from comix_fast.config import AdaptRecipe
from comix_fast.errors import RunError
from comix_fast.heads import TemporalGraph
from comix_fast.losses import LossTerms, classification_loss, comix_loss
from comix_fast.stages.bank import Banks, FeatureBank, Standardise
from comix_fast.stages.sampling import BatchOrder, derived_seed, draw_slow_index, generator_for

Loss = Callable[[int], LossTerms]


class Progressed(NamedTuple):
    """State after an iteration: how many are done, and the mean of each loss term since the last report."""

    iteration: int
    losses: dict[str, float]


def new_optimiser(head: TemporalGraph, recipe: AdaptRecipe) -> torch.optim.SGD:
    """SGD with momentum, as published; fused, since a plain update is a third of the step's time."""
    return torch.optim.SGD(
        head.parameters(),
        lr=recipe.lr,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        fused=True,
    )


def cosine_lr(base: float, iteration: int, iterations: int) -> float:
    """From base to zero along half a cosine (published code)."""
    return base * (1 + math.cos(math.pi * iteration / iterations)) / 2


def training_step(optimiser: torch.optim.Optimizer, loss: Callable[[], LossTerms], lr: float) -> LossTerms:
    """One update of the weights."""
    for group in optimiser.param_groups:
        group["lr"] = lr
    optimiser.zero_grad(set_to_none=True)
    terms = loss()
    terms.total.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    return terms


def train(
    head: TemporalGraph,
    optimiser: torch.optim.Optimizer,
    loss: Loss,
    *,
    seed: int,
    phase: str,
    begin: int,
    iterations: int,
    lr: float,
    report_every: int,
) -> Iterator[Progressed]:
    """Iterations begin … iterations − 1; yields every report_every of them and after the last.

    All randomness of an iteration, dropout included, is decided by (seed, phase, iteration). The caller's random
    state is untouched between yields.
    """
    sums: dict[str, Tensor] = {}
    since = 0
    for iteration in range(begin, iterations):
        head.train()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(seed, phase, "dropout", iteration))
            terms = training_step(optimiser, partial(loss, iteration), cosine_lr(lr, iteration, iterations))
        since += 1
        for name, value in _logged(terms).items():
            sums[name] = sums.get(name, value.new_zeros(())) + value
        done = iteration + 1
        if done % report_every == 0 or done == iterations:
            means = {name: float(value) / since for name, value in sums.items()}
            if not all(math.isfinite(value) for value in means.values()):
                raise RunError(
                    f"the loss is not finite after {done:,} iterations of {phase} (seed {seed}): {means}",
                    hint="try a lower --lr or smaller λs, or --feature-norm domain",
                )
            yield Progressed(done, means)
            sums, since = {}, 0


def _logged(terms: LossTerms) -> dict[str, Tensor]:
    values = {name: getattr(terms, name).detach() for name in ("cls", "bgm", "tpl", "total")}
    if terms.pseudo is not None:
        values["confident"] = terms.pseudo.confident.float().mean()
    return values


def supervised_loss(
    head: TemporalGraph, bank: FeatureBank, norm: Standardise, recipe: AdaptRecipe, seed: int, phase: str
) -> Loss:
    """Cross-entropy on a labelled bank, one random candidate per bin: the warm-start's loss."""
    order = BatchOrder(len(bank.ids), recipe.batch_size, seed, phase)

    def loss(iteration: int) -> LossTerms:
        videos = order.batch(iteration)
        clips = norm(bank.draw(videos, generator_for(seed, phase, iteration)))
        cls = classification_loss(head(clips), bank.labels[videos], recipe.label_smoothing)
        zero = torch.zeros(())
        return LossTerms(cls, zero, zero, cls)

    return loss


def adaptation_loss(
    head: TemporalGraph, banks: Banks, norms: tuple[Standardise, Standardise], recipe: AdaptRecipe, seed: int
) -> Loss:
    """CoMix's loss on a batch of each domain. No label of the target is read."""
    orders = [
        BatchOrder(len(bank.ids), recipe.batch_size, seed, f"adapt {name}")
        for bank, name in ((banks.source, "source"), (banks.target, "target"))
    ]
    mixing = recipe.mixing and recipe.lambda_bgm > 0

    def loss(iteration: int) -> LossTerms:
        generator = generator_for(seed, "adapt", iteration)
        slow_index = draw_slow_index(banks.source.n_bins, generator)
        videos = [order.batch(iteration) for order in orders]
        plain: list[Tensor] = []
        mixed: list[Tensor | None] = []
        for bank, picked, norm in zip((banks.source, banks.target), videos, norms, strict=True):
            if mixing:
                clips, mixed_clips = bank.draw_mixed(picked, generator)
                mixed.append(norm(mixed_clips))
            else:
                clips = bank.draw(picked, generator)
                mixed.append(None)
            plain.append(norm(clips))
        return comix_loss(
            head,
            plain[0],
            plain[1],
            mixed[0],
            mixed[1],
            banks.source.labels[videos[0]],
            slow_index,
            lambda_bgm=recipe.lambda_bgm,
            lambda_tpl=recipe.lambda_tpl,
            pseudo_threshold=recipe.pseudo_threshold,
            temperature=recipe.temperature,
            label_smoothing=recipe.label_smoothing,
        )

    return loss


@torch.inference_mode()
def predict_logits(head: TemporalGraph, bank: FeatureBank, norm: Standardise, batch: int = 128) -> Tensor:
    """[V, C] logits of a bank's videos on their test clips, dropout off."""
    head.eval()
    clips = bank.clips
    return torch.cat([head(norm(clips[rows])) for rows in torch.split(bank.bin_first, batch)])


def accuracy(logits: Tensor, labels: Tensor) -> float | None:
    """Share of labelled videos whose likeliest class is their label, in [0, 1]; None if none is labelled."""
    labelled = labels >= 0
    if not bool(labelled.any()):
        return None
    return float((logits.argmax(dim=1) == labels)[labelled].double().mean())
