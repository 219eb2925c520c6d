"""Cross-entropy on pseudo-labels by plain loops: hard and soft, some left out, several heads at once."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from comix_fast.errors import ShapeError
from comix_fast.losses.self_training import pseudo_label_loss

B, C = 4, 3
KEEP = torch.tensor([True, False, True, True])
LABELS = torch.tensor([2, 0, 1, 1])


def rolls(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.double, generator=torch.Generator().manual_seed(seed))


def by_loops(logits: Tensor, pseudo: Tensor, keep: Tensor) -> float:
    """Sohn et al., eq. 4, video by video; a class is one-hot."""
    total = 0.0
    for video, row in enumerate(logits.tolist()):
        if not keep[video]:
            continue
        log_sum = math.log(sum(math.exp(z) for z in row))
        shares = (
            pseudo[video].tolist()
            if pseudo.is_floating_point()
            else [float(c == pseudo[video]) for c in range(len(row))]
        )
        total -= sum(share * (z - log_sum) for share, z in zip(shares, row, strict=True))
    return total / len(logits)


def test_equal_odds_cost_ln_c_shared_among_all() -> None:
    loss = pseudo_label_loss(torch.zeros(B, C), LABELS, KEEP)
    assert loss.item() == pytest.approx(3 / 4 * math.log(3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("keep", [KEEP, torch.ones(B, dtype=torch.bool), torch.zeros(B, dtype=torch.bool)])
@pytest.mark.parametrize("soft", [False, True])
def test_drawn_logits_by_plain_loops(soft: bool, keep: Tensor, dtype: torch.dtype) -> None:
    logits, pseudo = 2 * rolls(B, C), rolls(B, C, seed=1).softmax(dim=-1) if soft else LABELS
    loss = pseudo_label_loss(logits.to(dtype), pseudo.to(dtype) if soft else pseudo, keep)
    assert loss.dtype == dtype
    assert loss.item() == pytest.approx(by_loops(logits, pseudo, keep), rel=1e-12 if dtype == torch.float64 else 1e-5)


def test_one_hot_probabilities_are_labels() -> None:
    logits, one_hot = rolls(B, C), torch.eye(C, dtype=torch.double)[LABELS]
    torch.testing.assert_close(pseudo_label_loss(logits, one_hot, KEEP), pseudo_label_loss(logits, LABELS, KEEP))


def test_videos_left_out_have_no_gradient_and_labels_have_none_at_all() -> None:
    logits, teacher = rolls(B, C).requires_grad_(), rolls(B, C, seed=1).requires_grad_()
    pseudo_label_loss(logits, teacher.softmax(dim=-1), KEEP).backward()
    assert teacher.grad is None
    assert logits.grad is not None
    assert not logits.grad[~KEEP].any()
    # What each kept video adds: (p − q) / B.
    expected = (logits.detach().softmax(dim=-1) - teacher.detach().softmax(dim=-1)) / B
    torch.testing.assert_close(logits.grad[KEEP], expected[KEEP])


@pytest.mark.parametrize("soft", [False, True])
def test_losses_of_several_heads_are_a_loop_over_them(soft: bool) -> None:
    logits = rolls(2, 3, B, C)
    draw = torch.Generator().manual_seed(2)
    pseudo = rolls(2, 3, B, C, seed=1).softmax(dim=-1) if soft else torch.randint(C, (2, 3, B), generator=draw)
    keep = torch.rand(2, 3, B, generator=draw) < 0.5
    losses = pseudo_label_loss(logits, pseudo, keep)
    shared = pseudo_label_loss(logits, pseudo[0, 0], keep[0, 0])
    assert losses.shape == shared.shape == (2, 3)
    for i in range(2):
        for j in range(3):
            assert losses[i, j].item() == pytest.approx(by_loops(logits[i, j], pseudo[i, j], keep[i, j]))
            assert shared[i, j].item() == pytest.approx(by_loops(logits[i, j], pseudo[0, 0], keep[0, 0]))


def test_gradients_are_those_of_finite_differences() -> None:
    soft = rolls(2, B, C, seed=1).softmax(dim=-1)
    for pseudo in (soft, soft.argmax(dim=-1)):
        assert torch.autograd.gradcheck(
            lambda z, q=pseudo: pseudo_label_loss(z, q, KEEP), rolls(2, B, C).requires_grad_()
        )


@pytest.mark.parametrize(
    ("logits", "labels", "expected"),
    [
        ([[0.0, 0.0, 0.0]], [1], math.log(3)),
        ([[1.0, 1.0, 1.0]] * 2, [0, 2], math.log(3)),
        ([[1e4, 0.0, -1e4]], [2], 2e4),
    ],
    ids=["one video", "identical rows", "sure and wrong"],
)
def test_degenerate_points_have_finite_gradients(logits: list[list[float]], labels: list[int], expected: float) -> None:
    trained = torch.tensor(logits).requires_grad_()
    loss = pseudo_label_loss(trained, torch.tensor(labels), torch.ones(len(labels), dtype=torch.bool))
    loss.backward()
    assert loss.item() == pytest.approx(expected)
    assert trained.grad is not None
    assert torch.isfinite(trained.grad).all()
    assert trained.grad.any()


def test_shapes_that_do_not_fit_are_named() -> None:
    logits = rolls(2, B, C)
    with pytest.raises(ShapeError, match=r"pseudo must be \[2, 4\] to match logits, not \[3, 4\]"):
        pseudo_label_loss(logits, torch.zeros(3, B, dtype=torch.long), KEEP)
    with pytest.raises(ShapeError, match=r"pseudo must be \[2, 4, 3\] to match logits, not \[3\]"):
        pseudo_label_loss(logits, torch.ones(C), KEEP)
    with pytest.raises(ShapeError, match=r"keep must be \[2, 4\] to match logits, not \[1, 2, 4\]"):
        pseudo_label_loss(logits, LABELS, torch.ones(1, 2, B, dtype=torch.bool))
    with pytest.raises(ShapeError, match=r"keep must be \[2, 4\] to match logits, not \[\]"):
        pseudo_label_loss(logits, LABELS, torch.tensor(True))
    with pytest.raises(ShapeError, match=r"logits must be \[..., B, C\] with B above 0, not \[0, 3\]"):
        pseudo_label_loss(rolls(0, C), LABELS, KEEP)
