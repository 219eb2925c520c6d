"""The published numbers of head, contrast and step, on a GPU and within the CPU's bounds."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from comix_fast.heads import TemporalGraph, dropout_factors
from comix_fast.losses import comix_loss, supervised_contrastive

STREAMS = ("source", "target", "source_mixed", "target_mixed", "labels", "slow_index")
NUMBERS = ("lambda_bgm", "lambda_tpl", "pseudo_threshold", "temperature", "label_smoothing")


def published(golden: Path, name: str, device: torch.device) -> dict[str, Tensor]:
    with np.load(golden / f"{name}.npz", allow_pickle=False) as file:
        return {key: torch.as_tensor(file[key]).to(device) for key in file.files}


def head_of(numbers: dict[str, Tensor], n_classes: int) -> TemporalGraph:
    weights = {name: value for name, value in numbers.items() if name.startswith("weights.")}
    head = TemporalGraph(48, 24, n_classes).eval()
    return head.load_published(weights).to(next(iter(numbers.values())).device)


def test_the_head(golden: Path, gpu: torch.device) -> None:
    numbers = published(golden, "graph_head", gpu)
    x = numbers["x"].requires_grad_()
    logits = head_of(numbers, 7)(x)
    (logits**2).sum().backward()
    torch.testing.assert_close(logits, numbers["logits"], atol=1e-5, rtol=0)
    torch.testing.assert_close(x.grad, numbers["grad_x"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("case", ["0", "1", "2"])
@pytest.mark.parametrize("temperature", [0.5, 0.07])
def test_the_contrast(golden: Path, gpu: torch.device, case: str, temperature: float) -> None:
    numbers = published(golden, "supcon", gpu)
    views, labels = numbers[f"{case}.features"].requires_grad_(), numbers[f"{case}.labels"]
    loss = supervised_contrastive(views, None if labels[0] < 0 else labels, temperature)
    loss.backward()
    torch.testing.assert_close(loss, numbers[f"{case}.T{temperature}.loss"], atol=1e-5, rtol=0, check_dtype=False)
    torch.testing.assert_close(views.grad, numbers[f"{case}.T{temperature}.grad"], atol=1e-4, rtol=0)


def test_the_step(golden: Path, gpu: torch.device) -> None:
    numbers = published(golden, "adapt_step", gpu)
    head = head_of(numbers, len(numbers["weights.gc3.bias"]))
    streams = {name: numbers[name] for name in STREAMS}
    terms = comix_loss(head, **streams, **{name: float(numbers[name]) for name in NUMBERS})
    terms.total.backward()
    for name in ("cls", "bgm", "tpl", "total"):
        assert getattr(terms, name).item() == pytest.approx(float(numbers[f"loss_{name}"]), rel=1e-6, abs=1e-5)
    assert terms.pseudo is not None
    assert torch.equal(terms.pseudo.label, numbers["pseudo_label"])
    assert torch.equal(terms.pseudo.confident, numbers["confident"])
    for name, parameter in head.named_parameters():
        torch.testing.assert_close(parameter.grad, numbers[f"grad.{name}"], atol=1e-4, rtol=0)


def test_dropout_is_decided_by_its_seed(gpu: torch.device) -> None:
    drawn = [dropout_factors((64, 33), 0.25, torch.Generator(gpu).manual_seed(seed)) for seed in (5, 5, 6)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert sorted(set(drawn[0].flatten().tolist())) == [0.0, pytest.approx(4 / 3)]
    assert float((drawn[0] == 0).float().mean()) == pytest.approx(0.25, abs=0.03)


def test_a_step_never_waits_for_the_device(gpu: torch.device) -> None:
    torch.manual_seed(0)
    head = TemporalGraph(32, 16, 5).to(gpu).train()
    streams = [torch.randn(8, 16, 32, device=gpu) for _ in range(4)]
    labels = torch.randint(5, (8,), device=gpu)
    slow = (torch.arange(16) % 2 == 0).to(gpu)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Synchronization debug mode is a prototype")
        torch.cuda.set_sync_debug_mode("error")
        try:
            comix_loss(head, *streams, labels, slow).total.backward()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert all(parameter.grad is not None for parameter in head.parameters())
