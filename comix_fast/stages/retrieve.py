"""Nearest neighbours across domains, of raw features and of heads before and after adaptation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from comix_fast.cache.reader import FeatureCache
from comix_fast.config import digest
from comix_fast.errors import ComixError, RunError
from comix_fast.files import write_json
from comix_fast.heads import Head
from comix_fast.retrieval import Embeddings, IndexChoice, RetrievalResult, evaluate
from comix_fast.stages.bank import Banks, FeatureBank, Standardise, load_banks
from comix_fast.stages.belonging import HEADS, heads_on
from comix_fast.stages.runs import RunFolder
from comix_fast.stages.seen import Seen

BACKBONE = "backbone"
DEFAULT_K = 5
DOMAINS = ("source", "target")


@dataclass(frozen=True)
class Retrieved:
    """One result per space: "backbone", and of a run the heads "source-only", "last" and "selected"."""

    query: str
    gallery: str
    names: dict[str, str]
    classes: tuple[str, ...]
    spaces: dict[str, RetrievalResult]
    json: Path
    transductive: bool


def run(
    cache: FeatureCache,
    out: Path,
    *,
    query: str = "target",
    gallery: str = "source",
    k: int | None = None,
    from_run: RunFolder | None = None,
    seed: int | None = None,
    index: IndexChoice | None = None,
) -> Retrieved:
    """Searches each query video's k nearest gallery videos by cosine similarity, and writes it all to `out`.

    k: None takes 5, or as many as the gallery has.
    query, gallery: "source" or "target". The target's videos are those that it is measured on, the source's its
    training videos; equal ones leave each video out of its own neighbours. from_run, seed: whose heads.
    index: what proposes the neighbours, the same for every space; None: the exact search.
    Raises RunError if the run belongs to another cache, ComixError for vectors that are not finite and for an
    index that does not suit the gallery.
    """
    if from_run is not None and seed is None:
        seed = from_run.recipe.seed
    for name in (query, gallery):
        if name not in DOMAINS:
            raise ComixError(f"there is no domain {name!r}", hint="--query and --gallery take source or target")
    reverse = from_run is not None and from_run.recipe.reverse
    banks = load_banks(cache, mixed=False, reverse=reverse)
    if k is None:
        n_items = len(searched(banks)[gallery].ids) - (query == gallery)
        k = max(1, min(DEFAULT_K, n_items))
    spaces = {BACKBONE: backbone_space(banks)}
    if from_run is not None:
        spaces |= head_spaces(cache, banks, from_run, from_run.recipe.seed if seed is None else seed)
    results = {
        space: evaluate(vectors[query], vectors[gallery], k, same_set=query == gallery, index=index)
        for space, vectors in spaces.items()
    }
    names = dict(zip(DOMAINS, banks.names, strict=True))
    retrieved = Retrieved(query, gallery, names, cache.classes, results, out, banks.transductive)
    write_json(out, to_json(retrieved, from_run, seed))
    return retrieved


def to_json(retrieved: Retrieved, from_run: RunFolder | None, seed: int | None) -> dict[str, Any]:
    """The JSON beside the table."""
    return {
        "query": {"role": retrieved.query, "domain": retrieved.names[retrieved.query]},
        "gallery": {"role": retrieved.gallery, "domain": retrieved.names[retrieved.gallery]},
        "classes": list(retrieved.classes),
        "transductive": retrieved.transductive,
        "run": None if from_run is None else str(from_run.root),
        "seed": seed,
        "spaces": {name: result.to_json() for name, result in retrieved.spaces.items()},
    }


def backbone_space(banks: Banks) -> dict[str, Embeddings]:
    """The features as the backbone gives them, the mean over a video's clips: "source" and "target" as in `run`."""
    return {name: _embeddings(bank, mean_features(bank)) for name, bank in searched(banks).items()}


def searched(banks: Banks) -> dict[str, FeatureBank]:
    """Which videos stand for the domains: the source's training videos, and those that the target is measured on."""
    return {"source": banks.source, "target": banks.measured}


def _embeddings(bank: FeatureBank, vectors: Tensor) -> Embeddings:
    array: NDArray[np.float32] = vectors.numpy()
    return Embeddings(bank.ids, array, bank.labels.numpy())


def mean_features(bank: FeatureBank) -> Tensor:
    """[V, D] float32: the mean of every video's candidate clips, as the backbone gave them."""
    first, count = bank.bin_first[:, 0].tolist(), bank.bin_size.sum(dim=1).tolist()
    return torch.stack([bank.clips.read(f, f + n).float().mean(dim=0) for f, n in zip(first, count, strict=True)])


@torch.inference_mode()
def hidden_means(head: Head, bank: FeatureBank, norm: Standardise, batch: int = 128) -> Tensor:
    """[V, E] float32: the head's embedding of every video's test clips, see Head.hidden."""
    head.eval()
    return torch.cat([head.hidden(norm(bank.clips.take(rows))) for rows in torch.split(bank.bin_first, batch)])


def head_spaces(cache: FeatureCache, banks: Banks, run: RunFolder, seed: int) -> dict[str, dict[str, Embeddings]]:
    """What each of a seed's heads makes of the features: head -> "source" and "target", as backbone_space.

    Raises RunError as fitting_heads does.
    """
    heads = fitting_heads(cache, banks, run, seed)
    norms, seen = run.load_norms(), Seen(banks).banks(run.recipe)
    return {name: head_space(run.load_head(seed, name), seen, norms) for name in heads}


def head_space(head: Head, banks: Banks, norms: Mapping[str, Standardise]) -> dict[str, Embeddings]:
    """One head's embeddings. banks: as its recipe sees them, see Seen; norms: of "source" and "target"."""
    return {
        domain: _embeddings(bank, hidden_means(head, bank, norms[domain])) for domain, bank in searched(banks).items()
    }


def fitting_heads(cache: FeatureCache, banks: Banks, run: RunFolder, seed: int) -> list[str]:
    """The heads of a seed that take this cache's features, those before adaptation first; one at least.

    banks: of the cache, in the run's direction. Raises RunError if the run belongs to another cache or to other videos
    of it, or the seed has no such head.
    """
    lists = {"source": banks.source, "target": banks.target, "measured": banks.measured}
    ours = {name: digest(bank.ids) for name, bank in lists.items()} | {"classes": digest(cache.classes)}
    theirs = {name: run.meta["dataset"][name]["ids"] for name in lists}
    theirs["classes"] = run.meta["dataset"]["classes"]["names"]
    files = run.seed(seed)
    kept, fitting = [head for head in HEADS if files.head_path(head).exists()], heads_on(cache, run, files)
    if not run.meta["cache_key"]:
        # What a run from frames, or an imported one, has seen is no part of this cache: only its classes are.
        ours, theirs = ({"classes": lists["classes"]} for lists in (ours, theirs))
    if (kept and not fitting) or ours != theirs:
        whose = f"it was adapted from {run.meta['cache']}" if run.meta["cache"] else "it has a backbone of its own"
        raise RunError(
            f"the features in {cache.path} are not those of {run.root}, or not any more",
            [f"{whose}; the {'recipe' if ours == theirs else 'videos or classes'} differ"],
            hint="give the cache that the run belongs to, or adapt again"
            if run.meta["cache"]
            else f"extract with --weights {run.root}",
        )
    if run.recipe.method == "target-supervised":
        raise RunError(f"{run.root} is a target-supervised bound, which keeps no heads", hint="give another run")
    if not fitting:
        raise RunError(
            f"{files.root} holds no head", hint=f"the run's seeds: {', '.join(map(str, run.recipe.seed_list))}"
        )
    return fitting
