"""Small heads, batches as an iteration draws them, and the classical losses in plain loops; all in double precision."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from comix_fast.config import AdaptRecipe
from comix_fast.heads import Dropped, Head, LinearHead, MlpHead, TemporalGraph
from comix_fast.objectives import Batch, Objective, Setting, new_objective

METHODS = ("coral", "mmd", "dann", "mcd", "self-training", "adamatch")
IN_DIM, HIDDEN, N_CLASSES, N_CLIPS, N_SOURCE, N_TARGET = 5, 6, 3, 4, 4, 6
NUMBERS = {
    "lambda_align": 0.7,
    "lambda_bgm": 0.2,
    "lambda_tpl": 0.3,
    "lambda_teacher": 0.4,
    "pseudo_threshold": 0.6,
    "temperature": 0.5,
    "teacher_temperature": 0.4,
    "teacher_momentum": 0.9,
    "label_smoothing": 0.1,
}


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.double, generator=torch.Generator().manual_seed(seed))


def some_head(kind: str = "mlp", seed: int = 0) -> Head:
    """With weights large enough that some of its predictions are confident."""
    head: Head = {
        "linear": lambda: LinearHead(IN_DIM, N_CLASSES),
        "mlp": lambda: MlpHead(IN_DIM, HIDDEN, N_CLASSES),
        "graph": lambda: TemporalGraph(IN_DIM, HIDDEN, N_CLASSES),
    }[kind]()
    with torch.no_grad():
        for number, parameter in enumerate(head.parameters()):
            parameter.copy_(0.8 * drawn(*parameter.shape, seed=1000 * seed + number))
    return head.double().train()


def setting_of(head: Head, seed: int = 0) -> Setting:
    logits = drawn(8, N_CLASSES, seed=50 + seed)
    return Setting(head, torch.tensor([0.5, 0.3, 0.2], dtype=torch.double), lambda: logits, seed)


def objective_of(method: str, head: Head, seed: int = 0) -> Objective:
    recipe = AdaptRecipe(method=method)  # type: ignore[arg-type]
    return new_objective(recipe, setting_of(head, seed)).double().train()


def batches(
    head: Head, count: int, seed: int = 0, mixed: bool = True, progress: float = 0.4, numbers: Mapping[str, object] = {}
) -> Batch:
    """A batch for `count` heads side by side, all shaped as `head`; each has dropout factors and draws of its own."""

    def stream(number: int, n_videos: int) -> Tensor:
        shift = 0.5 * (number % 2)
        return drawn(count, n_videos, N_CLIPS, IN_DIM, seed=100 * seed + number) + shift

    def generator(what: str) -> torch.Generator:
        return torch.Generator().manual_seed(int(hashlib.sha256(f"{seed} {what}".encode()).hexdigest()[:12], 16))

    def dropped(what: str, n_videos: int) -> Dropped:
        shape = head.dropout_shape(n_videos, N_CLIPS)
        if shape is None:
            return None, None
        kept = torch.rand(2, count, *shape, dtype=torch.double, generator=generator(f"dropout {what} {n_videos}")) < 0.7
        return tuple(kept / 0.7)

    def uniform(what: str, shape: Sequence[int]) -> Tensor:
        return torch.rand(count, *shape, dtype=torch.double, generator=generator(what))

    labels = torch.randint(N_CLASSES, (count, N_SOURCE), generator=torch.Generator().manual_seed(seed))
    slow = torch.tensor([[True, False, True, False]] * count)
    streams = [stream(number, n) for number, n in enumerate((N_SOURCE, N_TARGET, N_SOURCE, N_TARGET))]
    mixes = (streams[2], streams[3]) if mixed else (None, None)
    both = NUMBERS | dict(numbers)
    return Batch(streams[0], streams[1], *mixes, labels, slow, progress, both, dropped, uniform)  # type: ignore[arg-type]


def of_head(batch: Batch, number: int) -> Batch:
    """What a batch holds for one of its heads."""

    def own(value: Tensor | None) -> Tensor | None:
        return None if value is None else value[number]

    tensors = ("source", "target", "source_mixed", "target_mixed", "labels", "slow")
    return dataclasses.replace(
        batch,
        **{name: own(getattr(batch, name)) for name in tensors},
        numbers={
            name: float(value[number]) if isinstance(value, Tensor) else value for name, value in batch.numbers.items()
        },
        dropped=lambda what, n: tuple(own(part) for part in batch.dropped(what, n)),
        uniform=lambda what, shape: batch.uniform(what, shape)[number],
    )


def one_batch(head: Head, **asked: object) -> Batch:
    return of_head(batches(head, 1, **asked), 0)  # type: ignore[arg-type]


def rows(dropped: Dropped, first: int, count: int) -> Dropped:
    """The factors of some of the videos of a pass."""
    return tuple(None if part is None else part[first : first + count] for part in dropped)


def by_video(head: Head, x: Tensor, dropped: Dropped) -> tuple[Tensor, Tensor]:
    """Features and logits of each video, put through the head one at a time."""
    features = [head.features(x[n : n + 1], rows(dropped, n, 1)) for n in range(len(x))]
    return torch.cat(features), torch.cat([head.classify(part) for part in features])


def cross_entropy(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """With every class's wanted probability written out."""
    total = logits.new_zeros(())
    for row, label in zip(logits, labels.tolist(), strict=True):
        for c in range(len(row)):
            wanted = (1 - smoothing) * (c == label) + smoothing / len(row)
            total = total - wanted * (row[c] - row.logsumexp(dim=0))
    return total / len(logits)


def gradients(loss: Tensor, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True, retain_graph=True)
    return {
        name: torch.zeros_like(value) if gradient is None else gradient
        for (name, value), gradient in zip(parameters.items(), found, strict=True)
    }
