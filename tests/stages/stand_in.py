"""What tests of crews share: small videos, a stand-in for a backbone, and a worker process with faults asked for.

python -m stand_in '{"fault": "segfault", "at": ["bad"], "during": ["survey"]}'
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from builders import small_recipe
from comix_fast.config import ExtractRecipe, ViewPlan
from comix_fast.console import Reporter, Silent
from comix_fast.datasets import Dataset, check_files, load_folders
from comix_fast.stages import block_worker, extract, pipeline, pipeline_first, settled, survey, worker_process
from comix_fast.stages.block_worker import Setup
from comix_fast.stages.crew import Here, Job
from comix_fast.stages.extract import Extracted
from comix_fast.stages.pipeline import Machine
from comix_fast.stages.planning import Donors
from comix_fast.stages.provenance import made_with
from comix_fast.stages.workers import Workers
from comix_fast.video import choose_decoder

SIZE = 32
SHARD_SIZE = 2
PYAV = choose_decoder("pyav")
DESCRIBED = {"name": "pooling", "weights": "none", "weights_sha256": "0" * 64, "precision": "fp32"}


class Shuffled:
    """For a crew to inherit from first: it is given its blocks in another order."""

    def survey(self, cache: Any, blocks: Sequence[Any], *more: Any) -> Any:
        return super().survey(cache, random.Random(1).sample(blocks, len(blocks)), *more)  # type: ignore[misc]

    def extract(self, cache: Any, blocks: Sequence[Any], *more: Any) -> Any:
        return super().extract(cache, random.Random(2).sample(blocks, len(blocks)), *more)  # type: ignore[misc]


class Pooling(nn.Module):
    """Stands for a backbone: four pixels of each frame, channels averaged."""

    name = "pooling"
    feature_dim = 32
    weights_name, warning = "none", ""
    precision, precision_note, compiled = "fp32", "", False

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self.seconds = seconds

    def recipe(self) -> dict[str, Any]:
        return DESCRIBED

    def forward(self, clips: Tensor) -> Tensor:
        time.sleep(self.seconds)
        return clips[:, :, :, 7::16, 7::16].mean(dim=1).flatten(1)


def recipe() -> ExtractRecipe:
    decoder = {"name": PYAV.name, "version": PYAV.version}
    return small_recipe(views=ViewPlan((2,), 2, seed=3), size=SIZE, backbone=DESCRIBED, decoder=decoder)


def films(root: Path, film: Callable[..., Path], per_class: int = 2) -> Dataset:
    """Two domains of two classes of short videos, named a/go/0.mp4 …"""
    for number in range(4 * per_class):
        domain, name = "ab"[number % 2], ("go", "stop")[number // 2 % 2]
        film(root / domain / name / f"{number // 4}.mp4", 5 + 9 * number, seed=number)
    return check_files(load_folders(root / "a", root / "b"))


def job_of(dataset: Dataset) -> Job:
    return Job(recipe(), Donors.of(dataset), SHARD_SIZE)


def setup_of(dataset: Dataset, out: Path, **changes: Any) -> Setup:
    fields: dict[str, Any] = {
        "root": out,
        "job": job_of(dataset),
        "part": None,
        "backbone": "pooling",
        "weights": "none",
        "precision": "fp32",
        "compiled": False,
        "device": "cpu",
        "decoder": "pyav",
        "threads": 2,
    }
    return Setup(**(fields | changes))


def here(dataset: Dataset, out: Path, reporter: Reporter | None = None, **more: Any) -> Extracted:
    """An extract in this process."""
    job, machine = job_of(dataset), Machine(Pooling(), PYAV, torch.device("cpu"), 2)  # type: ignore[arg-type]
    crew = more.pop("crew", None) or Here(job, machine)
    return extract.run_with(crew, job, dataset, out, reporter or Silent(), versions=made_with("cpu"), **more)


def command(**faults: Any) -> Sequence[str]:
    """What a worker with faults is started with; see `misbehave`."""
    return (sys.executable, "-P", "-m", "stand_in", json.dumps(faults))


def with_workers(
    dataset: Dataset, out: Path, n_workers: int = 1, reporter: Reporter | None = None, part: Any = None, **faults: Any
) -> Extracted:
    """An extract by processes."""
    job = job_of(dataset)
    with Workers(setup_of(dataset, out, part=part), n_workers, command(**faults)) as crew:
        return extract.run_with(crew, job, dataset, out, reporter or Silent(), part=part)


def files_of(root: Path) -> dict[str, bytes]:
    """Every file of a cache but its locks, by name; what is not of a finished run is among them."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.name.startswith(".lock")
    }


def children(pid: int | str = "self") -> set[int]:
    """Processes that a process has started and that have not ended."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return {int(child) for task in tasks for child in (task / "children").read_text().split()}


def end(fault: str) -> None:
    """Ends this process as asked."""
    if fault == "segfault":
        ctypes.string_at(0)
    if fault == "exit":
        os._exit(7)
    if fault == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "memory":
        raise MemoryError("no room for this picture")
    raise ValueError(f"asked for {fault}")


def misbehave(
    fault: str = "",
    at: Sequence[str] = (),
    during: Sequence[str] = ("survey", "extract"),
    once: str = "",
    seconds: float = 0.0,
) -> None:
    """Ends this process by `fault` when it opens a video whose path ends as one of `at`.

    during: in which work. at: "start" and "load" are moments of the worker itself. once: a file that is made by the
    first process to end, and keeps others from it. seconds: that a batch takes.
    """

    def strike(moment: str) -> None:
        if any(moment.endswith(name) for name in at) and not (once and Path(once).exists()):
            if once:
                Path(once).touch()
            end(fault)

    def opening(kind: str) -> Any:
        plain = survey.open_stream

        def open_stream(path: Path, *more: Any) -> Any:
            if kind in during:
                strike(str(path))
            return plain(path, *more)

        return open_stream

    def load_backbone(*_: Any, **__: Any) -> Pooling:
        strike("load")
        print("a library greets on stdout", flush=True)
        return Pooling(seconds)

    survey.open_stream, pipeline.open_stream = opening("survey"), opening("extract")  # type: ignore[attr-defined]
    pipeline_first.open_stream = opening("survey")  # type: ignore[attr-defined]
    block_worker.load_backbone = settled.load_backbone = load_backbone  # type: ignore[attr-defined, assignment]
    strike("start")


if __name__ == "__main__":
    misbehave(**json.loads(sys.argv[1]))
    worker_process.main()
