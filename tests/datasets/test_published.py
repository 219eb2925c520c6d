"""The published split files, read for what they are: counts, labels, names and places."""

from __future__ import annotations

import csv
import os
import pickle
import time
from collections import defaultdict
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from comix_fast.datasets import PRESETS, Dataset, check_files, find_missing, load_preset
from comix_fast.datasets.frame_pickle import read_columns
from comix_fast.datasets.published import EPIC_CLASSES, UCF_HMDB_CLASSES, read_segments
from comix_fast.errors import DatasetError

COUNTS = {
    "UCF": (1438, 571),
    "HMDB": (840, 360),
    "Jester-S": (45899, 5599),
    "Jester-T": (45827, 5588),
    "D1": (1543, 435),
    "D2": (2495, 750),
    "D3": (3897, 974),
}
DOMAINS = {
    "ucf-hmdb": ("UCF", "HMDB"),
    "hmdb-ucf": ("HMDB", "UCF"),
    "jester": ("Jester-S", "Jester-T"),
    **{f"epic-{a}-{b}".lower(): (a, b) for a, b in permutations(("D1", "D2", "D3"), 2)},
}


@pytest.fixture
def splits(shared: Path) -> Path:
    return shared / "splits"


@pytest.fixture(scope="module")
def jester(shared: Path) -> Dataset:
    return load_preset("jester", Path("/absent/jester"), shared / "splits")


def raw(path: Path) -> list[tuple[str, int]]:
    with path.open(newline="") as file:
        return [(name, int(label)) for name, label in csv.reader(file)]


def test_every_preset_is_known() -> None:
    assert set(PRESETS) == set(DOMAINS)


@pytest.mark.parametrize("name", DOMAINS)
def test_counts(name: str, splits: Path, tmp_path: Path) -> None:
    dataset = load_preset(name, tmp_path / "absent", splits)
    assert (dataset.source.name, dataset.target.name) == DOMAINS[name]
    for domain in (dataset.source, dataset.target):
        assert domain.test is not None
        assert (len(domain.train), len(domain.test)) == COUNTS[domain.name]
    videos = dataset.videos()
    assert len({video.id for video in videos}) == len(videos) == sum(len(list_) for _, _, list_ in dataset.lists())
    assert not dataset.transductive
    measured, sentence = dataset.measured()
    assert measured == dataset.target.test
    assert f"{COUNTS[dataset.target.name][1]:,} test videos of {dataset.target.name}" in sentence


def require_rows(dataset: Dataset, splits: Path, lists: list[tuple[str, Path]]) -> None:
    assert len(lists) == 4
    for (_, _, videos), (file, folder) in zip(dataset.lists(), lists, strict=True):
        expected = [(row, folder / row, label) for row, label in raw(splits / f"{file}.csv")]
        assert [(video.id, video.path, video.label) for video in videos] == expected


def test_ucf_hmdb_rows_are_the_csv_s(splits: Path, tmp_path: Path) -> None:
    ucf, hmdb = tmp_path / "ucf_videos", tmp_path / "hmdb_videos"
    lists = [
        ("ucf101_train_hmdb_ucf", ucf),
        ("ucf101_val_hmdb_ucf", ucf),
        ("hmdb51_train_hmdb_ucf", hmdb),
        ("hmdb51_val_hmdb_ucf", hmdb),
    ]
    require_rows(load_preset("ucf-hmdb", tmp_path, splits), splits, lists)


def test_jester_rows_are_the_csv_s(jester: Dataset, splits: Path) -> None:
    names = ("jester_source_train", "jester_source_val", "jester_target_train", "jester_target_val")
    require_rows(jester, splits, [(name, Path("/absent/jester/jester_videos")) for name in names])


def test_class_names_are_those_in_hmdb_s_ids(splits: Path) -> None:
    for file in ("hmdb51_train_hmdb_ucf.csv", "hmdb51_val_hmdb_ucf.csv"):
        for name, label in raw(splits / file):
            assert f"_{UCF_HMDB_CLASSES[label]}_" in name


def test_class_names_fit_ucf_s_ids(splits: Path) -> None:
    words = (
        ("climbing",), ("fencing",), ("golfswing",), ("soccerpenalty",), ("pullups",), ("punch", "boxing"),
        ("pushups",), ("biking",), ("horseriding",), ("basketball",), ("archery",), ("walking",),
    )  # fmt: skip
    for file in ("ucf101_train_hmdb_ucf.csv", "ucf101_val_hmdb_ucf.csv"):
        for name, label in raw(splits / file):
            assert any(word in name.lower() for word in words[label])


def test_epic_class_names_are_the_annotated_verbs(splits: Path) -> None:
    verbs: dict[str, set[int]] = defaultdict(set)
    for path in sorted(splits.glob("D?_*.pkl")):
        columns = read_columns(path, ("verb", "verb_class"))
        for verb, label in zip(columns["verb"], columns["verb_class"], strict=True):
            verbs[verb].add(int(label))
    assert [verbs[name] for name in EPIC_CLASSES] == [{label} for label in range(8)]


@pytest.mark.parametrize("name", ["D1_train", "D1_test", "D2_train", "D2_test", "D3_train", "D3_test"])
def test_epic_frames_are_as_pandas_reads_them(name: str, splits: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_pickle(splits / f"{name}.pkl")
    columns = read_columns(splits / f"{name}.pkl", tuple(frame.columns))
    for column in frame.columns:
        assert columns[column].tolist() == frame[column].tolist()
    segments = read_segments(splits / f"{name}.pkl", Path("/videos"))
    assert len(segments) == len(frame)
    for video, row in zip(segments, frame.itertuples(), strict=True):
        # What the published code takes of the sorted folder, whose frames are numbered from 1.
        taken = range(1, 10**6)[row.start_frame : row.stop_frame]
        assert video.segment == (taken[0], taken[-1])
        assert (video.id, video.label) == (f"{row.video_id}_{row.uid}", row.verb_class)
        assert video.path == Path("/videos") / row.video_id


def test_epic_folders(splits: Path, tmp_path: Path) -> None:
    dataset = load_preset("epic-d3-d1", tmp_path, splits)
    assert dataset.target.test is not None
    videos = tmp_path / "epic_kitchens_videos"
    assert {video.path.parent for video in dataset.source.train} == {videos / "train" / "D3"}
    assert {video.path.parent for video in dataset.target.test} == {videos / "test" / "D1"}
    assert any("one frame later than annotated" in note for note in dataset.notes)


def test_jester_is_measured_on_the_target_unless_asked(jester: Dataset, splits: Path, tmp_path: Path) -> None:
    ours = jester
    assert [video.id for video in ours.measured()[0]] == [row for row, _ in raw(splits / "jester_target_val.csv")]
    theirs = load_preset("jester", tmp_path, splits, published_validation=True)
    assert [video.id for video in theirs.measured()[0]] == [row for row, _ in raw(splits / "jester_source_val.csv")]
    assert "the source's own, as in the published code" in theirs.measured()[1]
    assert any("source's validation list" in note for note in theirs.notes)
    assert not any("source's validation list" in note for note in ours.notes)
    with pytest.raises(DatasetError, match="a matter of jester"):
        load_preset("ucf-hmdb", tmp_path, splits, published_validation=True)


def test_unknown_presets_and_absent_files(splits: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as refused:
        load_preset("ucf_hmdb", tmp_path, splits)
    assert "'ucf_hmdb'" in str(refused.value)
    assert "epic-d1-d2" in str(refused.value)
    (tmp_path / "D1_train.pkl").write_bytes((splits / "D1_train.pkl").read_bytes())
    with pytest.raises(DatasetError) as refused:
        load_preset("epic-d1-d2", tmp_path, tmp_path)
    assert "3 of 4 split files" in str(refused.value)
    assert "D1_test.pkl, D2_train.pkl, D2_test.pkl" in str(refused.value)


def lay_out(dataset: Dataset, skip: set[str]) -> None:
    """Make an empty stand-in for each video: folders and files by turns, those in `skip` left out."""
    for number, video in enumerate(dataset.videos()):
        if video.id in skip:
            continue
        video.path.parent.mkdir(parents=True, exist_ok=True)
        if number % 2:
            video.path.mkdir()
        else:
            video.path.with_name(f"{video.path.name}.{('avi', 'MP4')[number // 2 % 2]}").touch()


def test_videos_are_found_as_folders_or_files(splits: Path, tmp_path: Path) -> None:
    dataset = load_preset("ucf-hmdb", tmp_path / "data" / "ucf_hmdb", splits)
    skip = {dataset.source.train[3].id, dataset.source.train[8].id, dataset.measured()[0][0].id}
    lay_out(dataset, skip)
    missing = find_missing(dataset)
    assert [(one.domain.name, one.split, len(one.videos), one.total) for one in missing] == [
        ("UCF", "train", 2, 1438),
        ("HMDB", "test", 1, 360),
    ]
    with pytest.raises(DatasetError) as refused:
        check_files(dataset)
    videos = tmp_path / "data" / "ucf_hmdb" / "ucf_videos"
    assert str(refused.value).splitlines() == [
        f"2 of 1,438 videos of ucf101_train_hmdb_ucf.csv have no file under {videos}",
        f"  {dataset.source.train[3].id}, {dataset.source.train[8].id}",
        "  looked for a folder of frames, or .avi .mp4 .mkv .webm .mov .m4v .mpg",
        "  1 of 360 videos of hmdb51_val_hmdb_ucf.csv have no file under " + str(videos.with_name("hmdb_videos")),
        f"  check --base-dir {tmp_path / 'data' / 'ucf_hmdb'}, or pass --allow-missing to leave them out",
    ]
    kept = check_files(dataset, allow_missing=True)
    assert {video.id for video in dataset.videos()} - {video.id for video in kept.videos()} == skip
    assert all(video.path.exists() for video in kept.videos())
    assert "359 test videos of HMDB" in kept.measured()[1]
    assert [note.split(" have")[0] for note in kept.notes] == [
        "left out: 2 of 1,438 videos of ucf101_train_hmdb_ucf.csv",
        "left out: 1 of 360 videos of hmdb51_val_hmdb_ucf.csv",
    ]


def test_a_list_without_any_video_is_an_error_even_when_missing_is_allowed(splits: Path, tmp_path: Path) -> None:
    dataset = load_preset("hmdb-ucf", tmp_path, splits)
    assert dataset.source.test is not None
    lay_out(dataset, {video.id for video in dataset.source.test})
    with pytest.raises(DatasetError) as refused:
        check_files(dataset, allow_missing=True)
    assert refused.value.message.startswith("360 of 360 videos of hmdb51_val_hmdb_ucf.csv")
    assert "--allow-missing" not in str(refused.value)


def test_jester_loads_and_checks_fast(splits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = load_preset("jester", tmp_path, splits)
    folder = tmp_path / "jester_videos"
    folder.mkdir()
    for video in dataset.videos()[::500]:
        (folder / video.id).mkdir()
    listed: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: (listed.append(str(path)), scandir(path))[1])
    begun = time.perf_counter()
    missing = find_missing(dataset)
    assert time.perf_counter() - begun < 10  # seconds; about one on an idle machine
    assert listed == [str(folder)]
    assert sum(one.total - len(one.videos) for one in missing) == len(dataset.videos()[::500])


class Kitchen:
    """Pickles as a pandas frame would, but for what it is told to smuggle in."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


def test_a_hostile_split_file_is_refused_by_name(splits: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    smuggled = pickle.dumps(Kitchen(marker), 4)[2:-1]  # without the marks of begin and end
    genuine = (splits / "D1_test.pkl").read_bytes()
    assert genuine[-1:] == b"."
    path = tmp_path / "D1_test.pkl"
    path.write_bytes(genuine[:-1] + smuggled + b"0.")  # run, then dropped: the frame itself would still come out
    with pytest.raises(DatasetError, match=r"D1_test\.pkl asks for posix\.system"):
        read_segments(path, tmp_path)
    assert not marker.exists()


def test_pickles_that_are_no_frame_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "D1_test.pkl"
    for value in ({"uid": [1]}, np.arange(3), None):
        path.write_bytes(pickle.dumps(value))
        with pytest.raises(DatasetError, match="not a frame of plain columns"):
            read_columns(path, ("uid",))


def test_columns_and_rows_that_do_not_fit_are_named(
    splits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DatasetError, match="has no column noun_class"):
        read_columns(splits / "D1_test.pkl", ("uid", "noun_class"))
    good = {
        "uid": np.array([7, 8]),
        "video_id": np.array(["P1", "P1"], dtype=object),
        "start_frame": np.array([3, 4]),
        "stop_frame": np.array([9, 9]),
        "verb_class": np.array([0, 7]),
    }
    faults = {
        "have a verb class outside 0 … 7": {"verb_class": np.array([0, 8])},
        "have no frames": {"stop_frame": np.array([9, 4])},
        "have no plain video id": {"video_id": np.array(["P1", "P\n1"], dtype=object)},
        "other than whole numbers in uid": {"uid": np.array([1.5, 2.5])},
    }
    for fault, columns in faults.items():
        monkeypatch.setattr("comix_fast.datasets.published.read_columns", lambda path, wanted, c=columns: {**good, **c})
        with pytest.raises(DatasetError, match=fault):
            read_segments(tmp_path / "D1_test.pkl", tmp_path)
