"""Who does the work of `comix extract`, as typed: this process, `--workers N` of this machine, `--engine ray`."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from comix_fast.backbones import Backbone
from comix_fast.cache.parts import Part
from comix_fast.stages.block_worker import Setup
from comix_fast.stages.crew import Crew, Here, Job
from comix_fast.stages.pipeline import Machine
from comix_fast.stages.ray_crew import RayCrew
from comix_fast.stages.settled import Settled
from comix_fast.stages.workers import Workers
from comix_fast.video import Decoder


@dataclass(frozen=True)
class Force:
    """As typed. workers: None for this process (local), or as many as there is room for (ray)."""

    engine: Literal["local", "ray"] = "local"
    workers: int | None = None
    debug: bool = False

    @property
    def apart(self) -> bool:
        """Whether other processes than this one decode and compute."""
        return self.engine == "ray" or self.workers is not None


def crew_of(
    force: Force,
    job: Job,
    backbone: Backbone | Settled,
    weights: str,
    decoder: Decoder,
    device: str,
    threads: int | None,
    out: Path,
    part: Part | None,
) -> contextlib.AbstractContextManager[Crew]:
    """The crew, to be used in a `with`. weights: as load_backbone takes them. Raises ComixError as the crews do."""
    n_threads = threads or torch.get_num_threads()
    if not isinstance(backbone, Settled):
        return contextlib.nullcontext(Here(job, Machine(backbone, decoder, torch.device(device), n_threads)))
    file = Path(weights)
    setup = Setup(
        root=out,
        job=job,
        part=part,
        backbone=backbone.name,
        # Workers may begin in another folder.
        weights=str(file.absolute()) if file.exists() else weights,
        precision=backbone.precision,
        compiled=backbone.compiled,
        device=device,
        decoder=decoder.name,
        threads=n_threads,
        limits=decoder.limits,
    )
    if force.engine == "ray":
        return RayCrew(setup, force.workers, debug=force.debug)
    return Workers(setup, force.workers or 1)
