"""The published layouts and split files of CoMix: UCF-HMDB, Jester and EPIC-Kitchens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

from comix_fast.datasets.assembly import assemble
from comix_fast.datasets.frame_pickle import read_columns
from comix_fast.datasets.model import Dataset, Domain, Origin, Split, Video
from comix_fast.datasets.naming import absolute
from comix_fast.datasets.tables import read_rows, videos_of
from comix_fast.errors import DatasetError, first_few
from comix_fast.printable import is_plain

# Names as HMDB's own ids spell them; the lists pair each with its number.
UCF_HMDB_CLASSES = (
    "climb",
    "fencing",
    "golf",
    "kick_ball",
    "pullup",
    "punch",
    "pushup",
    "ride_bike",
    "ride_horse",
    "shoot_ball",
    "shoot_bow",
    "walk",
)
JESTER_CLASSES = tuple(f"gesture-{number}" for number in range(7))
# The verb that stands for each class; the files' `verb` column pairs take, get and pick-up with 0, and so on.
EPIC_CLASSES = ("take", "put", "open", "close", "wash", "cut", "mix", "pour")

_JESTER_NOTE = (
    "Jester's published lists give the seven merged gestures numbers and no names; here they are called "
    "gesture-0 … gesture-6"
)
_VALIDATION_NOTE = (
    "as in the published code, the target accuracy is measured on the source's validation list "
    "(jester_source_val.csv), not on the target's"
)
_EPIC_NOTE = (
    "EPIC segments are the frames that the published code takes, numbered start_frame + 1 … stop_frame: it "
    "counts from 0 where EPIC counts from 1, so they begin one frame later than annotated"
)
_EPIC_COLUMNS = ("uid", "video_id", "start_frame", "stop_frame", "verb_class")


@dataclass(frozen=True)
class _Side:
    """One published domain: its split files, and the folder of its videos below the base folder."""

    name: str
    train: str
    test: str
    videos: str


_SIDES: Mapping[str, _Side] = {
    "ucf": _Side("UCF", "ucf101_train_hmdb_ucf.csv", "ucf101_val_hmdb_ucf.csv", "ucf_videos"),
    "hmdb": _Side("HMDB", "hmdb51_train_hmdb_ucf.csv", "hmdb51_val_hmdb_ucf.csv", "hmdb_videos"),
    "jester-s": _Side("Jester-S", "jester_source_train.csv", "jester_source_val.csv", "jester_videos"),
    "jester-t": _Side("Jester-T", "jester_target_train.csv", "jester_target_val.csv", "jester_videos"),
    "d1": _Side("D1", "D1_train.pkl", "D1_test.pkl", "epic_kitchens_videos"),
    "d2": _Side("D2", "D2_train.pkl", "D2_test.pkl", "epic_kitchens_videos"),
    "d3": _Side("D3", "D3_train.pkl", "D3_test.pkl", "epic_kitchens_videos"),
}
_PAIRS: Mapping[str, tuple[str, str]] = {
    "ucf-hmdb": ("ucf", "hmdb"),
    "hmdb-ucf": ("hmdb", "ucf"),
    "jester": ("jester-s", "jester-t"),
    **{f"epic-{one}-{other}": (one, other) for one, other in permutations(("d1", "d2", "d3"), 2)},
}
#: The names `load_preset` knows.
PRESETS: tuple[str, ...] = tuple(_PAIRS)


def load_preset(name: str, base_dir: Path, splits: Path, *, published_validation: bool = False) -> Dataset:
    """A published dataset, from its split files, over the published layout below `base_dir`.

    name: one of PRESETS. base_dir: the folder that holds ucf_videos and hmdb_videos, jester_videos, or
    epic_kitchens_videos/{train,test}/{D1,D2,D3}. splits: the folder of the published split files.
    published_validation: for jester, measure on the source's validation list, as the published code did; the
    notes then say so.
    Videos are not looked up; see `check_files`. Raises DatasetError for an unknown name, absent or damaged
    split files and labels outside the classes.
    """
    if name not in _PAIRS:
        raise DatasetError(f"there is no preset {name!r}", [f"known are {', '.join(PRESETS)}"])
    if published_validation and name != "jester":
        raise DatasetError(
            f"the published validation list is a matter of jester, not of {name}",
            hint="the other presets are measured on the target's test list here and in the published code",
        )
    pair = tuple(_SIDES[side] for side in _PAIRS[name])
    _require_files(pair, splits)
    if name.startswith("epic"):
        source, target = (_epic_domain(side, base_dir, splits) for side in pair)
        return assemble(name, EPIC_CLASSES, source, target, notes=[_EPIC_NOTE])
    if name != "jester":
        source, target = (_csv_domain(side, base_dir, splits, UCF_HMDB_CLASSES) for side in pair)
        return assemble(name, UCF_HMDB_CLASSES, source, target)
    source, target = (_csv_domain(side, base_dir, splits, JESTER_CLASSES) for side in pair)
    notes = [_JESTER_NOTE]
    if published_validation:
        source, target = _with_source_validation(source, target)
        notes.append(_VALIDATION_NOTE)
    return assemble(name, JESTER_CLASSES, source, target, notes=notes)


def _require_files(pair: tuple[_Side, ...], splits: Path) -> None:
    names = [name for side in pair for name in (side.train, side.test)]
    absent = [name for name in names if not (splits / name).is_file()]
    if absent:
        raise DatasetError(
            f"{len(absent)} of {len(names)} split files are not under {splits}",
            [first_few(absent)],
            "pass --splits with the folder video_splits of the CoMix repository",
        )


def _csv_domain(side: _Side, base_dir: Path, splits: Path, classes: tuple[str, ...]) -> Domain:
    root = absolute(base_dir / side.videos)

    def videos(name: str) -> tuple[Video, ...]:
        path = splits / name
        return videos_of(read_rows(path), root, classes, str(path), unlabelled=False)

    return Domain(side.name, videos(side.train), videos(side.test), _origin(side, base_dir, root))


def _origin(side: _Side, base_dir: Path, root: Path) -> Origin:
    return Origin(root, (side.train, side.test), f"check --base-dir {base_dir}")


def _with_source_validation(source: Domain, target: Domain) -> tuple[Domain, Domain]:
    lists = (target.origin.lists[0], f"{source.origin.lists[1]}, the source's own, as in the published code")
    origin = Origin(target.origin.root, lists, target.origin.advice)
    return Domain(source.name, source.train, None, source.origin), Domain(
        target.name, target.train, source.test, origin
    )


def _epic_domain(side: _Side, base_dir: Path, splits: Path) -> Domain:
    root = absolute(base_dir / side.videos)

    def videos(name: str, split: Split) -> tuple[Video, ...]:
        return read_segments(splits / name, root / split / side.name)

    return Domain(side.name, videos(side.train, "train"), videos(side.test, "test"), _origin(side, base_dir, root))


def read_segments(path: Path, root: Path) -> tuple[Video, ...]:
    """The rows of an EPIC-Kitchens split file as segments of the videos under `root`; ids are `video_id_uid`.

    Published code: positions [start_frame, stop_frame) of the sorted folder; its frames are numbered from 1.
    Raises DatasetError if the file is no such frame, or a row has no plain video id, no frames, or a verb
    class outside the eight.
    """
    columns = read_columns(path, _EPIC_COLUMNS)
    numbers = [name for name in _EPIC_COLUMNS if name != "video_id" and columns[name].dtype.kind not in "iu"]
    if numbers:
        raise DatasetError(f"{path} has other than whole numbers in {', '.join(numbers)}")
    rows = list(zip(*(columns[name].tolist() for name in _EPIC_COLUMNS), strict=True))
    _require_rows(path, "have no plain video id", [row for row in rows if not _is_video_id(row[1])], len(rows))
    _require_rows(path, "have no frames", [row for row in rows if not 0 <= row[2] < row[3]], len(rows))
    outside = [row for row in rows if not 0 <= row[4] < len(EPIC_CLASSES)]
    _require_rows(path, f"have a verb class outside 0 … {len(EPIC_CLASSES) - 1}", outside, len(rows))
    return tuple(
        Video(f"{video}_{uid}", root / video, verb, (first + 1, stop)) for uid, video, first, stop, verb in rows
    )


def _is_video_id(value: object) -> bool:
    """Whether it is the plain name of one folder: a list must not lead out of the published layout."""
    return isinstance(value, str) and value not in ("", ".", "..") and "/" not in value and is_plain(value)


def _require_rows(path: Path, fault: str, rows: list[tuple[object, ...]], total: int) -> None:
    if rows:
        raise DatasetError(
            f"{len(rows):,} of {total:,} rows of {path} {fault}",
            [first_few(f"uid {row[0]!a}" for row in rows)],
        )
