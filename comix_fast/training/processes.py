"""One process, or several that share an iteration's videos: who computes what, and how results come together.

Every process computes the features of its videos; all features go to all, so each computes the whole loss, with every
contrast in it, and the gradient of its own features. Summed over processes these give the gradient that one process
with all videos has.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from comix_fast.errors import ComixError, RunError
from comix_fast.training.others import GRACE_SECONDS, Others, started

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
        return share_of(n_videos, self.rank, self.count)

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
    """Several processes joined by lightning-fabric: started here, see `launch`, or by torchrun or SLURM.

    Every method but `share` raises RunError if another process has ended.
    """

    def __init__(self, fabric: Fabric, others: Others) -> None:
        self._fabric, self._others = fabric, others
        self.rank, self.count = fabric.global_rank, fabric.world_size

    def gather(self, values: Tensor) -> Tensor:
        parts = [torch.empty_like(values) for _ in range(self.count)]
        values = values.contiguous()
        with self._all_there():
            torch.distributed.all_gather(parts, values)
        return torch.cat(parts)

    def add(self, values: Sequence[Tensor]) -> None:
        # One message: there are some hundred small tensors.
        flat = torch.cat([value.flatten() for value in values])
        with self._all_there():
            torch.distributed.all_reduce(flat)
        for value, part in zip(values, flat.split([value.numel() for value in values]), strict=True):  # type: ignore[no-untyped-call]
            value.copy_(part.view_as(value))

    def average(self, value: Tensor) -> Tensor:
        total = value.clone()
        with self._all_there():
            torch.distributed.all_reduce(total)
        return total / self.count

    def agree(self, word: bool) -> bool:
        said = torch.tensor([word], device=self._fabric.device)
        with self._all_there():
            torch.distributed.broadcast(said, src=0)
        return bool(said)

    def wait(self) -> None:
        with self._all_there():
            self._fabric.barrier()

    @contextlib.contextmanager
    def _all_there(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # a connection that is closed, in the words of gloo or NCCL
            failure = self._others.failure(GRACE_SECONDS)
            raise failure or RunError(f"another process of this run is gone: {error}") from error


def share_of(n_videos: int, rank: int, count: int) -> slice:
    """Which of a batch's videos are those of process `rank` of `count`. Raises ComixError if there is one too many."""
    if n_videos % count:
        raise ComixError(
            f"{n_videos} videos an iteration can't be shared evenly by {count} processes",
            hint="choose a --batch-size that --devices divides (a shorter list's batch is all of it)",
        )
    each = n_videos // count
    return slice(rank * each, (rank + 1) * each)


@contextlib.contextmanager
def launch(devices: int, device: str, warn: Callable[[str], None]) -> Iterator[tuple[Processes, torch.device]]:
    """Starts the other processes, where there are to be several, and joins them. Gives this one and its device.

    devices: how many processes on this machine, each with a GPU of its own where device is "cuda". The others run the
    command line that this process runs, see comix_fast.training.others. warn: hears why the command ends, if another
    process fails and this one is stuck. Raises ComixError for more GPUs than there are.
    """
    place = torch.device(device)
    if devices == 1:
        yield Processes(), place
        return
    on_cuda = place.type == "cuda"
    if on_cuda and place.index is not None:
        raise ComixError(f"--devices {devices} and --device {device} contradict each other", hint="give --device cuda")
    if on_cuda and devices > torch.cuda.device_count():
        raise ComixError(f"--devices {devices}: this machine has {torch.cuda.device_count()} GPUs")
    with started(devices, warn) as others:
        fabric = _joined(devices, on_cuda, others)
        try:
            yield SharedProcesses(fabric, others), fabric.device
        finally:
            torch.distributed.destroy_process_group()


def _joined(devices: int, on_cuda: bool, others: Others) -> Fabric:
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from lightning_fabric.strategies.ddp import DDPStrategy

    # It announces itself at length.
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    strategy = DDPStrategy(process_group_backend="nccl" if on_cuda else "gloo", timeout=PATIENCE)
    # Else a batch job of SLURM's, which starts one process, would be taken for one that starts them all.
    plugins = None if others.from_outside else LightningEnvironment()
    fabric = Fabric(accelerator="cuda" if on_cuda else "cpu", devices=devices, strategy=strategy, plugins=plugins)
    try:
        fabric.launch()
    except RuntimeError as error:  # torch.distributed's, where a process does not come
        failure = others.failure(GRACE_SECONDS)
        raise failure or RunError(f"the processes can't join: {error}") from error
    return fabric
