"""Forged features and surveys, sealed anew: each is found by the one check that is meant to find it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from sound_cache import DIM, RECIPE, SIZE, checked, forged, frames_of, holding, replace_array, whats, write_sound

from builders import edited
from comix_fast.stages.draws import draw_mix
from comix_fast.video import plan_clips

FORGE = Callable[[h5py.File], object]


def put(name: str, number: int, value: object) -> FORGE:
    """One value of one column."""

    def change(file: h5py.File) -> None:
        file[name][number] = value

    return change


def set_attribute(name: str, value: object) -> FORGE:
    return lambda file: file.attrs.__setitem__(name, value)


def narrowed(group: str, name: str, kind: type) -> FORGE:
    return lambda file: replace_array(file[group], name, file[group][name][...].astype(kind))


def without(*names: str) -> FORGE:
    def change(file: h5py.File) -> None:
        for name in names:
            del file[name]

    return change


def wider(file: h5py.File) -> None:
    group = file["views/speed-2"]
    replace_array(group, "features", np.ones((len(group["features"]), DIM + 1), np.float16))


def donors_in_plain(file: h5py.File) -> None:
    for name in ("donor", "gamma"):
        file.copy(f"views/bgmix-0/{name}", file["views/plain"])


def other_start_of_the_bin(file: h5py.File) -> None:
    # The third video has 90 frames: 20 candidates in 16 bins, two of them in the first ones.
    starts, first = file["views/bgmix-0/starts"], int(file["views/bgmix-0/offsets"][2])
    starts[first] = 4 - starts[first]


SHARD = {
    "its own key": (set_attribute("key", "0" * 64), "it belongs to another recipe than the manifest's"),
    "its domain": (set_attribute("domain", "moon"), "domains are neither source nor target"),
    "versions": (set_attribute("made-with", "[1]"), "what it was made with is no list of versions"),
    "versions, no JSON": (set_attribute("made-with", "{"), "what it was made with is no list of versions"),
    "a label": (put("videos/label", 1, 2), "labels are outside the 2 classes"),
    "no label": (put("videos/label", 1, -2), "labels are below −1"),
    "a rate": (put("videos/fps", 0, -25.0), "rates are not above 0"),
    "an endless rate": (put("videos/fps", 0, np.inf), "rates are not above 0"),
    "bytes": (put("videos/n_bytes", 0, 7), "videos are not what their surveys say of them"),
    "a hash": (put("videos/sha256", 0, "cd" * 32), "videos are not what their surveys say of them"),
    "a view": (without("views/speed-2"), "views are missing, or are not of the recipe"),
    "one mix": (without("views/bgmix-1"), "views are missing, or are not of the recipe"),
    "a view more": (lambda file: file.copy("views/plain", file["views"], "speed-3"),
                    "views are missing, or are not of the recipe"),
    "all mixes": (without("views/bgmix-0", "views/bgmix-1"), "training videos have no mixes"),
    "width": (wider, f"speed-2: a clip has {DIM + 1} numbers, in this cache it should have {DIM}"),
    "infinity": (put("views/speed-2/features", 3, np.inf), "speed-2: 1 of 222 rows are not finite, in"),
    "no number": (put("views/plain/features", 3, np.nan), "plain: 1 of 222 rows are not finite, in"),
    "a plain start": (put("views/plain/starts", 1, 5), "plain: clips are not those of the clip plan"),
    "a fast start": (put("views/speed-2/starts", 1, 5), "speed-2: clips are not those of the clip plan"),
    "a start after the end": (put("views/speed-2/starts", 15, 65), "speed-2: clips start outside their videos"),
    "a start of another bin": (put("views/bgmix-0/starts", 3, 8), "bgmix-0: clips are not one candidate a bin"),
    "a start that is none": (put("views/bgmix-0/starts", 3, 13), "bgmix-0: clips are not one candidate a bin"),
    "a start not drawn": (other_start_of_the_bin, "bgmix-0: starts are not those drawn"),
    "too much γ": (put("views/bgmix-0/gamma", 4, 0.51), "bgmix-0: γ is outside [0, 0.5]"),
    "no γ": (put("views/bgmix-0/gamma", 4, np.nan), "bgmix-0: γ is outside [0, 0.5]"),
    "γ not drawn": (put("views/bgmix-1/gamma", 4, 0.25), "bgmix-1: γ is not the one drawn"),
    "donor unknown": (put("views/bgmix-1/donor", 4, "x"), "donors are videos that this cache does not know"),
    "donor of its own": (put("views/bgmix-1/donor", 4, "source/1"), "donors are of the mixed videos' own domain"),
    "no donors": (without("views/bgmix-0/donor", "views/bgmix-0/gamma"), "bgmix-0: donors or γ are missing"),
    "donors in plain": (donors_in_plain, "plain: it has donors, and is no mix"),
}  # fmt: skip


@pytest.mark.parametrize("forgery", SHARD, ids=str)
def test_each_statement_about_shards_finds_what_only_it_finds(root: Path, forgery: str) -> None:
    change, expected = SHARD[forgery]
    with forged(root, "shards", "source/0") as file:
        change(file)
    done = checked(root)
    assert {finding.what for finding in done.findings} == {expected}
    name = holding(root, "shards", "source/1").relative_to(root).as_posix()
    assert {(finding.file, finding.remedy) for finding in done.findings} == {(name, "extract")}


def linked(link: object) -> FORGE:
    def change(file: h5py.File) -> None:
        del file["videos/label"]
        file["videos/label"] = link

    return change


STRUCTURE = {
    "kind of a column": narrowed("videos", "label", np.int32),
    "kind of starts": narrowed("views/plain", "starts", np.int32),
    "a start before the video": put("views/bgmix-1/starts", 0, -4),
    "a soft link": linked(h5py.SoftLink("/videos/fps")),
    "a link to another file": linked(h5py.ExternalLink("other.h5", "/label")),
    "no table": without("videos"),
    "no ids": without("videos/id"),
}
"""What readers refuse whatever else is right."""


@pytest.mark.parametrize("forgery", STRUCTURE, ids=str)
def test_what_readers_refuse_is_one_finding_and_not_the_end(root: Path, forgery: str) -> None:
    with forged(root, "shards", "target/0") as file:
        file["views/speed-2/features"][3] = np.inf
    path = holding(root, "shards", "source/0")
    with edited(path) as file:
        STRUCTURE[forgery](file)
    refused = [finding for finding in checked(root).findings if finding.file == f"shards/{path.name}"]
    assert len(refused) == 1
    assert "speed-2: 1 of 222 rows are not finite, in" in whats(root)


BOTH = {
    "frames": ("n_frames", 0, "videos have no frame"),
    "hash": ("sha256", "no hash", "hashes of videos are no sha256"),
    "bytes": ("n_bytes", -1, "videos have less than no bytes"),
    "name": ("id", "bow\n1", "ids are empty or no plain text"),
    "no name": ("id", " ", "ids are empty or no plain text"),
    "name of another": ("id", "source/test-1", "videos stand there twice"),
}


@pytest.mark.parametrize("forgery", BOTH, ids=str)
def test_what_shards_and_surveys_say_alike_is_checked_as_well(root: Path, forgery: str) -> None:
    column, value, expected = BOTH[forgery]
    paths = [holding(root, folder, "source/test-0") for folder in ("shards", "surveys")]
    for path in paths:
        with edited(path) as file:
            file["videos"][column][0] = value
    done = checked(root)
    assert {finding.what for finding in done.findings} == {expected}
    assert {finding.file for finding in done.findings} == {path.relative_to(root).as_posix() for path in paths}


def test_a_donor_that_was_not_drawn_is_found(root: Path) -> None:
    """Of eleven others one may be what was drawn next, had the first ones been unreadable: that can't be told."""
    path = holding(root, "shards", "source/0")
    content, found = path.read_bytes(), 0
    with h5py.File(path, "r") as file:
        drawn = file["views/bgmix-1/donor"].asstr()[4]
    for number in range(12):
        if f"target/{number}" != drawn:
            with edited(path) as file:
                file["views/bgmix-1/donor"][4] = f"target/{number}"
            names = [finding.names for finding in checked(root).findings if "not those drawn" in finding.what]
            assert names in ([], [(f"source/4, bgmix-1: target/{number}",)])
            found += len(names)
            path.write_bytes(content)
    assert found >= 9


def test_mixes_drawn_while_a_donor_could_not_be_read_are_right(tmp_path: Path) -> None:
    """It is readable today, so today's draws would fall on it."""
    root = write_sound(tmp_path / "cache", 12, unreadable="target/7")
    with h5py.File(holding(root, "shards", "source/0"), "r") as file:
        there = [file["views"][view]["donor"].asstr()[...].tolist() for view in RECIPE.views.mixed]
    plans = {number: plan_clips(frames_of(number)) for number in range(12)}
    donors, views = [f"target/{number}" for number in range(12)], RECIPE.views
    today = [
        [
            draw_mix(plan, f"source/{number}", view, donors, lambda name: True, views.seed, views.gamma_max).donor
            for number, plan in plans.items()
        ]
        for view in views.mixed
    ]
    assert "target/7" in {donor for drawn in today for donor in drawn}
    assert there != today
    assert checked(root).sound


SURVEY = {
    "its own key": (set_attribute("key", "0" * 64), "it belongs to another recipe than the manifest's"),
    "no backgrounds": (without("backgrounds"), "/backgrounds is missing"),
    "fewer": (
        lambda file: replace_array(file, "backgrounds", file["backgrounds"][1:]),
        f"its backgrounds are uint8 [11, {SIZE}, {SIZE}, 3], not uint8 [12, {SIZE}, {SIZE}, 3]",
    ),
    "a label": (put("videos/label", 1, 2), "labels are outside the 2 classes"),
}


@pytest.mark.parametrize("forgery", SURVEY, ids=str)
def test_each_statement_about_surveys_finds_what_only_it_finds(root: Path, forgery: str) -> None:
    change, expected = SURVEY[forgery]
    path = holding(root, "surveys", "target/0")
    with edited(path) as file:
        change(file)
    done = checked(root)
    assert {(finding.file, finding.what) for finding in done.findings} == {(f"surveys/{path.name}", expected)}


def test_a_background_that_can_not_be_read_is_found(root: Path) -> None:
    path = holding(root, "surveys", "target/0")
    with h5py.File(path, "r") as file:
        place = file["backgrounds"].id.get_chunk_info(3).byte_offset
    with edited(path) as file:
        pass
    content = bytearray(path.read_bytes())
    content[place + 20] ^= 1
    path.write_bytes(content)
    with edited(path) as file:  # sealed anew
        pass
    assert [(one.what, one.names) for one in checked(root).findings] == [("backgrounds can't be read", ("number 3",))]


def test_two_surveys_must_agree(root: Path) -> None:
    path = holding(root, "surveys", "target/0")
    copy = path.with_name("target-copied.h5")
    shutil.copyfile(path, copy)
    assert checked(root).sound
    with edited(copy) as file:
        file["videos/n_frames"][0] += 4
    assert "another survey says otherwise of the same videos" in whats(root)


def test_a_video_is_in_one_shard(root: Path) -> None:
    path = holding(root, "shards", "target/0")
    shutil.copyfile(path, path.with_name("target-copied.h5"))
    (found,) = checked(root).findings
    assert (found.what, found.count) == ("videos are in another shard too", 12)
    assert len(found.names) == 12


def test_a_video_is_of_the_domain_it_is_listed_in(root: Path) -> None:
    for folder in ("shards", "surveys"):
        with edited(holding(root, folder, "source/test-0")) as file:
            file.attrs["domain"] = "target"
    assert whats(root) == {"videos are listed in the other domain than theirs"}
