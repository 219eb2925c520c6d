"""Parts of an extract are joined, cut off, joined again, and come out as what one extract would have made."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from builders import WriteVideo, small_recipe
from comix_fast.cache import CacheWriter, FeatureCache
from comix_fast.cache import merge as module
from comix_fast.cache.compact import compact
from comix_fast.cache.format import VideoRow, ViewClips
from comix_fast.cache.merge import Merged, merge
from comix_fast.cache.parts import Division, Part, read_records
from comix_fast.cache.seal import read_seal
from comix_fast.cache.surveys import Surveys
from comix_fast.config import ViewPlan
from comix_fast.console import Silent
from comix_fast.datasets import Dataset, check_files, load_folders
from comix_fast.errors import CacheError
from comix_fast.stages import extract
from comix_fast.video import choose_decoder

SIZE = 32
SOURCE = [f"source/{number}" for number in range(4)]
TARGET = [f"target/{number}" for number in range(2)]
SHARDS = (SOURCE[:2], SOURCE[2:], TARGET)
ARCHIVED = Path(__file__).parents[1] / "data" / "caches" / "form-1"


class Pooling(nn.Module):
    """Stands for a backbone: four pixels of each frame, channels averaged."""

    name = "pooling"
    feature_dim = 32
    warning = "it only stands for one"

    def forward(self, clips: Tensor) -> Tensor:
        return clips[:, :, :, 7::16, 7::16].mean(dim=1).flatten(1)


def extracted(dataset: Dataset, out: Path, part: Part | None = None) -> Path:
    recipe = small_recipe(views=ViewPlan((2,), 2, seed=3), size=SIZE)
    decoder = choose_decoder("pyav")
    extract.run(recipe, dataset, Pooling(), decoder, out, reporter=Silent(), shard_size=2, part=part)  # type: ignore[arg-type]
    return out


@pytest.fixture
def films(tmp_path: Path, film: WriteVideo) -> Dataset:
    """Two domains of two classes, three videos each; one video of each domain can't be read."""
    for number in range(12):
        domain, name = "ab"[number % 2], ("go", "stop")[number // 2 % 2]
        film(tmp_path / domain / name / f"{number // 4}.mp4", 5 + 7 * number, seed=number)
    for lost in ("a/go/1.mp4", "b/stop/2.mp4"):
        (tmp_path / lost).write_bytes(b"no video")
    return check_files(load_folders(tmp_path / "a", tmp_path / "b"))


def rows(videos: Sequence[str], sha256: str = "0" * 64) -> list[VideoRow]:
    return [VideoRow(video, 0, 72, float("nan"), sha256, 1) for video in videos]


def write(
    root: Path,
    shards: Sequence[Sequence[str]],
    *,
    part: Part | None = None,
    finished: bool = True,
    failed: Sequence[str] = (),
    shard_size: int = 2,
    recipe: Any = None,
    lists: dict[str, Any] | None = None,
    value: float = 1.0,
    sha256: str = "0" * 64,
) -> Path:
    """A made-up part; values differ by video."""
    division = Division(part.of if part else 1, shard_size, "d" * 64)
    failures = [{"id": video, "path": f"/{video}", "reason": f"gone from {root.name}"} for video in failed]
    with CacheWriter.open(root, recipe or small_recipe(0), part=part) as cache:
        if part is not None:
            cache.begin_part(division)
        named = {"source": [[v, 0] for v in SOURCE], "target": [[v, None] for v in TARGET]}
        domains = {name: {"name": name, "train": train, "test": None} for name, train in named.items()}
        cache.write_dataset({"name": "d", "classes": ["one", "two"], "notes": [], **domains, **(lists or {})})
        for ids in shards:
            domain = ids[0].split("/")[0]
            backgrounds = [np.full((4, 4, 3), int(video[-1]), np.uint8) for video in ids]
            cache.add_survey(domain, rows(ids, sha256), backgrounds)
            with cache.shard(domain) as shard:
                for row in rows(ids, sha256):
                    features = np.full((2, 3), value + int(row.id[-1]), np.float16)
                    shard.add(row, {"plain": ViewClips(features, np.arange(2) * 4)})
        if part is None:
            cache.write_failures(failures)
        elif finished:
            cache.finish_part(division, failures)
    return root


def files_of(root: Path) -> dict[str, bytes]:
    found = (path for path in root.rglob("*") if path.is_file() and not path.name.startswith(".lock"))
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in found}


def times_of(root: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file() and ".lock" not in path.name}


def two_parts(tmp_path: Path) -> list[Path]:
    shares = (Part(1, 2).share(SHARDS), Part(2, 2).share(SHARDS))
    return [write(tmp_path / f"p{n}", share, part=Part(n, 2)) for n, share in enumerate(shares, 1)]


def test_parts_join_into_what_one_extract_makes(films: Dataset, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    whole = extracted(films, tmp_path / "whole")
    assert len(FeatureCache(whole).failures()) == 2
    for of in (2, 3):
        parts = [extracted(films, tmp_path / f"{n}-of-{of}", Part(n, of)) for n in range(1, of + 1)]
        before = [files_of(part) for part in parts]
        done = merge(parts[::-1], tmp_path / f"merged-{of}")
        assert files_of(done.cache) == files_of(whole)
        assert [files_of(part) for part in parts] == before
        assert (done.n_videos, done.n_listed, len(done.failures), done.lacking) == (10, 12, 2, ())
        assert done.n_files == len(list(whole.rglob("*.h5"))) and done.n_present == 0
        # Into one of them; and once more, which does nothing.
        assert files_of(merge(parts, parts[0]).cache) == files_of(whole)
        times = times_of(done.cache)
        again = merge(parts, done.cache)
        assert times_of(done.cache) == times
        assert (again.n_files, again.n_bytes, again.n_present) == (0, 0, done.n_files)


def test_parts_in_one_folder_are_finished_by_it(films: Dataset, tmp_path: Path) -> None:
    whole = extracted(films, tmp_path / "whole")
    for number in (1, 2):
        extracted(films, tmp_path / "both", Part(number, 2))
    assert files_of(merge([tmp_path / "both"], tmp_path / "both").cache) == files_of(whole)


def test_a_merge_that_was_killed_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts, whole = two_parts(tmp_path), write(tmp_path / "whole", SHARDS)
    through, n_copied = module.copy_checked, 0

    def killed(source: Path, target: Path) -> int:
        nonlocal n_copied
        if n_copied == stop:
            target.parent.mkdir(exist_ok=True)
            target.with_name(f".{target.name}.xyz.partial").write_bytes(source.read_bytes()[:100])
            raise KeyboardInterrupt
        n_copied += 1
        return through(source, target)

    for stop in range(6):
        n_copied = 0
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(module, "copy_checked", killed)
            merge(parts, tmp_path / f"m{stop}")
        assert FeatureCache(tmp_path / f"m{stop}").extracted <= {*SOURCE, *TARGET}
        done = merge(parts, tmp_path / f"m{stop}")
        assert (done.n_present, done.n_files) == (stop, 6 - stop)
        assert files_of(done.cache) == files_of(whole)


def test_missing_parts_are_listed_and_may_come_later(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole", SHARDS)
    parts = [write(tmp_path / f"p{n}", [shard], part=Part(n, 4)) for n, shard in enumerate(SHARDS, 1)]
    write(tmp_path / "p2", [], part=Part(2, 4), finished=False)
    for path in (tmp_path / "p2").glob("*/*.h5"):
        path.unlink()
    with pytest.raises(CacheError) as refused:
        merge(parts[:2], tmp_path / "m")
    assert refused.value.details == (
        "not among the folders: part 3, 4 of 4",
        "not finished: part 2 of 4",
        "without features, and no reason why: 4 of 6 listed videos",
        "the first of them: source/2, source/3, target/0, target/1",
    )
    assert not (tmp_path / "m").exists()
    done = merge(parts[:2], tmp_path / "m", allow_missing=True)
    assert done.lacking == refused.value.details
    assert [(record.part.number, record.finished) for record in read_records(done.cache)] == [(1, True), (2, False)]
    assert FeatureCache(done.cache).summary().unfinished_parts == ("2-of-4",)
    with pytest.raises(CacheError, match=r"not among the folders: part 4 of 4\n.*not finished: part 2 of 4"):
        merge(parts[2:], tmp_path / "m")
    write(tmp_path / "p2", SHARDS[1:2], part=Part(2, 4))
    # The fourth part has no videos to do: what is there is all there is.
    assert files_of(merge(parts[1:], tmp_path / "m").cache) == files_of(whole)


def test_failures_are_joined(tmp_path: Path) -> None:
    one = write(tmp_path / "p1", [SOURCE[:1]], part=Part(1, 2), failed=[*TARGET, SOURCE[1], SOURCE[2]])
    other = write(tmp_path / "p2", [SOURCE[2:]], part=Part(2, 2), failed=[TARGET[0]])
    done = merge([other, one], tmp_path / "m")
    expected = [(SOURCE[1], "p1"), (TARGET[0], "p2"), (TARGET[1], "p1")]
    found = [(one["id"], one["reason"].removeprefix("gone from ")) for one in done.failures]
    assert found == expected and done.lacking == ()
    assert FeatureCache(done.cache).failures() == done.failures
    assert read_records(done.cache) == []


def test_a_failure_that_was_mended_is_forgotten(tmp_path: Path) -> None:
    old = write(tmp_path / "old", SHARDS[:1], failed=SOURCE[2:])
    new = write(tmp_path / "new", SHARDS[1:2])
    done = merge([new], old, allow_missing=True)
    assert FeatureCache(old).failures() == done.failures == ()
    assert done.lacking == (
        "without features, and no reason why: 2 of 6 listed videos",
        "the first of them: target/0, target/1",
    )


def test_another_recipe_is_refused_with_the_fields_that_differ(tmp_path: Path) -> None:
    recipe = small_recipe(0)
    other = replace(recipe, backbone=dict(recipe.backbone) | {"precision": "bf16"})
    parts = [write(tmp_path / "p1", SHARDS[:2]), write(tmp_path / "p2", SHARDS[2:], recipe=other)]
    for given, out in ((parts, tmp_path / "m"), (parts[:1], parts[1]), (parts[1:], parts[0])):
        before = [files_of(part) for part in parts]
        with pytest.raises(CacheError) as refused:
            merge(given, out)
        assert all(f"{part}" in str(refused.value) for part in parts)
        assert any(line.startswith("backbone.precision: ") for line in refused.value.details)
        assert "batch_size" not in str(refused.value)
        assert [files_of(part) for part in parts] == before
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("lists", "said"),
    [
        ({"classes": ["one", "three"]}, "classes: 2 in .*p1, 2 in .*p2; only in .*p1: two; only in .*p2: three"),
        (
            {"source": {"name": "source", "train": [[v, 0] for v in [*SOURCE[:3], "source/9"]], "test": None}},
            "source train: 4 in .*; only in .*p1: source/3; only in .*p2: source/9",
        ),
        (
            {"source": {"name": "source", "train": [[v, int(v == SOURCE[2])] for v in SOURCE], "test": None}},
            "source train: 1 videos have other labels: source/2",
        ),
        (
            {"target": {"name": "target", "train": [[v, None] for v in TARGET[::-1]], "test": None}},
            "target train: the videos are in another order",
        ),
        (
            {"target": {"name": "target", "train": [[v, None] for v in TARGET], "test": []}},
            "target test: only .*p2 has such a list",
        ),
    ],
)
def test_other_lists_are_refused_with_what_differs(tmp_path: Path, lists: dict[str, Any], said: str) -> None:
    parts = [write(tmp_path / "p1", SHARDS[:2]), write(tmp_path / "p2", SHARDS[2:], lists=lists)]
    with pytest.raises(CacheError, match=rf"(?s)p2 is of other lists of videos than .*p1; .*{said}"):
        merge(parts, tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_other_divisions_are_refused_with_what_differs(tmp_path: Path) -> None:
    one = write(tmp_path / "p1", SHARDS[:2], part=Part(1, 2))
    other = write(tmp_path / "p2", SHARDS[2:], part=Part(2, 3), shard_size=5)
    with pytest.raises(CacheError) as refused:
        merge([one, other], tmp_path / "m")
    assert f"{other} divides the videos otherwise than {one}" in str(refused.value)
    assert refused.value.details == (f"parts: 2 in {one}, 3 in {other}", f"--shard-size: 2 in {one}, 5 in {other}")


def test_a_video_in_two_parts_must_be_the_same(tmp_path: Path) -> None:
    one, twin = write(tmp_path / "p1", SHARDS), write(tmp_path / "p2", SHARDS[1:])
    assert files_of(merge([one, twin], tmp_path / "m").cache) == files_of(one)
    unlike = write(tmp_path / "p3", SHARDS[1:2], value=3)
    with pytest.raises(CacheError, match=r"(?s)p1/shards/.*and .*p3/shards/.* not the same file: source/2, source/3"):
        merge([one, unlike], tmp_path / "n")
    elsewhere = write(tmp_path / "p4", [SOURCE[1:3]])
    with pytest.raises(CacheError, match=r"2 videos of .*p4/shards/.* are in .*p1/shards/.* too: source/1, source/2"):
        merge([one, elsewhere], tmp_path / "n")
    assert not (tmp_path / "n").exists()


def test_each_video_has_one_survey(tmp_path: Path) -> None:
    one = write(tmp_path / "p1", [SOURCE[:2], TARGET])
    # Donors of another part are surveyed twice, in other company.
    other = write(tmp_path / "p2", [SOURCE[2:]])
    with CacheWriter.open(other, small_recipe(0)) as cache:
        some = [SOURCE[1], *TARGET, SOURCE[3]]
        cache.add_survey("source", rows(some), [np.full((4, 4, 3), int(v[-1]), np.uint8) for v in some])
    done = merge([one, other], tmp_path / "m", allow_missing=True)
    surveys = Surveys(done.cache, FeatureCache(done.cache).key)
    assert surveys.rows.keys() == {*SOURCE, *TARGET}
    assert all(int(surveys.background(video).max()) == int(video[-1]) for video in surveys.rows)
    times = times_of(done.cache)
    merge([other, one], done.cache)
    assert times_of(done.cache) == times


def test_surveys_of_other_files_are_refused(tmp_path: Path) -> None:
    one, other = write(tmp_path / "p1", SHARDS), write(tmp_path / "p2", SHARDS[:1], sha256="f" * 64)
    for path in (other / "shards").iterdir():
        path.unlink()
    with pytest.raises(CacheError, match=r"(?s)are of different files of source/0.*sha256 (0{12} and f|f{12} and 0)"):
        merge([one, other], tmp_path / "m")
    assert list((tmp_path / "m").rglob("*.h5")) == []


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)


def test_a_damaged_file_is_not_handed_on(tmp_path: Path) -> None:
    parts = two_parts(tmp_path)
    (shard,) = (parts[1] / "shards").iterdir()
    with shard.open("rb") as file:
        seal = read_seal(file, "")
    assert seal is not None
    flip(shard, seal.features[0][0])
    with pytest.raises(CacheError, match=f"p2/shards/{shard.name} is not what was written"):
        merge(parts, tmp_path / "m")
    assert not (tmp_path / "m" / "shards" / shard.name).exists()
    flip(shard, seal.features[0][0])
    assert files_of(merge(parts, tmp_path / "m").cache) == files_of(write(tmp_path / "whole", SHARDS))


def test_a_copy_that_went_wrong_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts, through = two_parts(tmp_path), shutil.copyfile

    def wrong(source: Path, target: Path) -> None:
        through(source, target)
        flip(Path(target), 3000)

    monkeypatch.setattr("shutil.copyfile", wrong)
    with pytest.raises(CacheError, match=r"\.partial is not what was written"):
        merge(parts, tmp_path / "m")
    assert list((tmp_path / "m").rglob("*.h5")) == []


def test_parts_of_form_1_are_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [Path(shutil.copytree(ARCHIVED, tmp_path / name)) for name in ("p1", "p2")]
    for number, part in enumerate(parts):
        for folder in ("shards", "surveys"):
            for path in sorted((part / folder).iterdir())[number::2]:
                path.unlink()
    done = merge(parts, tmp_path / "m")
    expected = {path.name: path.read_bytes() for path in ARCHIVED.rglob("*.h5")}
    assert {path.name: path.read_bytes() for path in done.cache.rglob("*.h5")} == expected
    one, other = FeatureCache(ARCHIVED), FeatureCache(done.cache)
    assert (other.extracted, other.key, other.lists) == (one.extracted, one.key, one.lists)
    through = shutil.copyfile
    monkeypatch.setattr("shutil.copyfile", lambda one, two: (through(one, two), flip(Path(two), 3000)))
    with pytest.raises(CacheError, match="is not what was read"):
        merge(parts, tmp_path / "n")


def test_one_merge_at_a_time(tmp_path: Path) -> None:
    parts = two_parts(tmp_path)
    with (
        CacheWriter.open(tmp_path / "m", small_recipe(0)),
        pytest.raises(CacheError, match="another process is writing"),
    ):
        merge(parts, tmp_path / "m")


def test_a_small_disk_is_told_before_anything_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = two_parts(tmp_path)
    with monkeypatch.context() as patched, pytest.raises(CacheError, match=r"(?s)no room: it takes .*what is copied"):
        patched.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 100}))
        merge(parts, tmp_path / "m")
    assert list((tmp_path / "m").rglob("*.h5")) == []
    assert merge(parts, tmp_path / "m").lacking == ()


def test_what_is_no_part_is_refused(tmp_path: Path) -> None:
    (part, _) = two_parts(tmp_path)
    file = compact(part, tmp_path / "p.h5").path
    for given, out, said in (
        ([file], tmp_path / "m", "is a file; parts are folders"),
        ([tmp_path], tmp_path / "m", "holds no feature cache"),
        ([part], file, "is a file, not a folder"),
        ([], tmp_path / "m", "no parts to merge"),
        ([tmp_path / "m"], tmp_path / "m", "no parts to merge"),
    ):
        with pytest.raises(CacheError, match=said):
            merge(given, out, allow_missing=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.h5", "p1", "p2"]


def test_nothing_is_copied_twice_for_one_folder_named_twice(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole", SHARDS)
    (tmp_path / "link").symlink_to(whole)
    done: Merged = merge([whole, tmp_path / "link", tmp_path / "whole" / ".." / "whole"], tmp_path / "m")
    assert (done.n_files, files_of(done.cache)) == (6, files_of(whole))
