"""The parts of a model that can be exported: modules of one input, its names and its sizes."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from comix_fast.backbones import Backbone, load_backbone
from comix_fast.backbones.registry import CLIP_SIZE
from comix_fast.serving.classifier import VideoClassifier
from comix_fast.serving.model import AdaptedModel
from comix_fast.stages.bank import Standardise

PartName = Literal["all", "backbone", "head"]

FEWEST_CLIPS = 3
"""Of a head on statistics over time. Tracers treat sizes of 0 and 1 apart, and there are changes between n - 1 pairs of
clips; videos have 16 clips or more unless their plan has fewer bins."""
_PROBE_SEED = 20211206


class Answers(nn.Module):
    """What VideoClassifier gives of clips or, as a head alone, of features: logits and probabilities."""

    def __init__(self, classifier: VideoClassifier, takes_features: bool) -> None:
        super().__init__()
        self.classifier, self.takes_features = classifier, takes_features

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, N, 3, T, S, S] clips or [B, N, D] features -> [B, C] logits, [B, C] probabilities."""
        logits = self.classifier.classify(x) if self.takes_features else self.classifier(x)
        return logits, logits.softmax(dim=-1)


class Features(nn.Module):
    """A backbone; a tuple of one output, like the other parts."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """[B, 3, T, S, S] clips -> ([B, D] features,)."""
        return (self.backbone(x),)


@dataclass(frozen=True)
class Part:
    """A part of a model, in float32 on the CPU, ready to be traced.

    sizes: of the input, a name where a size is free. takes: the input's name, "clips" or "features". gives: names of
    the outputs. centre, spread: [D] of features that are like a domain's, for trying the part out.
    """

    name: PartName
    module: nn.Module
    takes: str
    sizes: tuple[int | str, ...]
    gives: tuple[str, ...]
    centre: Tensor
    spread: Tensor

    @property
    def free(self) -> dict[int, str]:
        """The axes whose sizes are free, and their names."""
        return {axis: size for axis, size in enumerate(self.sizes) if isinstance(size, str)}

    def probe(self, n_videos: int, n_clips: int = FEWEST_CLIPS) -> Tensor:
        """A fixed random input: clips uniform in [-1, 1], features around the domain's mean. n_clips: where free."""
        chosen = {"batch": n_videos, "clips": n_clips}
        shape = [chosen[size] if isinstance(size, str) else size for size in self.sizes]
        generator = torch.Generator().manual_seed(_PROBE_SEED)
        if self.takes == "features":
            return torch.randn(shape, generator=generator) * self.spread + self.centre
        return torch.rand(shape, generator=generator).mul_(2).sub_(1)


def part_of(model: AdaptedModel, name: PartName, weights: str | Path | None = None) -> Part:
    """A part of a model, in float32 whatever the run computes in; the model stays as it is.

    weights: as they were given to comix_fast.serving.model.load. Heads on statistics take any number of clips from
    FEWEST_CLIPS on, graph heads as many as their run tests on.
    """
    classifier, clips = model.classifier, model.run.features["clips"]
    n_clips: int | str = "clips" if classifier.statistics else int(clips["bins"])
    dim = model.backbone.feature_dim
    pixels = (3, int(clips["length"]), CLIP_SIZE, CLIP_SIZE)
    # The first D of what the norm is over are the features, or the first of their statistics.
    like = {"centre": classifier.mean[:dim].cpu(), "spread": classifier.std[:dim].cpu()}
    answers = ("logits", "probabilities")
    if name == "head":
        module = Answers(_in_float32(classifier, nn.Identity()), takes_features=True)
        return Part(name, module, "features", ("batch", n_clips, dim), answers, **like)
    backbone = _float32_backbone(model, weights)
    if name == "backbone":
        return Part(name, Features(backbone), "clips", ("batch", *pixels), ("features",), **like)
    module = Answers(_in_float32(classifier, backbone), takes_features=False)
    return Part(name, module, "clips", ("batch", n_clips, *pixels), answers, **like)


def _in_float32(classifier: VideoClassifier, network: nn.Module) -> VideoClassifier:
    """The classifier over another network, its head's products in float32."""
    head = copy.deepcopy(classifier.head).cpu()
    head.precision = "fp32"
    norm = Standardise(classifier.mean, classifier.std).to("cpu")
    return VideoClassifier(network, norm, classifier.statistics, head)


def _float32_backbone(model: AdaptedModel, weights: str | Path | None) -> Backbone:
    """The backbone on the CPU without its classifier; read again where the model has it rounded to bfloat16."""
    backbone = model.backbone
    if backbone.precision == "fp32":
        backbone = copy.deepcopy(backbone).cpu()
    else:
        own = model.run.seed(model.seed).backbone_path(model.head)
        given = own if own.exists() else weights or model.run.features["backbone"]["weights"]
        backbone = load_backbone(backbone.name, given, "fp32", "cpu")
    setattr(backbone.network, backbone.network.classifier_name, nn.Identity())
    return backbone
