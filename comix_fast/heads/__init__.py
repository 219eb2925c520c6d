"""Heads: modules that turn a video's clip features into class logits."""

from comix_fast.heads.dropout import dropout_factors
from comix_fast.heads.temporal_graph import TemporalGraph

__all__ = ["TemporalGraph", "dropout_factors"]
