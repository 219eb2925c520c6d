"""What stage one costs at least, and stage one as it is commonly written."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image
from torch import Tensor


def backbone_alone(backbone: Callable[[Tensor], Tensor], batch: Tensor, n_batches: int, threads: int) -> None:
    """The backbone on one and the same batch, n_batches times, by `threads` threads of one torch thread each."""
    turns = iter(range(n_batches))
    taking = threading.Lock()

    def work() -> None:
        torch.set_num_threads(1)
        while True:
            with taking:
                if next(turns, None) is None:
                    return
            with torch.inference_mode():
                backbone(batch)

    before = torch.get_num_threads()
    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    torch.set_num_threads(before)


def one_after_another(backbone: Callable[[Tensor], Tensor], videos: list[Path], batch_size: int = 16) -> int:
    """Every clip of every video: decode it whole, resize every frame, stack, compute. Returns the number of clips."""
    n_clips = 0
    for video in videos:
        with av.open(str(video)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        small = [np.asarray(Image.fromarray(frame).resize((224, 224), Image.Resampling.LANCZOS)) for frame in frames]
        slowed = [frame for frame in small for _ in range(-(-72 // len(small)))]
        starts = range(0, 4 * (len(slowed) // 4 - 2), 4)
        clips = [np.stack(slowed[start : start + 8]).astype(np.float32) / 127.5 - 1 for start in starts]
        for first in range(0, len(clips), batch_size):
            batch = torch.from_numpy(np.stack(clips[first : first + batch_size])).permute(0, 4, 1, 2, 3)
            with torch.inference_mode():
                backbone(batch)
        n_clips += len(clips)
    return n_clips
