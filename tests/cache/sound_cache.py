"""A small cache that is sound in every way, as stage one would write it, and ways to forge parts of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from builders import edited, small_recipe
from comix_fast.cache import CacheWriter
from comix_fast.cache.crc import row_crc32
from comix_fast.cache.findings import Verified
from comix_fast.cache.format import VideoRow, ViewClips
from comix_fast.cache.parts import Division, Part
from comix_fast.cache.verify import verify
from comix_fast.config import ViewPlan
from comix_fast.console import Silent
from comix_fast.stages.draws import draw_mix
from comix_fast.video import plan_clips

DIM, SIZE = 6, 8
RECIPE = small_recipe(views=ViewPlan((2,), mixes=2, seed=5), size=SIZE)


def frames_of(number: int) -> int:
    return (72, 80, 30, 91)[number % 4]


def ids(domain: str, n_videos: int, split: str = "") -> list[str]:
    return [f"{domain}/{split}{number}" for number in range(n_videos)]


def write_sound(root: Path, n_train: int = 2, n_test: int = 2, part: bool = False, unreadable: str = "") -> Path:
    """Of each domain a shard of training videos, one of test videos, and their surveys; two failures.

    part: with the record of a part. unreadable: a donor that no draw could use.
    """
    rng = np.random.default_rng(3)
    train = {domain: ids(domain, n_train) for domain in ("source", "target")}
    test = {domain: ids(domain, n_test, "test-") for domain in train}
    failures = [{"id": f"{domain}/bad", "path": f"/films/{domain}", "reason": "no frame in it"} for domain in train]
    with CacheWriter.open(root, RECIPE, ["made up"], made_with={"torch": "2"}) as cache:
        for domain, other in (("source", "target"), ("target", "source")):
            for videos, training in ((train[domain], True), (test[domain], False)):
                rows = [
                    VideoRow(video, n % 2, frames_of(n if training else 0), 25.0, "ab" * 32, 1000)
                    for n, video in enumerate(videos)
                ]
                backgrounds = [rng.integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8) for _ in rows]
                cache.add_survey(domain, rows, backgrounds)
                with cache.shard(domain) as shard:
                    for row in rows:
                        shard.add(row, _views(row, train[other] if training else [], unreadable, rng))
        lists = {
            domain: {
                "name": f"the {domain}",
                "train": [[video, n % 2] for n, video in enumerate(train[domain])],
                "test": [[video, n % 2] for n, video in enumerate(test[domain])],
            }
            for domain in train
        }
        cache.write_dataset({"name": "sound", "classes": ["bow", "wave"], "notes": ["a note"], **lists})
        cache.write_failures(failures)
    if part:
        with CacheWriter.open(root, RECIPE, part=Part(1, 2)) as writer:
            writer.begin_part(Division(2, 4, "0" * 64))
            writer.finish_part(Division(2, 4, "0" * 64), failures)
    return root


def _views(row: VideoRow, donors: list[str], unreadable: str, rng: np.random.Generator) -> dict[str, ViewClips]:
    plan, views = plan_clips(row.n_frames), RECIPE.views

    def clips(starts: object, donor: str | None = None, gamma: float | None = None) -> ViewClips:
        starts = np.array(starts, dtype=np.int64)
        return ViewClips(rng.normal(size=(len(starts), DIM)).astype(np.float16), starts, donor, gamma)

    made = {view: clips(plan.starts) for view in views.unmixed}
    for view in views.mixed if donors else ():
        drawn = draw_mix(plan, row.id, view, donors, lambda name: name != unreadable, views.seed, views.gamma_max)
        made[view] = clips(drawn.starts, drawn.donor, drawn.gamma)
    return made


def checked(root: Path) -> Verified:
    return verify(root, Silent(), draw_mix)


def whats(root: Path) -> set[str]:
    """What is wrong, in words."""
    return {finding.what for finding in checked(root).findings}


def holding(root: Path, folder: str, video: str) -> Path:
    """The file of a folder that holds a video."""
    for path in sorted((root / folder).glob("*.h5")):
        with h5py.File(path, "r") as file:
            if video in file["videos/id"].asstr()[...]:
                return path
    raise AssertionError(video)


@contextmanager
def forged(root: Path, folder: str, video: str) -> Iterator[h5py.File]:
    """The file that holds a video, to be changed; the sums of its rows and its seal are made anew."""
    with edited(holding(root, folder, video)) as file:
        yield file
        for group in file["views"].values() if "views" in file else ():
            if "features" in group and "crc32" in group:
                sums = row_crc32(group["features"][...])
                if group["crc32"].shape == sums.shape:
                    group["crc32"][...] = sums


def replace_array(group: h5py.Group, name: str, values: np.ndarray) -> None:
    """Another array under the same name, its marks kept."""
    marks = dict(group[name].attrs)
    del group[name]
    group.create_dataset(name, data=values).attrs.update(marks)
