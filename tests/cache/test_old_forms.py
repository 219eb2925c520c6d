"""Caches that every released form wrote are still read, and give what they gave then."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from comix_fast.cache import FeatureCache
from comix_fast.cache.layout import lay_out
from comix_fast.cache.rows import MappedRows

ARCHIVE = Path(__file__).parents[1] / "data" / "caches"
FORMS = sorted(path for path in ARCHIVE.glob("form-*") if path.suffix != ".json")
"""Folders, and compacted files; what they hold is in the JSON file of the same form."""


def test_there_is_an_archive() -> None:
    assert [path.name for path in FORMS] == ["form-1", "form-2", "form-2.h5"]


@pytest.mark.parametrize("root", FORMS, ids=lambda path: path.name)
def test_what_was_written_is_read(root: Path) -> None:
    expected = json.loads(root.with_name(f"{root.stem}.expected.json").read_text())["videos"]
    cache = FeatureCache(root)
    assert cache.extracted == expected.keys()
    for video, known in expected.items():
        assert cache.row(video).n_frames == known.pop("n_frames")
        assert set(cache.views(video)) == known.keys()
        for view, written in known.items():
            clips = cache.clips(video, view)
            assert hashlib.sha256(clips.features.tobytes()).hexdigest() == written["features"]
            assert list(clips.features.shape) == written["shape"]
            assert (clips.starts.tolist(), clips.donor, clips.gamma) == (
                written["starts"],
                written["donor"],
                written["gamma"],
            )


@pytest.mark.parametrize("root", FORMS, ids=lambda path: path.name)
def test_rows_left_in_the_files_are_the_same(root: Path) -> None:
    cache = FeatureCache(root)
    videos = sorted(cache.extracted)
    (layout,) = lay_out(cache, videos, ["plain"])
    rows = MappedRows(layout.stretches, layout.dim)
    for number, video in enumerate(videos):
        first = int(layout.first[number])
        found = rows.read(first, first + int(layout.count[number])).numpy()
        assert found.tobytes() == cache.features(video).tobytes()
