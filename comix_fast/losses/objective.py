"""CoMix's objective, one function for cached and computed features alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from comix_fast.errors import ShapeError
from comix_fast.heads import Head
from comix_fast.losses.contrastive import Number, supervised_contrastive
from comix_fast.losses.pseudo_label import PseudoLabels, pseudo_labels


class LossTerms(NamedTuple):
    """The scalar terms before their weights, their weighted sum, and the pseudo-labels behind tpl (if used)."""

    cls: Tensor
    bgm: Tensor
    tpl: Tensor
    total: Tensor
    pseudo: PseudoLabels | None = None


def classification_loss(logits: Tensor, labels: Tensor, label_smoothing: Number = 0.1) -> Tensor:
    """Cross-entropy with label smoothing, the loss of the warm-start (published code).

    logits [B, C], labels [B] int64 -> scalar; axes in front of both are losses of their own, [...].
    """
    log_p = torch.log_softmax(logits, dim=-1)
    hit = log_p.gather(-1, labels[..., None]).squeeze(-1).mean(dim=-1)
    # Smoothing by ε spreads ε of the wanted probability evenly over all classes.
    return -((1 - label_smoothing) * hit + label_smoothing * log_p.mean(dim=(-2, -1)))


def comix_loss(
    head: Head,
    source: Tensor,
    target: Tensor,
    source_mixed: Tensor | None,
    target_mixed: Tensor | None,
    labels: Tensor,
    slow_index: Tensor,
    lambda_bgm: Number = 0.1,
    lambda_tpl: Number = 0.01,
    pseudo_threshold: Number = 0.7,
    temperature: Number = 0.5,
    label_smoothing: Number = 0.1,
    *,
    dropped: Sequence[Tensor | None] = (None, None),
) -> LossTerms:
    """CE(source fast) + λ_bgm · temporal contrast of both domains + λ_tpl · target pseudo-labels (CoMix, eq. 1–5).

    source, target: [B, N, in_dim] clip features (the two B may differ); source_mixed, target_mixed: the same
        clips over a background of the other domain, or None for both: then the background term is plain
        temporal contrast (TCL).
    labels: [B] int64, the source's classes; slow_index: [n] int64, the clips of the slow view, or [N] bool.
    dropped: the head's dropout factors, see Head.two_speeds; the streams' order is source, target, mixed
        source, mixed target. None: drawn, if the head is in train mode.
    R heads side by side (head.n_heads): every tensor has R in front, every number may be [R], every term is [R].
    A term whose λ is the number 0 is not computed.
    Raises ShapeError if mixed features do not match the plain ones.
    """
    with_bgm, with_tpl = (isinstance(weight, Tensor) or weight != 0 for weight in (lambda_bgm, lambda_tpl))
    streams = {"source": source, "target": target}
    if with_bgm:
        streams |= _mixed_streams(source, target, source_mixed, target_mixed)
    sizes = [stream.shape[-3] for stream in streams.values()]
    speeds = head.two_speeds(torch.cat(list(streams.values()), dim=-3), slow_index, dropped)
    fast, slow = (torch.split(logits, sizes, dim=-2) for logits in speeds)
    logits = dict(zip(streams, zip(fast, slow, strict=True), strict=True))

    cls = classification_loss(logits["source"][0], labels, label_smoothing)
    bgm = tpl = torch.zeros_like(cls)
    if with_bgm:
        bgm = _temporal_contrast(logits, temperature)
    pseudo = None
    if with_tpl:
        pseudo = pseudo_labels(*logits["target"], pseudo_threshold)
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
    return torch.softmax(torch.stack(pair, dim=-2), dim=-1)


def _temporal_contrast(logits: dict[str, tuple[Tensor, Tensor]], temperature: Number) -> Tensor:
    """Within each domain: a video's speeds, mixed or not, are positives of each other. The two domains' sum."""
    views = [
        torch.cat([_speeds(logits[name]) for name in names if name in logits], dim=-3)
        for names in (("source", "source_mixed"), ("target", "target_mixed"))
    ]
    videos = [torch.arange(logits[name][0].shape[-2], device=views[0].device) for name in ("source", "target")]
    videos = [of.repeat(view.shape[-3] // len(of)) for of, view in zip(videos, views, strict=True)]
    if views[0].shape == views[1].shape:
        # Both domains in one call: half as many operations, and small ones cost more to start than to do.
        both = supervised_contrastive(torch.stack(views), videos[0], temperature)
        return both.sum(dim=0)
    return sum(
        (supervised_contrastive(view, of, temperature) for view, of in zip(views, videos, strict=True)),
        torch.zeros(()),
    )
