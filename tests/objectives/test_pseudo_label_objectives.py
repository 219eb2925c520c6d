"""Self-training and AdaMatch against plain loops: who gets a label, which, and what is taught on it."""

from __future__ import annotations

import math

import pytest
import torch
from small_objectives import (
    N_CLASSES,
    N_SOURCE,
    N_TARGET,
    by_video,
    cross_entropy,
    gradients,
    objective_of,
    one_batch,
    rows,
    setting_of,
    some_head,
)
from torch import Tensor

from comix_fast.heads import Head
from comix_fast.objectives import Batch
from comix_fast.objectives.adamatch import MOMENTUM, AdaMatch


def three_views(head: Head, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of the source, of plain target clips, and of the harder view of these."""
    factors = batch.dropped("", N_SOURCE + 2 * N_TARGET)
    assert batch.target is not None
    harder = batch.target if batch.target_mixed is None else batch.target_mixed
    source = by_video(head, batch.source, rows(factors, 0, N_SOURCE))[1]
    weak = by_video(head, batch.target, rows(factors, N_SOURCE, N_TARGET))[1]
    return source, weak, by_video(head, harder, rows(factors, N_SOURCE + N_TARGET, N_TARGET))[1]


def taught_by_loops(labels: list[int | None], strong: Tensor) -> Tensor:
    total = strong.new_zeros(())
    for label, row in zip(labels, strong, strict=True):
        if label is not None:
            total = total - (row[label] - row.logsumexp(dim=0))
    return total / len(strong)


def confident(probabilities: Tensor, threshold: float) -> list[int | None]:
    rows_ = probabilities.detach().tolist()
    return [row.index(max(row)) if max(row) >= threshold else None for row in rows_]


def share(labels: list[int | None]) -> float:
    return sum(label is not None for label in labels) / len(labels)


@pytest.mark.parametrize("mixed", [True, False])
@pytest.mark.parametrize("kind", ["linear", "mlp", "graph"])
def test_confident_videos_are_taught_on_their_harder_view(kind: str, mixed: bool) -> None:
    head = some_head(kind)
    batch = one_batch(head, mixed=mixed, numbers={"pseudo_threshold": 0.6})
    terms = objective_of("self-training", head)(head, batch)
    source, weak, strong = three_views(head, batch)
    labels = confident(torch.softmax(weak, dim=1), 0.6)
    assert 0 < share(labels) < 1
    wanted = taught_by_loops(labels, strong)
    torch.testing.assert_close(terms["cls"], cross_entropy(source, batch.labels, 0.1))
    torch.testing.assert_close(terms["align"], wanted)
    assert terms["confident"].item() == pytest.approx(share(labels))
    # With the labels fixed the loops' gradient knows no other way, so none flows through the labels.
    learnt = dict(head.named_parameters())
    found, by_loops = gradients(terms["align"], learnt), gradients(wanted, learnt)
    assert any(gradient.any() for gradient in found.values())
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, by_loops[name])


def test_nobody_confident_teaches_nothing() -> None:
    head = some_head()
    terms = objective_of("self-training", head)(head, one_batch(head, numbers={"pseudo_threshold": 1.0}))
    assert terms["align"].item() == terms["confident"].item() == 0
    assert torch.equal(terms["total"], terms["cls"])


def test_the_plain_view_is_taught_with_dropout_of_its_own() -> None:
    head = some_head()
    batch = one_batch(head, mixed=False)
    _, weak, strong = three_views(head, batch)
    assert not torch.allclose(weak, strong)


def adamatch_by_loops(
    head: Head, batch: Batch, means: tuple[list[float], list[float]]
) -> tuple[Tensor, list[int | None], Tensor, Tensor]:
    """The source's interpolated logits, the target's labels, its harder view's logits, the plain view's."""
    together, weak, strong = three_views(head, batch)
    alone = by_video(head, batch.source, batch.dropped("alone", N_SOURCE))[1]
    mix = batch.uniform("interpolation", (N_SOURCE, N_CLASSES))
    source = mix * together + (1 - mix) * alone
    sure = sum(torch.softmax(row, dim=0).max().item() for row in source) / N_SOURCE
    aligned = torch.zeros_like(weak)
    for video in range(N_TARGET):
        row = torch.softmax(weak[video], dim=0).tolist()
        scaled = [p * (1e-6 + means[0][c]) / (1e-6 + means[1][c]) for c, p in enumerate(row)]
        for c in range(N_CLASSES):
            aligned[video, c] = scaled[c] / sum(scaled)
    return source, confident(aligned, 0.9 * sure), strong, weak


@pytest.mark.parametrize("mixed", [True, False])
@pytest.mark.parametrize("progress", [0.0, 0.2, 0.8])
@pytest.mark.parametrize("kind", ["linear", "mlp", "graph"])
def test_aligned_labels_above_the_sources_confidence_are_taught(kind: str, progress: float, mixed: bool) -> None:
    head = some_head(kind)
    batch = one_batch(head, seed=3, mixed=mixed, progress=progress)
    adamatch = objective_of("adamatch", head)
    assert isinstance(adamatch, AdaMatch)
    terms = adamatch(head, batch)
    given = setting_of(head)
    running = torch.softmax(given.logits(), dim=1).mean(dim=0)
    source, labels, strong, _ = adamatch_by_loops(head, batch, (given.prior.tolist(), running.tolist()))
    assert 0 < share(labels) < 1
    growth = 0.5 - math.cos(min(math.pi, 2 * math.pi * progress)) / 2
    wanted = growth * taught_by_loops(labels, strong)
    torch.testing.assert_close(terms["cls"], cross_entropy(source, batch.labels, 0.1))
    torch.testing.assert_close(terms["align"], wanted)
    assert terms["confident"].item() == pytest.approx(share(labels))
    assert bool(terms["align"]) is (progress > 0)
    learnt = dict(head.named_parameters())
    found = gradients(terms["total"], learnt)
    by_loops = gradients(cross_entropy(source, batch.labels, 0.1) + 0.7 * wanted, learnt)
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, by_loops[name])


def test_alignment_changes_who_is_labelled_what() -> None:
    head = some_head("linear")
    batch = one_batch(head, seed=3, progress=0.8)
    adamatch = objective_of("adamatch", head)
    before = adamatch(head, batch)["align"].item()
    with torch.no_grad():
        adamatch.source_mean.copy_(torch.tensor([0.01, 0.01, 0.98]))
    source_mean, target_mean = adamatch.source_mean.tolist(), adamatch.target_mean.tolist()
    _, labels, strong, _ = adamatch_by_loops(head, batch, (source_mean, target_mean))
    assert set(labels) <= {2, None}
    after = adamatch(head, batch)["align"].item()
    assert after != pytest.approx(before)
    assert after == pytest.approx(taught_by_loops(labels, strong).item())


def test_running_means_follow_each_batch_once_its_step_is_done() -> None:
    head = some_head()
    adamatch = objective_of("adamatch", head)
    assert isinstance(adamatch, AdaMatch)
    given = setting_of(head)
    means = [given.prior.tolist(), torch.softmax(given.logits(), dim=1).mean(dim=0).tolist()]
    adamatch.after_step(head, one_batch(head))
    assert adamatch.source_mean.tolist() == pytest.approx(means[0])
    places = [mean.data_ptr() for mean in (adamatch.source_mean, adamatch.target_mean)]
    for iteration in range(3):
        batch = one_batch(head, seed=iteration)
        adamatch(head, batch)
        source, _, _, weak = adamatch_by_loops(head, batch, (means[0], means[1]))
        adamatch.after_step(head, batch)
        for domain, logits in enumerate((source, weak)):
            seen = torch.softmax(logits, dim=1).mean(dim=0).tolist()
            means[domain] = [
                MOMENTUM * old + (1 - MOMENTUM) * new for old, new in zip(means[domain], seen, strict=True)
            ]
        assert adamatch.source_mean.tolist() == pytest.approx(means[0])
        assert adamatch.target_mean.tolist() == pytest.approx(means[1])
    assert [mean.data_ptr() for mean in (adamatch.source_mean, adamatch.target_mean)] == places
    assert not adamatch.source_mean.requires_grad
