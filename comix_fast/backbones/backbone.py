"""A frozen network that turns clips into features, and the one call that makes it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from comix_fast.backbones.compiling import CompiledForward, require_compiler
from comix_fast.backbones.network import VideoNetwork
from comix_fast.backbones.precision import Precision, Prepared, prepare
from comix_fast.backbones.registry import CLIP_SIZE, Architecture, architecture_of
from comix_fast.backbones.state import fill
from comix_fast.backbones.weights import KINETICS, RANDOM, LoadedWeights, load_weights
from comix_fast.errors import ComixError, ShapeError, WeightsError

_FORM = "1"
"""Raised when a change of code changes features beyond rounding; part of every cache's key."""


class Backbone(nn.Module):
    """A frozen feature extractor: always in eval mode, no gradients kept.

    Called with clips [B, 3, T, 224, 224], float in [-1, 1], it gives features [B, feature_dim], float32.

    name, feature_dim: as in the registry.
    weights_name: "kinetics400", "random" or the file's name; weights_sha256: digest of what was loaded.
    precision: "fp32" or "bf16", as settled; precision_note: why, where it is not simply what was asked for.
    has_classifier: whether logits() works. warning: a sentence to show and to record, or "".
    compiled: whether torch.compile makes its code, at the first call for each shape.
    """

    def __init__(
        self, architecture: Architecture, weights: LoadedWeights, prepared: Prepared, compiled: bool = False
    ) -> None:
        super().__init__()
        self.network: VideoNetwork = prepared.network
        self.name = architecture.name
        self.feature_dim = architecture.feature_dim
        self.weights_name = weights.name
        self.weights_sha256 = weights.sha256
        self.precision: Precision = prepared.precision
        self.precision_note = prepared.note
        self.has_classifier = weights.fitted.has_classifier
        doubt = prepared.note if prepared.precision == "bf16" else ""
        self.warning = "; ".join(sentence for sentence in (weights.warning, doubt) if sentence)
        self.compiled = compiled
        self._architecture = architecture
        self._compiled_forward = CompiledForward(self.network) if compiled else None
        self.requires_grad_(False)
        self.eval()

    def forward(self, clips: Tensor) -> Tensor:
        """[B, 3, T, 224, 224] float in [-1, 1] -> [B, feature_dim] float32, on the same device.

        Raises ShapeError for another shape or for integers.
        """
        _refuse_other_shapes(clips)
        compute = self._compiled_forward or self.network
        with exactly(clips.device):
            features: Tensor = compute(normalised(clips.float(), self._architecture))
        return features

    def logits(self, features: Tensor) -> Tensor:
        """[B, feature_dim] -> Kinetics-400 logits [B, 400] float32.

        Raises WeightsError where the weights brought no fitting classifier, ShapeError for another shape.
        """
        if not self.has_classifier:
            raise WeightsError(
                f"the weights {self.weights_name} have no classifier of {self._architecture.n_classes} classes",
                hint=f"use --weights {KINETICS} where logits are needed; features need none",
            )
        if features.ndim != 2 or features.shape[1] != self.feature_dim:
            raise ShapeError(f"features are {list(features.shape)}, expected [B, {self.feature_dim}]")
        with exactly(features.device):
            return self.network.classify(features.float())

    def recipe(self) -> dict[str, Any]:
        """What identifies its features, as plain JSON values: the backbone's part of a cache's key.

        A file is known by its sha256 alone, so that renaming it keeps the key.
        """
        recipe = {
            "name": self.name,
            "form": _FORM,
            "weights": self.weights_name if self.weights_name in (KINETICS, RANDOM) else "file",
            "weights_sha256": self.weights_sha256,
            "precision": self.precision,
            "feature_dim": self.feature_dim,
            "input_size": self._architecture.input_size,
            "mean": list(self._architecture.mean),
            "std": list(self._architecture.std),
        }
        # Named only where it is so: the keys of caches made before there was a choice stay what they were.
        return {**recipe, "compiled": True} if self.compiled else recipe

    def train(self, mode: bool = True) -> Self:
        """Stays in eval mode whatever is asked: batch norm is folded, and features must not depend on dropout."""
        return super().train(False)


def _refuse_other_shapes(clips: Tensor) -> None:
    expected = (3, CLIP_SIZE, CLIP_SIZE)
    if clips.ndim != 5 or (clips.shape[1], *clips.shape[3:]) != expected or 0 in clips.shape:
        raise ShapeError(f"clips are {list(clips.shape)}, expected [B, 3, T, {CLIP_SIZE}, {CLIP_SIZE}] with B, T >= 1")
    if not clips.is_floating_point():
        raise ShapeError(f"clips are {clips.dtype}, expected floating point in [-1, 1]")


def normalised(clips: Tensor, architecture: Architecture) -> Tensor:
    """Clips in [-1, 1], resized and scaled as the network was trained. [B, 3, T, 224, 224] -> [B, 3, T, S, S]."""
    size = architecture.input_size
    if size != clips.shape[-1]:
        # Linear along T too, which leaves T as it is; halving H and W this way is the mean of 2x2 pixels.
        clips = F.interpolate(clips, (clips.shape[2], size, size), mode="trilinear", align_corners=False)
    scale = [0.5 / std for std in architecture.std]
    shift = [(0.5 - mean) / std for mean, std in zip(architecture.mean, architecture.std, strict=True)]
    if set(scale) == {1.0} and set(shift) == {0.0}:
        return clips
    return clips * clips.new_tensor(scale).view(3, 1, 1, 1) + clips.new_tensor(shift).view(3, 1, 1, 1)


def exactly(device: torch.device) -> AbstractContextManager[None]:
    """On CUDA: no TF32 under the name of float32, and the same algorithm for the same shape, every time."""
    if device.type != "cuda":
        return nullcontext()
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)


def load_backbone(
    name: str = "i3d",
    weights: str | Path = KINETICS,
    precision: str = "fp32",
    device: str | torch.device = "cpu",
    *,
    check: Tensor | None = None,
    compiled: bool = False,
) -> Backbone:
    """A frozen backbone with its weights, ready on the device.

    name: one of backbone_names(). weights: "kinetics400", "random", or a .safetensors, .pt or .pth file.
    precision: "fp32", "bf16", or "auto": bf16 where the device has units for it and two check clips agree with
        fp32 (cosine >= 0.999), else fp32 with the reason in precision_note.
    check: the first clips that will be looked at, [n, 3, T, 224, 224] float in [-1, 1]: bf16 must agree with fp32 on
        them as well. "bf16" is kept where it does not, with the doubt in precision_note and warning.
    compiled: torch.compile the network. It may round otherwise, so it is named in the recipe.
    Raises WeightsError for an unknown name or precision, and for weights absent, damaged or of another network;
    ShapeError for check clips of another shape; ComixError for a device that is not here, and for compiled where
    torch.compile lacks a compiler.
    """
    architecture = architecture_of(name)
    place = _device(device)
    if compiled:
        require_compiler(place)
    first = None
    if check is not None:
        _refuse_other_shapes(check)
        first = normalised(check.to(place, torch.float32), architecture)
    with torch.device("meta"):
        network = architecture.build()
    loaded = load_weights(network, architecture, weights)
    fill(network, loaded.fitted)
    network.eval().requires_grad_(False)
    with exactly(place):
        prepared = prepare(network, precision, place, architecture.input_size, first)
    return Backbone(architecture, loaded, prepared, compiled)


def _device(device: str | torch.device) -> torch.device:
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was compiled for CUDA
        reason = str(error).strip().split("\n", 1)[0]
        raise ComixError(f"no device {device} here", details=[reason], hint="choose --device cpu") from error
    return place
