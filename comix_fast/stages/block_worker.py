"""What does blocks in another process, here or elsewhere: made from plain JSON, handed blocks, tells what came.

Only paths, ids and numbers travel. Features go from the worker straight into the cache's shards.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch

from comix_fast.backbones import Backbone, load_backbone
from comix_fast.cache.format import SURVEYS
from comix_fast.cache.parts import PARTS, Part
from comix_fast.cache.reader import FeatureCache
from comix_fast.cache.stated import stated_recipe
from comix_fast.cache.surveys import Surveys
from comix_fast.cache.writer import CacheWriter
from comix_fast.config import differences, digest
from comix_fast.console import Reporter, Silent
from comix_fast.datasets import Video
from comix_fast.errors import CacheError, ComixError
from comix_fast.stages.attempts import FIRST_TIME, Orders
from comix_fast.stages.blocks import Block
from comix_fast.stages.crew import Done, Here, Job, Watch, unwatched
from comix_fast.stages.pipeline import Machine
from comix_fast.stages.planning import Donors
from comix_fast.stages.provenance import made_with
from comix_fast.stages.survey import Failure
from comix_fast.video import Limits, choose_decoder


@dataclass(frozen=True)
class Setup:
    """What a worker is told once. weights: as load_backbone takes them; threads: of each worker.

    precision, compiled: settled, not "auto". limits: what a video may have at most.
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
    limits: Limits = field(default_factory=Limits)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        value = dataclasses.asdict(self)
        value["job"]["recipe"] = self.job.recipe.to_json()
        return value | {"root": str(self.root)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Setup:
        """From what to_json gave."""
        job, part = value["job"], value["part"]
        donors = Donors(tuple(job["donors"]["source"]), tuple(job["donors"]["target"]))
        plain = {name: value[name] for name in value if name not in ("root", "job", "part", "limits")}
        return cls(
            root=Path(value["root"]),
            job=Job(stated_recipe(job["recipe"]), donors, int(job["shard_size"])),
            part=None if part is None else Part(**part),
            limits=Limits(**value["limits"]),
            **plain,
        )


def video_to_json(video: Video) -> dict[str, Any]:
    """A video as it travels."""
    return {"id": video.id, "path": str(video.path), "label": video.label, "segment": video.segment}


def video_from_json(value: Mapping[str, Any]) -> Video:
    """From what video_to_json gave."""
    segment = None if value["segment"] is None else tuple(value["segment"])
    return Video(value["id"], Path(value["path"]), value["label"], segment)


def block_to_json(block: Block) -> dict[str, Any]:
    """A block as it travels: one object a video, ids, paths and numbers alone."""
    videos = [video_to_json(video) for video in block.videos]
    return {"number": block.number, "domain": block.domain, "training": block.training, "videos": videos}


def block_from_json(value: Mapping[str, Any]) -> Block:
    """From what block_to_json gave."""
    videos = tuple(map(video_from_json, value["videos"]))
    return Block(int(value["number"]), str(value["domain"]), bool(value["training"]), videos)


class BlockWorker:
    """Does one block at a time. number: tells its files under way from those of other workers.

    Raises ComixError if the decoder is not here or not the recipe's.
    """

    def __init__(self, setup: Setup, number: int) -> None:
        self._setup = setup
        decoder = choose_decoder(setup.decoder)
        recipe = setup.job.recipe
        _require_the_same("decoder", {"name": decoder.name, "version": decoder.version}, recipe.decoder)
        self._decoder = decoder.limited(setup.limits)
        whole = CacheWriter(setup.root, recipe.to_json(), setup.part, made_with(setup.device))
        self._cache = whole.worker(number)
        self._backbone: Backbone | None = None
        self._surveys: Surveys | None = None

    def load(self) -> tuple[Backbone, Surveys]:
        """What `extract` needs and surveys don't: the backbone, and what the surveys found. Loaded once.

        Raises ComixError if the backbone can't be loaded here, or is not the recipe's (other weights).
        """
        setup = self._setup
        if self._backbone is None:
            backbone = load_backbone(
                setup.backbone, setup.weights, setup.precision, setup.device, compiled=setup.compiled
            )
            _require_the_same("backbone", backbone.recipe(), setup.job.recipe.backbone)
            self._backbone = backbone
        if self._surveys is None:
            more = None if setup.part is None else f"{PARTS}/{setup.part.name}"
            self._surveys = Surveys(self._cache.root, self._cache.key, more)
        return self._backbone, self._surveys

    def survey(
        self,
        block: Block,
        folder: str = SURVEYS,
        reporter: Reporter | None = None,
        *,
        watch: Watch = unwatched,
        orders: Orders = FIRST_TIME,
    ) -> list[Failure]:
        """Decodes the block's videos once. watch: as Here takes it. orders: from the run's Attempts."""
        self._surveys = None
        if orders.one_at_a_time:
            # A worker may have died between its last file and saying so.
            more = None if folder == SURVEYS else folder
            there = Surveys(self._cache.root, self._cache.key, more).rows
            block = block.only(lambda video: video not in there)
        # What surveys never look at.
        backbone = cast(Backbone, None)
        return self._here(backbone, watch, orders).survey(self._cache, [block], reporter or Silent(), folder)

    def extract(
        self,
        block: Block,
        reporter: Reporter | None = None,
        *,
        watch: Watch = unwatched,
        orders: Orders = FIRST_TIME,
    ) -> Done:
        """Extracts the block's videos; to be called once every survey is done. The rest as in `survey`.

        At a second attempt, those that have features are left as they are, and counted as done.
        """
        n_there = 0
        if orders.one_at_a_time:
            there = FeatureCache(self._cache.root).extracted
            n_there = sum(video.id in there for video in block.videos)
            block = block.only(lambda video: video not in there)
        if orders.hopeless(block):
            return Done(n_there, failures=[orders.given_up[video.id] for video in block.videos])
        backbone, surveys = self.load()
        done = self._here(backbone, watch, orders).extract(self._cache, [block], surveys, reporter or Silent())
        done.n_videos += n_there
        return done

    def _here(self, backbone: Backbone, watch: Watch, orders: Orders) -> Here:
        setup = self._setup
        machine = Machine(backbone, self._decoder, torch.device(setup.device), setup.threads)
        return Here(setup.job, machine, watch=watch, one_at_a_time=orders.one_at_a_time, given_up=orders.given_up)


def _require_the_same(what: str, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raises CacheError unless this machine would compute what the recipe says."""
    if digest(dict(found)) != digest(dict(wanted)):
        raise CacheError(
            f"a worker would not compute what the recipe says: it has another {what}",
            [f"in the worker {line.replace(', there', ', in the recipe')}" for line in differences(found, wanted)],
            hint="install the same versions and weights everywhere",
        )


def error_to_json(error: ComixError | OSError) -> dict[str, Any]:
    """An error that ends a run, as it travels."""
    if isinstance(error, ComixError):
        return {"message": error.message, "details": list(error.details), "hint": error.hint}
    return {
        "errno": error.errno,
        "reason": error.strerror or str(error),
        "file": error.filename and str(error.filename),
    }


def error_from_json(value: Mapping[str, Any]) -> ComixError | OSError:
    """From what error_to_json gave."""
    if "message" in value:
        return ComixError(str(value["message"]), tuple(map(str, value["details"])), str(value["hint"]))
    return OSError(value["errno"], value["reason"], value["file"])
