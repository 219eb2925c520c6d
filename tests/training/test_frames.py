"""Banks of frames: numbered, drawn from and mixed exactly as a cache extracted from the same videos."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tiny as made
import torch
from torch import Tensor

from comix_fast.backbones import Backbone, load_backbone
from comix_fast.cache import FeatureCache
from comix_fast.cache.surveys import Surveys
from comix_fast.config import ViewPlan
from comix_fast.console import Silent
from comix_fast.datasets import Dataset
from comix_fast.errors import CacheError
from comix_fast.stages import extract
from comix_fast.stages.bank import Banks, load_banks
from comix_fast.stages.batches import AdaptationDraws, SupervisedDraws
from comix_fast.training.footage import listed_footage
from comix_fast.training.frames import DrawnClips, FrameBank, FrameBanks, FrameRows, Others, frame_bank
from comix_fast.training.recipe import FRESH_DRAWS, VideoRecipe
from comix_fast.video import choose_decoder, open_stream, plan_clips, resize_frame

MIXES, SEED, BROKEN = 3, 5, "film 2.mp4"


class Extracted(NamedTuple):
    """A cache of the films, one of which can't be read; what it was made of."""

    cache: FeatureCache
    dataset: Dataset
    backbone: Backbone
    recipe: VideoRecipe
    surveys: Surveys

    def banks(self, mixes: int | None = MIXES) -> FrameBanks:
        """As VideoRoad makes them."""
        rows = self.surveys.rows
        footage = listed_footage(self.dataset, reverse=False)
        footage = footage.only(set(rows))
        recipe = replace(self.recipe, mixes=mixes)
        pairs = zip((footage.source, footage.target), footage.donors[::-1], strict=True)
        return FrameBanks(
            *(
                frame_bank(videos, lambda name: rows[name].n_frames, recipe, Others(ids, rows.__contains__), refused)
                for videos, ids in pairs
            )
        )

    def cached(self) -> Banks:
        return load_banks(self.cache, mixed=True)


def refused(rows: FrameRows, index: Tensor) -> Tensor:
    raise AssertionError("no feature is asked for")


@pytest.fixture(scope="module")
def extracted(footage_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        made.register(patch.setattr)
        root = tmp_path_factory.mktemp("frames")
        for domain in ("source", "target"):
            (root / domain).symlink_to(footage_root / domain)
        (root / "target").unlink()
        for path in (footage_root / "target").glob("*/*"):
            copy = root / "target" / path.parent.name / path.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(b"no film" if path.name == BROKEN else path.read_bytes())
        dataset, backbone = made.footage_of(root), load_backbone("tiny", "random")
        recipe = made.video_recipe(backbone, mixes=MIXES, mix_seed=SEED)
        asked = replace(recipe.extract_recipe(backbone.recipe(), 16), views=ViewPlan((), MIXES, recipe.gamma_max, SEED))
        out = root / "cache"
        found = extract.run(asked, dataset, backbone, choose_decoder("pyav"), out, reporter=Silent(), threads=1)
        assert [Path(failure["path"]).name for failure in found.failures] == [BROKEN]
        cache = FeatureCache(out)
        yield Extracted(cache, dataset, backbone, recipe, Surveys(out, cache.key))


def test_banks_are_numbered_alike(extracted: Extracted) -> None:
    cached = extracted.cached()
    for found, expected in zip(extracted.banks(), (cached.source, cached.target), strict=True):
        assert found.ids == expected.ids
        assert (found.n_bins, found.n_mixes) == (expected.n_bins, expected.n_mixes) == (4, MIXES)
        for name in ("labels", "bin_first", "bin_size"):
            assert torch.equal(getattr(found, name), getattr(expected, name))


def starts_of(extracted: Extracted, video: str, view: str) -> list[int]:
    return extracted.cache.clips(video, view).starts.tolist()


def shown(clips: DrawnClips) -> list[int]:
    """Where each clip starts: eight frames on end, all inside the video."""
    for frames in clips.frames:
        assert [n % clips.n_frames for n in range(frames[0], frames[0] + 8)] == list(frames)
    return [frames[0] for frames in clips.frames]


@pytest.mark.parametrize("domain", [0, 1])
def test_rows_stand_for_the_caches_clips(extracted: Extracted, domain: int) -> None:
    bank, expected = extracted.banks()[domain], extracted.cached()[domain]
    for number, name in enumerate(bank.ids):
        low = int(bank.bin_first[number, 0])
        rows = torch.arange(low, low + int(bank.bin_size[number].sum()))
        clips = bank.clips.describe(rows)
        assert (clips.video.id, clips.donor, clips.gamma) == (name, None, 0.0)
        assert shown(clips) == starts_of(extracted, name, "plain")
        plan = plan_clips(extracted.surveys.rows[name].n_frames, bins=4)
        assert shown(clips) == list(plan.starts)
        assert bank.clips.describe(rows[[3, 1, 2]]).frames == tuple(clips.frames[n] for n in (3, 1, 2))
    assert len(expected.clips) == int(bank.bin_size.sum())


@pytest.mark.parametrize("domain", [0, 1])
def test_mixes_are_the_caches(extracted: Extracted, domain: int) -> None:
    bank, cached = extracted.banks()[domain], extracted.cached()[domain]
    assert bank.mixed is not None
    assert cached.mixed is not None
    videos = torch.arange(len(bank.ids)).repeat(MIXES)
    draws = torch.arange(MIXES).repeat_interleave(len(bank.ids))
    (plain, mixed), (plain_cached, mixed_cached) = bank.mixed_pair(videos, draws), cached.mixed_pair(videos, draws)
    assert torch.equal(plain, plain_cached)
    donors = set()
    for video, draw, plain_rows, rows, cached_rows in zip(videos, draws, plain, mixed, mixed_cached, strict=True):
        name, view = bank.ids[int(video)], f"bgmix-{int(draw)}"
        clips, kept = bank.mixed.describe(rows), extracted.cache.clips(name, view)
        assert clips.video.id == name
        assert (clips.donor, clips.gamma) == (kept.donor, pytest.approx(kept.gamma))
        assert shown(clips) == kept.starts.tolist() == shown(bank.clips.describe(plain_rows))
        assert np.array_equal(cached.mixed.take(cached_rows).numpy(), kept.features)
        donors.add(clips.donor)
    # Of the other domain, and never the film that can't be read.
    assert donors <= set(extracted.banks()[1 - domain].ids)
    assert len(donors) > 2


@pytest.mark.parametrize("shape", [(5,), (2, 3)])
def test_draws_are_the_caches(extracted: Extracted, shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(4)
    for bank, cached in zip(extracted.banks(), extracted.cached()[:2], strict=True):
        videos = torch.randint(len(bank.ids), shape, generator=generator)
        uniform = torch.rand(*shape, 4, generator=generator)
        assert torch.equal(bank.candidate_rows(videos, uniform), cached.candidate_rows(videos, uniform))
        draw = torch.randint(MIXES, shape, generator=generator)
        assert bank.mixed_pair(videos, draw)[1].shape == cached.mixed_pair(videos, draw)[1].shape == (*shape, 4)


def test_a_chunk_of_iterations_is_the_caches(extracted: Extracted) -> None:
    frames, cached = extracted.banks(), extracted.cached()
    for number in (0, 3):
        found, expected = (SupervisedDraws(banks.source, 2, 7, "warmstart").chunk(number) for banks in (frames, cached))
        assert torch.equal(found.rows[0], expected.rows[0])
        found, expected = (AdaptationDraws(banks, 2, 7, True).chunk(number) for banks in (frames, cached))
        for name in ("labels", "slow"):
            assert torch.equal(getattr(found, name), getattr(expected, name))
        for stream in (0, 1):
            assert torch.equal(found.rows[stream], expected.rows[stream])
            features, kept = frames[stream].mixed, cached[stream].mixed
            assert features is not None
            assert kept is not None
            for rows, kept_rows in zip(found.rows[stream + 2][0], expected.rows[stream + 2][0], strict=True):
                clips = features.describe(rows)
                views = [extracted.cache.clips(clips.video.id, f"bgmix-{draw}") for draw in range(MIXES)]
                (view,) = [view for view in views if view.gamma == pytest.approx(clips.gamma)]
                assert np.array_equal(kept.take(kept_rows).numpy(), view.features)


def test_described_clips_have_the_caches_features(extracted: Extracted) -> None:
    """By hand: whole videos decoded and resized, mixed, through the backbone one by one."""
    for domain, bank in enumerate(extracted.banks()):
        assert bank.mixed is not None
        _, rows = bank.mixed_pair(torch.tensor([1]), torch.tensor([2]))
        clips = bank.mixed.describe(rows[0])
        with open_stream(clips.video.path, None, "pyav") as stream:
            frames = [resize_frame(frame, made.CLIP_SIZE).astype(np.float32) for frame in stream]
        assert len(frames) == clips.n_frames
        behind = extracted.surveys.background(clips.donor or "").astype(np.float32)
        pixels = [
            np.stack([(1 - clips.gamma) * frames[n] + clips.gamma * behind for n in one]) / 127.5 - 1
            for one in clips.frames
        ]
        given = torch.from_numpy(np.stack(pixels).astype(np.float32)).permute(0, 4, 1, 2, 3)
        kept = extracted.cache.clips(bank.ids[1], "bgmix-2").features
        assert kept.std() > 0.01, domain
        np.testing.assert_allclose(extracted.backbone(given).numpy(), kept, rtol=2e-3, atol=2e-3)


def test_fresh_draws_are_new_each_and_the_same_again(extracted: Extracted) -> None:
    bank, again = extracted.banks(mixes=None).source, extracted.banks(mixes=None).source
    assert bank.n_mixes == FRESH_DRAWS

    def described(of: FrameBank, draw: int) -> DrawnClips:
        assert of.mixed is not None
        return of.mixed.describe(of.mixed_pair(torch.tensor([2]), torch.tensor([draw]))[1][0])

    draws = (0, 1, 77, FRESH_DRAWS - 1)
    found = [described(bank, draw) for draw in draws]
    assert found == [described(again, draw) for draw in draws]
    assert len({clips.gamma for clips in found}) == len({clips.frames for clips in found}) == len(draws)
    assert all(0 < clips.gamma < 0.5 for clips in found)
    # The first few are those that a cache would hold.
    held = extracted.banks().source
    assert [described(held, draw) for draw in range(MIXES)] == [described(bank, draw) for draw in range(MIXES)]


def test_other_seeds_mix_otherwise(extracted: Extracted) -> None:
    other = extracted._replace(recipe=replace(extracted.recipe, mix_seed=SEED + 1)).banks().source
    assert all(other.mix(n, 0) != extracted.banks().source.mix(n, 0) for n in range(len(other.ids)))


def test_nothing_is_mixed_where_none_is_asked_for(extracted: Extracted) -> None:
    videos = listed_footage(extracted.dataset, reverse=False).source
    bank = frame_bank(videos, lambda name: 80, extracted.recipe, None, refused)
    assert (bank.mixed, bank.n_mixes) == (None, 0)
    with pytest.raises(CacheError, match="mixes no backgrounds"):
        bank.mixed_pair(torch.tensor([0]), torch.tensor([0]))


def test_without_videos_there_is_no_bank(extracted: Extracted) -> None:
    with pytest.raises(CacheError, match="no training video of a domain could be read"):
        frame_bank((), lambda name: 80, extracted.recipe, None, refused)
