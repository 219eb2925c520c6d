"""Nearest neighbours across domains, and what they say about the embeddings. Importing it loads no faiss."""

from comix_fast.retrieval.factory import IndexChoice, IndexReport
from comix_fast.retrieval.index import rankings, search
from comix_fast.retrieval.metrics import (
    ClassScore,
    Score,
    Vote,
    average_precision,
    hit_at_k,
    knn_accuracy,
    knn_predict,
    mean_average_precision,
    precision_at_k,
    recall_at_k,
    relevant_counts,
)
from comix_fast.retrieval.neighbours import Embeddings, Neighbour, QueryNeighbours, RetrievalResult, evaluate
from comix_fast.retrieval.vectors import l2_normalise

__all__ = [
    "ClassScore",
    "Embeddings",
    "IndexChoice",
    "IndexReport",
    "Neighbour",
    "QueryNeighbours",
    "RetrievalResult",
    "Score",
    "Vote",
    "average_precision",
    "evaluate",
    "hit_at_k",
    "knn_accuracy",
    "knn_predict",
    "l2_normalise",
    "mean_average_precision",
    "precision_at_k",
    "rankings",
    "recall_at_k",
    "relevant_counts",
    "search",
]
