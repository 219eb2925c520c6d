"""Everything between the clips of a video and its class, as one module."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from comix_fast.heads import Head
from comix_fast.stages.bank import Standardise
from comix_fast.stages.pooling import temporal_statistics


class VideoClassifier(nn.Module):
    """Clips to features, standardised, to statistics over time where the head takes these, to logits.

    network: [n, 3, T, S, S] float32 clips in [-1, 1] -> [n, D] features, in eval mode. norm: of the domain that videos
    are from, the target's as a rule, over what the head takes: D features, or their statistics. statistics: names as
    comix_fast.stages.pooling has them, empty for heads on clips.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, norm: Standardise, statistics: Sequence[str], head: Head) -> None:
        super().__init__()
        self.network, self.head, self.statistics = network, head, tuple(statistics)
        self.register_buffer("mean", norm.mean)
        self.register_buffer("std", norm.std)
        self.eval()

    def classify(self, features: Tensor) -> Tensor:
        """[B, N, D] features of N clips of each video, in temporal order -> [B, C] logits, float32."""
        if self.statistics:
            features = temporal_statistics(features.float(), self.statistics).unsqueeze(-2)
        norm = Standardise(self.mean, self.std)
        logits: Tensor = self.head(norm(features))
        return logits.float()

    def forward(self, clips: Tensor) -> Tensor:
        """[B, N, 3, T, S, S] float32 in [-1, 1] -> [B, C] logits, float32."""
        n_videos, n_clips = clips.shape[:2]
        features: Tensor = self.network(clips.flatten(0, 1))
        return self.classify(features.view(n_videos, n_clips, -1))

    def train(self, mode: bool = True) -> VideoClassifier:
        """Stays in eval mode: dropout and batch statistics have no place in an answer."""
        return super().train(False)
