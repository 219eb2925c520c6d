"""Heads: modules that turn a video's clip features, or statistics of them, into class logits."""

from comix_fast.heads.dropout import dropout_factors
from comix_fast.heads.head import UNDECIDED, Dropped, Head, Precision
from comix_fast.heads.pooled import LinearHead, MlpHead
from comix_fast.heads.side_by_side import SideBySide
from comix_fast.heads.temporal_graph import TemporalGraph

__all__ = [
    "UNDECIDED",
    "Dropped",
    "Head",
    "LinearHead",
    "MlpHead",
    "Precision",
    "SideBySide",
    "TemporalGraph",
    "dropout_factors",
    "make_head",
]


def make_head(
    name: str, in_dim: int, hidden_dim: int, n_classes: int, dropout: float = 0.1, precision: Precision = "fp32"
) -> Head:
    """A single head by the name that recipes use: "linear", "mlp" or "graph". Raises KeyError on another."""
    if name == "linear":
        return LinearHead(in_dim, n_classes)
    if name == "mlp":
        return MlpHead(in_dim, hidden_dim, n_classes, dropout)
    if name == "graph":
        return TemporalGraph(in_dim, hidden_dim, n_classes, dropout, precision)
    raise KeyError(name)
