"""The whole objective: the published step, its parts switched off one by one, pseudo-labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from comix_fast.errors import ShapeError
from comix_fast.heads import TemporalGraph
from comix_fast.losses import comix_loss, pseudo_labels, supervised_contrastive

STREAMS = ("source", "target", "source_mixed", "target_mixed", "labels", "slow_index")
NUMBERS = ("lambda_bgm", "lambda_tpl", "pseudo_threshold", "temperature", "label_smoothing")


@pytest.fixture
def step(golden: Path) -> tuple[TemporalGraph, dict[str, Tensor], dict[str, Any]]:
    """The head, the inputs and all other content of the published step."""
    with np.load(golden / "adapt_step.npz", allow_pickle=False) as file:
        content = {name: file[name] for name in file.files}
    head = TemporalGraph(48, 24, content["weights.gc3.bias"].shape[0]).eval()
    head.load_published({name: torch.as_tensor(v) for name, v in content.items() if name.startswith("weights.")})
    return head, {name: torch.as_tensor(content[name]) for name in STREAMS}, content


def numbers(content: dict[str, Any]) -> dict[str, float]:
    return {name: float(content[name]) for name in NUMBERS}


def test_the_published_step(step: Any) -> None:
    head, inputs, content = step
    terms = comix_loss(head, **inputs, **numbers(content))
    terms.total.backward()
    for name in ("cls", "bgm", "tpl", "total"):
        # The published numbers are float32: 1e-5 relative is a few units in the last place of the largest.
        assert getattr(terms, name).item() == pytest.approx(float(content[f"loss_{name}"]), rel=1e-6, abs=1e-5)
    assert terms.pseudo is not None
    assert terms.pseudo.label.tolist() == content["pseudo_label"].tolist()
    assert terms.pseudo.confident.tolist() == content["confident"].tolist()
    for name, parameter in head.named_parameters():
        torch.testing.assert_close(parameter.grad, torch.as_tensor(content[f"grad.{name}"]), atol=1e-4, rtol=0)


def contrast(head: TemporalGraph, parts: list[Tensor], slow_index: Tensor) -> Tensor:
    """Background term of one domain, pass by pass: a video's views, mixed or not, are positives."""
    views = torch.cat([torch.stack([head(x).softmax(1), head(x[:, slow_index]).softmax(1)], 1) for x in parts])
    return supervised_contrastive(views, torch.arange(len(parts[0])).repeat(len(parts)))


def test_eight_separate_passes_give_the_same(step: Any) -> None:
    head, inputs, content = step
    given = numbers(content)
    terms = comix_loss(head, **inputs, **given)
    slow = inputs["slow_index"]
    cls = F.cross_entropy(head(inputs["source"]), inputs["labels"], label_smoothing=given["label_smoothing"])
    bgm = sum(contrast(head, [inputs[n], inputs[f"{n}_mixed"]], slow) for n in ("source", "target"))
    fast_logits, slow_logits = head(inputs["target"]), head(inputs["target"][:, slow])
    label, confident = pseudo_labels(fast_logits, slow_logits, given["pseudo_threshold"])
    views = torch.stack([fast_logits.softmax(1), slow_logits.softmax(1)], 1)
    tpl = supervised_contrastive(views[confident], label[confident])
    torch.testing.assert_close(terms.cls, cls)
    torch.testing.assert_close(terms.bgm, bgm)
    torch.testing.assert_close(terms.tpl, tpl)


def test_without_mixing_the_background_term_is_temporal_contrast(step: Any) -> None:
    head, inputs, content = step
    inputs |= {"source_mixed": None, "target_mixed": None}
    terms = comix_loss(head, **inputs, **numbers(content))
    expected = sum(contrast(head, [inputs[name]], inputs["slow_index"]) for name in ("source", "target"))
    torch.testing.assert_close(terms.bgm, expected)


@pytest.mark.parametrize(("off", "term"), [("lambda_bgm", "bgm"), ("lambda_tpl", "tpl")])
def test_a_zero_weight_leaves_a_term_out(step: Any, off: str, term: str) -> None:
    head, inputs, content = step
    given = numbers(content) | {off: 0.0}
    terms = comix_loss(head, **inputs, **given)
    assert getattr(terms, term).item() == 0.0
    weighted = terms.cls + given["lambda_bgm"] * terms.bgm + given["lambda_tpl"] * terms.tpl
    torch.testing.assert_close(terms.total, weighted)


def test_domains_may_have_batches_of_different_sizes(step: Any) -> None:
    head, inputs, content = step
    smaller = inputs | {name: inputs[name][:4] for name in ("target", "target_mixed")}
    whole, cut = comix_loss(head, **inputs, **numbers(content)), comix_loss(head, **smaller, **numbers(content))
    torch.testing.assert_close(whole.cls, cut.cls)
    assert cut.pseudo is not None
    assert cut.pseudo.label.shape == (4,)


def test_pseudo_labels_are_used_from_the_threshold_on() -> None:
    fast = torch.log(torch.tensor([[0.7, 0.3], [0.69, 0.31], [0.1, 0.9]], dtype=torch.double))
    label, confident = pseudo_labels(fast, fast, threshold=0.7 - 1e-12)
    assert label.tolist() == [0, 0, 1]
    assert confident.tolist() == [True, False, True]
    # The mean is of logits, not of probabilities: opposite opinions cancel.
    assert pseudo_labels(fast, fast.flip(1), 0.51).confident.tolist() == [False, False, False]


def test_mixed_clips_of_one_domain_alone_are_refused(step: Any) -> None:
    head, inputs, content = step
    with pytest.raises(ShapeError, match="both domains"):
        comix_loss(head, **(inputs | {"target_mixed": None}), **numbers(content))
    with pytest.raises(ShapeError, match=r"source_mixed \[5, 16, 48\]"):
        comix_loss(head, **(inputs | {"source_mixed": inputs["source_mixed"][:5]}), **numbers(content))
