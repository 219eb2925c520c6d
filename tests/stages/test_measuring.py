"""What a head says of a bank's videos, and how often that is right."""

from __future__ import annotations

import pytest
import torch
from members import Gym

from builders import MakeCache
from comix_fast.cache import FeatureCache
from comix_fast.stages.measuring import accuracy, predict_logits


def test_logits_are_of_the_test_clips_with_dropout_off(make_cache: MakeCache) -> None:
    gym = Gym(FeatureCache(make_cache()))
    bank, norm = gym.banks.target, gym.norms[1]
    head = gym.head(0, dropout=0.9).train()
    logits = predict_logits(head, bank, norm, batch=5)
    assert logits.shape == (18, 3)
    for video in range(18):
        clips = norm(bank.clips.take(bank.bin_first[video]))
        torch.testing.assert_close(logits[video], head.eval()(clips[None])[0].detach(), atol=1e-6, rtol=0)
    assert torch.equal(logits, predict_logits(head, bank, norm, batch=5))
    torch.testing.assert_close(logits, predict_logits(head, bank, norm), atol=1e-6, rtol=0)
    assert all(parameter.grad is None for parameter in head.parameters())


def test_accuracy_counts_labelled_videos_alone() -> None:
    logits = torch.tensor([[2.0, 1.0], [0.0, 1.0], [5.0, 0.0], [0.0, 9.0]])
    assert accuracy(logits, torch.tensor([0, 0, -1, 1])) == pytest.approx(2 / 3)
    assert accuracy(logits, torch.full((4,), -1)) is None
