"""Which gallery rows may be a query's nearest, by float32 products: torch's matmul and topk, tile by tile.

Of the ways tried on two cores (docs/performance.md) this was the fastest: faiss's flat index took four times as
long, for its wheel's BLAS knows no recent processor. On CUDA the same lines run on the GPU, and the gallery passes
through it a block at a time, so that it need not fit there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from comix_fast.retrieval.vectors import Float32s, Int64s

if TYPE_CHECKING:
    import torch

QUERY_ROWS = 1024  # queries and
GALLERY_ROWS = 8192  # gallery rows multiplied at a time: 32 MiB of products


@dataclass(frozen=True, eq=False)
class Candidates:
    """The gallery rows that look nearest to some queries.

    part: which queries. products: [c, wanted] float32, falling; rows: [c, wanted] int64.
    error: what a product may be off by, at most. No row that is missing has a product above the last one here.
    """

    part: slice
    products: Float32s
    rows: Int64s
    error: float


def candidates(
    queries: Float32s, gallery: Float32s, wanted: int, device: torch.device | None = None
) -> Iterator[Candidates]:
    """The `wanted` gallery rows of largest product with each query, for some of the queries at a time.

    queries: [Q, D], gallery: [N, D], both float32 of norm 1; wanted: 1 to N. device: None takes CUDA where there is
    a GPU. Equal products come in no particular order.
    """
    import torch

    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    error = product_error(gallery.shape[1], device)
    room = torch.empty(min(QUERY_ROWS, len(queries)) * min(GALLERY_ROWS, len(gallery)), device=device)
    for start in range(0, len(queries), QUERY_ROWS):
        part = slice(start, min(start + QUERY_ROWS, len(queries)))
        asked = _tensor(queries[part], device)
        best = torch.empty(len(asked), 0, device=device)
        rows = torch.empty(len(asked), 0, dtype=torch.int64, device=device)
        for first in range(0, len(gallery), GALLERY_ROWS):
            block = _tensor(gallery[first : first + GALLERY_ROWS], device)
            products = room[: len(asked) * len(block)].view(len(asked), len(block))
            torch.matmul(asked, block.T, out=products)
            values, places = products.topk(min(wanted, len(block)))
            best = torch.cat([best, values], dim=1)
            rows = torch.cat([rows, places + first], dim=1)
            best, kept = best.topk(min(wanted, best.shape[1]))
            rows = rows.gather(1, kept)
        yield Candidates(part, best.cpu().numpy(), rows.cpu().numpy(), error)


def product_error(dims: int, device: torch.device) -> float:
    """What torch's float32 product of two unit vectors of so many numbers may be off by, as torch is now set."""
    import torch

    settings: Any = torch.backends.cuda if device.type == "cuda" else torch.backends.mkldnn
    # Summed in any order, a float32 inner product of unit vectors is off by at most D · 2⁻²⁴ (Higham 2002, §3.1).
    error = (dims + 8) * 2.0**-24
    if settings.matmul.fp32_precision not in ("none", "ieee"):
        # Someone has let torch round the factors to TF32 or bfloat16: 2⁻⁸ for each factor at the worst.
        error += 2 * 2.0**-8 + 2.0**-16
    return error


def _tensor(vectors: Float32s, device: torch.device) -> torch.Tensor:
    import torch

    # torch warns about arrays that can't be written to (memory maps), though nothing here writes: copy these
    return torch.from_numpy(np.require(vectors, requirements=["C", "W"])).to(device)
