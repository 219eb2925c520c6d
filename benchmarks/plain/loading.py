"""Loading a cache as it is commonly written: video by video through h5py, lists, and one concatenation at the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import torch
from torch import Tensor

BINS, STRIDE = 16, 4


class Loaded(NamedTuple):
    """clips [N, D], mixed [J, V, 16, D] float16; bins: 16 arrays of row numbers a video; mixed_rows [J, V, 16]."""

    clips: Tensor
    bins: list[list[np.ndarray]]
    mixed: Tensor | None
    mixed_rows: Tensor | None


def first_batch(root: Path, mixes: int, batch: int) -> list[Tensor]:
    """Source and target training clips, the target's test clips, statistics of either domain, and one batch of each."""
    lists = json.loads((root / "dataset.json").read_text())
    where = _where(root)
    parts = [("source", "train", mixes), ("target", "train", mixes), ("target", "test", 0)]
    banks = {
        (domain, split): _load(where, [video for video, _ in lists[domain][split]], n_mixes)
        for domain, split, n_mixes in parts
        if lists[domain][split]
    }
    drawn = []
    for domain in ("source", "target"):
        loaded = banks[domain, "train"]
        features = loaded.clips.float()
        mean, std = features.mean(dim=0), features.std(dim=0)
        rows = [int(np.random.choice(part)) for video in range(batch) for part in loaded.bins[video]]
        drawn.append((loaded.clips[torch.tensor(rows)].float() - mean) / std)
        if loaded.mixed is not None:
            drawn.append((loaded.mixed[0, :batch].float() - mean) / std)
    return drawn


def _where(root: Path) -> dict[str, tuple[h5py.File, int]]:
    """Each video's open file and its number there."""
    where = {}
    for path in sorted((root / "shards").glob("*.h5")):
        file = h5py.File(path, "r")
        for row, video in enumerate(file["videos/id"].asstr()[...]):
            where[str(video)] = file, row
    return where


def _load(where: dict[str, tuple[h5py.File, int]], videos: list[str], mixes: int) -> Loaded:
    clips: list[np.ndarray] = []
    bins: list[list[np.ndarray]] = []
    mixed: list[list[np.ndarray]] = [[] for _ in range(mixes)]
    mixed_rows: list[list[np.ndarray]] = [[] for _ in range(mixes)]
    base = 0
    for video in videos:
        features, _ = _video(*where[video], "plain")
        clips.append(features)
        bins.append(np.array_split(np.arange(base, base + len(features)), BINS))
        for draw in range(mixes):
            features_mixed, starts = _video(*where[video], f"bgmix-{draw}")
            mixed[draw].append(features_mixed)
            mixed_rows[draw].append(base + starts // STRIDE)
        base += len(features)
    return Loaded(
        torch.from_numpy(np.concatenate(clips)),
        bins,
        torch.from_numpy(np.stack([np.stack(draw) for draw in mixed])) if mixes else None,
        torch.from_numpy(np.stack([np.stack(draw) for draw in mixed_rows])) if mixes else None,
    )


def _video(file: h5py.File, row: int, view: str) -> tuple[Any, Any]:
    group = file["views"][view]
    first, last = group["offsets"][row], group["offsets"][row + 1]
    return group["features"][first:last], group["starts"][first:last]
