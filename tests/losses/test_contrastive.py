"""The contrastive loss on points one can sketch, by plain loops, and against the published numbers."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from comix_fast.errors import ShapeError
from comix_fast.losses import supervised_contrastive


def by_loops(
    views: Tensor, labels: list[int], temperature: float, base: float = 0.07, keep: list[bool] | None = None
) -> float:
    """Khosla et al., eq. 2, anchor by anchor and term by term."""
    points = [
        (item, view.tolist())
        for item, item_views in enumerate(views)
        for view in item_views
        if keep is None or keep[item]
    ]
    total, anchors = 0.0, 0
    for i, (item, anchor) in enumerate(points):
        dots = {
            j: sum(a * b for a, b in zip(anchor, other, strict=True)) / temperature
            for j, (_, other) in enumerate(points)
            if j != i
        }
        positives = [j for j in dots if labels[points[j][0]] == labels[item]]
        if not positives:
            continue
        log_sum = math.log(sum(math.exp(dot) for dot in dots.values()))
        total += -sum(dots[j] - log_sum for j in positives) / len(positives)
        anchors += 1
    return temperature / base * total / anchors if anchors else 0.0


def on_circle(*degrees: float) -> Tensor:
    radians = torch.tensor(degrees, dtype=torch.double) * math.pi / 180
    return torch.stack([radians.cos(), radians.sin()], dim=1)


# Three items of two views each: one pair close together, one at right angles, one opposite.
SIX = on_circle(0, 10, 90, 180, 200, 20).reshape(3, 2, 2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("labels", [None, [0, 0, 1], [2, 2, 2], [0, 1, 2]])
@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_six_points_by_plain_loops(dtype: torch.dtype, labels: list[int] | None, temperature: float) -> None:
    views = SIX.to(dtype)
    loss = supervised_contrastive(views, None if labels is None else torch.tensor(labels), temperature)
    assert loss.dtype == dtype
    expected = by_loops(views.double(), labels or [0, 1, 2], temperature)
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 2e-2, torch.bfloat16: 1e-1}[dtype]
    assert loss.item() == pytest.approx(expected, rel=tolerance)


def test_vectors_are_used_as_they_are() -> None:
    assert supervised_contrastive(3 * SIX).item() == pytest.approx(by_loops(3 * SIX, [0, 1, 2], 0.5))
    assert float(supervised_contrastive(3 * SIX)) != pytest.approx(float(supervised_contrastive(SIX)))


@pytest.mark.parametrize("keep", [[True, True, False], [False, True, True], [True, False, False], [False] * 3])
def test_items_left_out_are_as_if_absent(keep: list[bool]) -> None:
    views = SIX.clone().requires_grad_()
    labels = torch.tensor([0, 0, 1])
    loss = supervised_contrastive(views, labels, keep=torch.tensor(keep))
    assert loss.item() == pytest.approx(by_loops(SIX, [0, 0, 1], 0.5, keep=keep))
    loss.backward()
    assert views.grad is not None
    assert torch.isfinite(views.grad).all()
    assert not views.grad[~torch.tensor(keep)].any()


def test_far_apart_vectors_do_not_overflow() -> None:
    views = (1e3 * SIX).float().requires_grad_()
    loss = supervised_contrastive(views)
    loss.backward()
    assert views.grad is not None
    assert torch.isfinite(loss)
    assert torch.isfinite(views.grad).all()


@pytest.mark.parametrize("case", ["0", "1", "2"])
@pytest.mark.parametrize("temperature", [0.5, 0.07])
def test_the_published_numbers(golden: Path, case: str, temperature: float) -> None:
    with np.load(golden / "supcon.npz", allow_pickle=False) as file:
        views = torch.as_tensor(file[f"{case}.features"]).requires_grad_()
        labels = torch.as_tensor(file[f"{case}.labels"])
        loss, grad = float(file[f"{case}.T{temperature}.loss"]), torch.as_tensor(file[f"{case}.T{temperature}.grad"])
    ours = supervised_contrastive(views, None if labels[0] < 0 else labels, temperature)
    ours.backward()
    assert ours.item() == pytest.approx(loss, abs=1e-5)
    torch.testing.assert_close(views.grad, grad, atol=1e-4, rtol=0)


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ShapeError, match=r"views must be \[B, V, D\], not \[6, 2\]"):
        supervised_contrastive(SIX.reshape(6, 2))
    with pytest.raises(ShapeError, match=r"labels must be \[3\].*not \[2\]"):
        supervised_contrastive(SIX, torch.tensor([0, 1]))
    with pytest.raises(ShapeError, match=r"keep must be \[3\].*not \[6\]"):
        supervised_contrastive(SIX, keep=torch.ones(6, dtype=torch.bool))
