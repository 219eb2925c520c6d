"""A small cache whose videos are real files: the number of a frame is its grey level."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from greys import Filmed, WriteGrey

from builders import small_recipe
from comix_fast.cache import CacheWriter, FeatureCache
from comix_fast.cache.format import ViewClips
from comix_fast.config import ExtractRecipe, ViewPlan
from comix_fast.datasets import Dataset, check_files, load_folders
from comix_fast.stages.draws import draw_mix
from comix_fast.stages.survey import survey_video
from comix_fast.video import choose_decoder, plan_clips

RECIPE = small_recipe(views=ViewPlan((2,), 2))
STEP = 2
"""Grey levels from one frame to the next."""


@pytest.fixture
def grey() -> WriteGrey:
    """A video of plain grey frames: frame n is of level `first` + STEP · n."""

    def write(path: Path, n_frames: int = 80, first: int = 20, size: tuple[int, int] = (48, 64)) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg4", rate=25)
            assert isinstance(stream, av.VideoStream)
            stream.height, stream.width, stream.pix_fmt, stream.bit_rate = *size, "yuv420p", 4_000_000
            for number in range(n_frames):
                picture = np.full((*size, 3), first + STEP * number, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
        return path

    return write


@pytest.fixture
def filmed(tmp_path: Path, grey: WriteGrey) -> Filmed:
    """A cache of two videos a domain, under tmp_path/videos: each domain's second one is short and is slowed down."""

    def make(recipe: ExtractRecipe = RECIPE) -> FeatureCache:
        for domain, first in (("s", 20), ("t", 60)):
            grey(tmp_path / f"videos/{domain}/go/long-{domain}.mp4", 80, first)
            grey(tmp_path / f"videos/{domain}/stop/short-{domain}.mp4", 30, first, (64, 48))
        dataset = check_files(load_folders(tmp_path / "videos/s", tmp_path / "videos/t"))
        return fill(tmp_path / "cache", dataset, recipe)

    return make


def fill(root: Path, dataset: Dataset, recipe: ExtractRecipe) -> FeatureCache:
    """What stage one would write, but for features: these are zeros."""
    decoder = choose_decoder("pyav")
    donors = {
        role: [video.id for video in (dataset.target if role == "source" else dataset.source).train]
        for role, _ in dataset.domains()
    }
    with CacheWriter.open(root, recipe) as cache:
        for role, domain in dataset.domains():
            found = [survey_video(video, decoder, recipe.size, True, lambda: None) for video in domain.train]
            cache.add_survey(role, [row for row, _ in found], [ground for _, ground in found if ground is not None])
            with cache.shard(role) as shard:
                for row, _ in found:
                    plan = plan_clips(row.n_frames, recipe.clip_length, recipe.stride, recipe.bins, recipe.min_frames)
                    views = {view: clips(plan.starts) for view in recipe.views.unmixed}
                    for view in recipe.views.mixed:
                        draw = draw_mix(plan, row.id, view, donors[role], lambda donor: True, 0, 0.5)
                        views[view] = clips(draw.starts, draw.donor, draw.gamma)
                    shard.add(row, views)
        lists = {
            role: {"name": domain.name, "train": [[video.id, video.label] for video in domain.train], "test": None}
            for role, domain in dataset.domains()
        }
        cache.write_dataset({"name": dataset.name, "classes": list(dataset.classes), "notes": [], **lists})
    return FeatureCache(root)


def clips(starts: tuple[int, ...] | list[int], donor: str | None = None, gamma: float | None = None) -> ViewClips:
    return ViewClips(np.zeros((len(starts), 4), np.float16), np.array(starts, np.int64), donor, gamma)
