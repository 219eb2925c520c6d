"""Nearest neighbours as commonly written: a bare call, no check, no order among equals."""

from __future__ import annotations

import faiss
import numpy as np
import torch

QUERIES = 1000  # at a time


def faiss_flat(queries: np.ndarray, gallery: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """faiss's flat index: add, then search."""
    index = faiss.IndexFlatIP(gallery.shape[1])
    index.add(gallery)
    return index.search(queries, k)


def matmul_topk(queries: np.ndarray, gallery: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """torch's matmul and topk, some queries at a time against the whole gallery."""
    asked, items = torch.from_numpy(queries), torch.from_numpy(gallery)
    found = [(part @ items.T).topk(k) for part in asked.split(QUERIES)]
    return torch.cat([one.values for one in found]).numpy(), torch.cat([one.indices for one in found]).numpy()
