"""CoMix's objective, one function for cached and computed features alike."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from comix_fast.errors import ShapeError
from comix_fast.heads import TemporalGraph
from comix_fast.losses.contrastive import supervised_contrastive
from comix_fast.losses.pseudo_label import PseudoLabels, pseudo_labels


class LossTerms(NamedTuple):
    """The scalar terms before their weights, their weighted sum, and the pseudo-labels behind tpl (if used)."""

    cls: Tensor
    bgm: Tensor
    tpl: Tensor
    total: Tensor
    pseudo: PseudoLabels | None = None


def classification_loss(logits: Tensor, labels: Tensor, label_smoothing: float = 0.1) -> Tensor:
    """Cross-entropy with label smoothing, the loss of the warm-start (published code)."""
    return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)


def comix_loss(
    head: TemporalGraph,
    source: Tensor,
    target: Tensor,
    source_mixed: Tensor | None,
    target_mixed: Tensor | None,
    labels: Tensor,
    slow_index: Tensor,
    lambda_bgm: float = 0.1,
    lambda_tpl: float = 0.01,
    pseudo_threshold: float = 0.7,
    temperature: float = 0.5,
    label_smoothing: float = 0.1,
) -> LossTerms:
    """CE(source fast) + λ_bgm · temporal contrast of both domains + λ_tpl · target pseudo-labels (CoMix, eq. 1–5).

    source, target: [B, N, in_dim] clip features (the two B may differ); source_mixed, target_mixed: the same
        clips over a background of the other domain, or None for both: then the background term is plain
        temporal contrast (TCL).
    labels: [B] int64, the source's classes; slow_index: [n] int64, the clips of the slow view.
    A term whose λ is 0 is not computed. Dropout acts if the head is in train mode.
    Raises ShapeError if mixed features do not match the plain ones.
    """
    streams = {"source": source, "target": target}
    if lambda_bgm:
        streams |= _mixed_streams(source, target, source_mixed, target_mixed)
    sizes = [len(stream) for stream in streams.values()]
    fast, slow = head.two_speeds(torch.cat(list(streams.values())), slow_index)
    logits = dict(zip(streams, zip(torch.split(fast, sizes), torch.split(slow, sizes), strict=True), strict=True))

    zero = fast.new_zeros(())
    cls = classification_loss(logits["source"][0], labels, label_smoothing)
    bgm = tpl = zero
    if lambda_bgm:
        domains = (("source", "source_mixed"), ("target", "target_mixed"))
        bgm = sum((_same_video(logits, names, temperature) for names in domains), zero)
    pseudo = None
    if lambda_tpl:
        pseudo = pseudo_labels(*logits["target"], threshold=pseudo_threshold)
        tpl = supervised_contrastive(_speeds(logits["target"]), pseudo.label, temperature, keep=pseudo.confident)
    return LossTerms(cls, bgm, tpl, cls + lambda_bgm * bgm + lambda_tpl * tpl, pseudo)


def _mixed_streams(
    source: Tensor, target: Tensor, source_mixed: Tensor | None, target_mixed: Tensor | None
) -> dict[str, Tensor]:
    if source_mixed is None and target_mixed is None:
        return {}
    if source_mixed is None or target_mixed is None:
        raise ShapeError("background mixing needs the mixed clips of both domains, or of neither")
    for name, plain, mixed in (("source", source, source_mixed), ("target", target, target_mixed)):
        if plain.shape != mixed.shape:
            raise ShapeError(f"{name}_mixed {list(mixed.shape)} must have the shape of {name} {list(plain.shape)}")
    return {"source_mixed": source_mixed, "target_mixed": target_mixed}


def _speeds(pair: tuple[Tensor, Tensor]) -> Tensor:
    """Logits of both speeds -> [B, 2, C] class probabilities, the vectors that CoMix contrasts."""
    return torch.softmax(torch.stack(pair, dim=1), dim=2)


def _same_video(logits: dict[str, tuple[Tensor, Tensor]], names: tuple[str, str], temperature: float) -> Tensor:
    """Temporal contrast within one domain: a video's speeds, mixed or not, are positives of each other."""
    views = torch.cat([_speeds(logits[name]) for name in names if name in logits])
    videos = torch.arange(len(logits[names[0]][0]), device=views.device)
    return supervised_contrastive(views, videos.repeat(len(views) // len(videos)), temperature)
