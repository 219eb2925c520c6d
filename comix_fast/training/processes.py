"""One process, or several that share an iteration's videos: who computes what, and how results come together.

Every process computes the features of its videos; all features go to all, so each computes the whole loss, with every
contrast in it, and the gradient of its own features. Summed over processes these give the gradient that one process
with all videos has.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from comix_fast.errors import ComixError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

PATIENCE = timedelta(hours=12)
"""How long processes wait for one another: the first one may be looking through many videos."""


class Processes:
    """This process among `count`; `rank` 0 is the one that writes and talks."""

    rank = 0
    count = 1

    def share(self, n_videos: int) -> slice:
        """Which of a batch's videos are this process's. Raises ComixError if they can't be shared evenly."""
        if n_videos % self.count:
            raise ComixError(
                f"{n_videos} videos an iteration can't be shared evenly by {self.count} processes",
                hint="choose a --batch-size that --devices divides (a shorter list's batch is all of it)",
            )
        each = n_videos // self.count
        return slice(self.rank * each, (self.rank + 1) * each)

    def gather(self, values: Tensor) -> Tensor:
        """[n, …] of each process, equally many -> [count · n, …], in the order of the processes."""
        return values

    def add(self, values: Sequence[Tensor]) -> None:
        """Sums tensors over processes, in place."""

    def average(self, value: Tensor) -> Tensor:
        """The mean over processes."""
        return value

    def agree(self, word: bool) -> bool:
        """What the first process says."""
        return word

    def wait(self) -> None:
        """Until all are here."""


class SharedProcesses(Processes):
    """Several processes, launched by lightning-fabric: on one machine's devices, by SLURM or by torchrun."""

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric
        self.rank, self.count = fabric.global_rank, fabric.world_size

    def gather(self, values: Tensor) -> Tensor:
        parts = [torch.empty_like(values) for _ in range(self.count)]
        torch.distributed.all_gather(parts, values.contiguous())
        return torch.cat(parts)

    def add(self, values: Sequence[Tensor]) -> None:
        # One message: there are some hundred small tensors.
        flat = torch.cat([value.flatten() for value in values])
        torch.distributed.all_reduce(flat)
        for value, part in zip(values, flat.split([value.numel() for value in values]), strict=True):  # type: ignore[no-untyped-call]
            value.copy_(part.view_as(value))

    def average(self, value: Tensor) -> Tensor:
        total = value.clone()
        torch.distributed.all_reduce(total)
        return total / self.count

    def agree(self, word: bool) -> bool:
        said = torch.tensor([word], device=self._fabric.device)
        torch.distributed.broadcast(said, src=0)
        return bool(said)

    def wait(self) -> None:
        self._fabric.barrier()


def launch(devices: int, device: str) -> tuple[Processes, torch.device]:
    """Starts the other processes, where there are to be several, and joins them. Returns this one and its device.

    devices: how many processes on this machine, each with a GPU of its own where device is "cuda". The others run the
    command line that this process runs. Raises ComixError for more GPUs than there are.
    """
    place = torch.device(device)
    if devices == 1:
        return Processes(), place
    if place.type == "cuda" and devices > torch.cuda.device_count():
        raise ComixError(f"--devices {devices}: this machine has {torch.cuda.device_count()} GPUs")
    from lightning_fabric import Fabric
    from lightning_fabric.strategies.ddp import DDPStrategy

    backend = "nccl" if place.type == "cuda" else "gloo"
    strategy = DDPStrategy(process_group_backend=backend, timeout=PATIENCE)
    fabric = Fabric(accelerator="cuda" if place.type == "cuda" else "cpu", devices=devices, strategy=strategy)
    fabric.launch()
    return SharedProcesses(fabric), fabric.device
