"""What does blocks in another process, here or elsewhere: made from plain JSON, handed blocks, tells what came.

Only paths, ids and numbers travel. Features go from the worker straight into the cache's shards.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from comix_fast.backbones import load_backbone
from comix_fast.cache.format import SURVEYS
from comix_fast.cache.parts import PARTS, Part
from comix_fast.cache.surveys import Surveys
from comix_fast.cache.writer import CacheWriter
from comix_fast.config import ExtractRecipe, ViewPlan, digest
from comix_fast.console import Silent
from comix_fast.datasets import Video
from comix_fast.errors import CacheError, ComixError
from comix_fast.stages.blocks import Block
from comix_fast.stages.crew import Done, Here, Job, Watch
from comix_fast.stages.pipeline import Machine
from comix_fast.stages.planning import Donors
from comix_fast.stages.provenance import made_with
from comix_fast.stages.survey import Failure
from comix_fast.video import choose_decoder


@dataclass(frozen=True)
class Setup:
    """What a worker is told once. weights: as load_backbone takes them; threads: of each worker.

    precision, compiled: settled, not "auto".
    """

    root: Path
    job: Job
    part: Part | None
    backbone: str
    weights: str
    precision: str
    compiled: bool
    device: str
    decoder: str
    threads: int

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        value = dataclasses.asdict(self)
        return value | {"root": str(self.root)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Setup:
        """From what to_json gave."""
        job, part = value["job"], value["part"]
        views = job["recipe"]["views"]
        recipe = {**job["recipe"], "views": ViewPlan(**{**views, "speeds": tuple(views["speeds"])})}
        donors = Donors(tuple(job["donors"]["source"]), tuple(job["donors"]["target"]))
        plain = {name: value[name] for name in value if name not in ("root", "job", "part")}
        return cls(
            root=Path(value["root"]),
            job=Job(ExtractRecipe(**recipe), donors, int(job["shard_size"])),
            part=None if part is None else Part(**part),
            **plain,
        )


def block_to_json(block: Block) -> dict[str, Any]:
    """A block as it travels: one object a video, ids, paths and numbers alone."""
    videos = [
        {"id": video.id, "path": str(video.path), "label": video.label, "segment": video.segment}
        for video in block.videos
    ]
    return {"number": block.number, "domain": block.domain, "training": block.training, "videos": videos}


def block_from_json(value: Mapping[str, Any]) -> Block:
    """From what block_to_json gave."""
    videos = tuple(
        Video(one["id"], Path(one["path"]), one["label"], None if one["segment"] is None else tuple(one["segment"]))
        for one in value["videos"]
    )
    return Block(int(value["number"]), str(value["domain"]), bool(value["training"]), videos)


class BlockWorker:
    """Does one block at a time. number: tells its files under way from those of other workers.

    Raises ComixError if the backbone can't be loaded here, or is not the recipe's (other weights, another decoder).
    """

    def __init__(self, setup: Setup, number: int) -> None:
        self._setup = setup
        decoder = choose_decoder(setup.decoder)
        recipe = setup.job.recipe
        backbone = load_backbone(setup.backbone, setup.weights, setup.precision, setup.device, compiled=setup.compiled)
        _require_the_same(recipe, backbone.recipe(), {"name": decoder.name, "version": decoder.version})
        self._machine = Machine(backbone, decoder, torch.device(setup.device), setup.threads)
        whole = CacheWriter(setup.root, recipe.to_json(), setup.part, made_with(setup.device))
        self._cache = whole.worker(number)
        self._surveys: Surveys | None = None

    def survey(self, block: Block, folder: str = SURVEYS, **how: Any) -> list[Failure]:
        """Decodes the block's videos once. how: as Here takes them (watch, one_at_a_time, given_up)."""
        return self._here(**how).survey(self._cache, [block], Silent(), folder)

    def extract(self, block: Block, **how: Any) -> Done:
        """Extracts the block's videos; to be called once every survey is done. how: as for survey."""
        if self._surveys is None:
            part = self._setup.part
            more = None if part is None else f"{PARTS}/{part.name}"
            self._surveys = Surveys(self._cache.root, self._cache.key, more)
        return self._here(**how).extract(self._cache, [block], self._surveys, Silent())

    def _here(
        self, watch: Watch | None = None, one_at_a_time: bool = False, given_up: Mapping[str, Failure] | None = None
    ) -> Here:
        more = {} if watch is None else {"watch": watch}
        return Here(self._setup.job, self._machine, one_at_a_time=one_at_a_time, given_up=given_up, **more)


def _require_the_same(recipe: ExtractRecipe, backbone: Mapping[str, Any], decoder: Mapping[str, str]) -> None:
    """Raises CacheError unless this machine would compute what the recipe says."""
    unlike = [
        f"{name}: {found} here, {wanted} in the recipe"
        for name, found, wanted in (
            ("backbone", digest(dict(backbone)), digest(dict(recipe.backbone))),
            ("decoder", dict(decoder), dict(recipe.decoder)),
        )
        if found != wanted
    ]
    if unlike:
        raise CacheError("a worker would not compute what the recipe says", unlike, hint="install the same versions")


def worker_error(error: ComixError) -> dict[str, Any]:
    """An error as it travels."""
    return {"message": error.message, "details": list(error.details), "hint": error.hint}
