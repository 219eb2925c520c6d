"""Heads: from the clip features of a video to the logits of its classes."""

from comix_fast.heads.temporal_graph import TemporalGraph

__all__ = ["TemporalGraph"]
