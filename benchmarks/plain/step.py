"""CoMix's step as it is commonly written: the head run once for each of eight inputs, in float32."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from comix_fast.heads import TemporalGraph


class Layer(nn.Module):
    """A graph convolution, product by product."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_in, n_out))
        self.bias = nn.Parameter(torch.empty(n_out))
        self.w_one = nn.Parameter(torch.empty(n_in, n_in))
        self.w_two = nn.Parameter(torch.empty(n_in, n_in))

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, in] -> [B, N, out]."""
        one, two = F.linear(x, self.w_one), F.linear(x, self.w_two)
        affinity = torch.softmax(torch.bmm(one, two.transpose(1, 2)), dim=1)
        return torch.matmul(affinity, torch.matmul(x, self.weight)) + self.bias


class Head(nn.Module):
    """Three layers, ReLU and dropout after the first two, mean over nodes."""

    def __init__(self, n_in: int, n_hidden: int, n_classes: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.gc1, self.gc2, self.gc3 = Layer(n_in, n_hidden), Layer(n_hidden, n_hidden), Layer(n_hidden, n_classes)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, in] -> [B, classes]."""
        x = self.drop(F.relu(self.gc1(x)))
        x = self.drop(F.relu(self.gc2(x)))
        return self.gc3(x).mean(dim=1)


def like(head: TemporalGraph, dropout: float) -> Head:
    """The plain head with the weights of ours."""
    plain = Head(head.in_dim, head.hidden_dim, head.gc3.bias.shape[-1], dropout)
    plain.load_state_dict(head.state_dict())
    return plain


def contrast(first: Tensor, second: Tensor, labels: Tensor, temperature: float = 0.5) -> Tensor:
    """Supervised contrast of two views of the same items, only those kept given."""
    features = torch.cat([first, second])
    same = labels.view(-1, 1).eq(labels.view(1, -1)).float().repeat(2, 2)
    others = 1 - torch.eye(len(features))
    logits = features @ features.T / temperature
    logits = logits - logits.max(dim=1, keepdim=True).values.detach()
    log_p = logits - torch.log((logits.exp() * others).sum(1, keepdim=True))
    positive = same * others
    return -(temperature / 0.07) * ((positive * log_p).sum(1) / positive.sum(1)).mean()


def losses(head: Head, streams: dict[str, Tensor], labels: Tensor, slow: Tensor) -> dict[str, Tensor]:
    """Eight passes of the head, then the three terms and their weighted sum."""
    fast = {name: head(x) for name, x in streams.items()}
    slowly = {name: head(x[:, slow]) for name, x in streams.items()}
    cls = F.cross_entropy(fast["source"], labels, label_smoothing=0.1)
    bgm = torch.zeros(())
    for domain in ("source", "target"):
        pair = (domain, f"{domain}_mixed")
        videos = torch.arange(len(streams[domain])).repeat(2)
        one = torch.cat([fast[name].softmax(1) for name in pair])
        two = torch.cat([slowly[name].softmax(1) for name in pair])
        bgm = bgm + contrast(one, two, videos)
    with torch.no_grad():
        sure, label = ((fast["target"] + slowly["target"]) / 2).softmax(1).max(1)
    kept = sure >= 0.7
    tpl = torch.zeros(())
    if kept.any():
        tpl = contrast(fast["target"].softmax(1)[kept], slowly["target"].softmax(1)[kept], label[kept])
    return {"cls": cls, "bgm": bgm, "tpl": tpl, "total": cls + 0.1 * bgm + 0.01 * tpl}
