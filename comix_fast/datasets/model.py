"""What a dataset is: which videos, which labels, which split, which domain."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Role = Literal["source", "target"]
Split = Literal["train", "test"]


@dataclass(frozen=True)
class Video:
    """One video, or one segment of a long one.

    id: unique over the whole dataset, stable and readable; shards, seeds and reports name the video by it.
    path: a video file or a folder of frames. As listed until `check_files` has found the file itself
        (`videos/v_Golf_g02_c03` may turn out to be `videos/v_Golf_g02_c03.avi`).
    label: the class's index, or None where the list gives none (target lists only).
    segment: first and last frame, both included, as `comix_fast.video.open_stream` takes them: in a folder of
        frames the numbers that end the frames' names (frame_0000000001.jpg is 1), in a file positions from 0;
        None: the whole video.
    """

    id: str
    path: Path
    label: int | None
    segment: tuple[int, int] | None = None


@dataclass(frozen=True)
class Origin:
    """Where a domain's lists came from, for messages.

    root: the folder its videos lie in; lists: the name of the train and of the test list; advice: what to
    check when a video isn't there ("check [source] root in ut.toml").
    """

    root: Path | None = None
    lists: tuple[str, str] = ("the training list", "the test list")
    advice: str = ""


@dataclass(frozen=True)
class Domain:
    """One domain's videos. test: None where it has no test list."""

    name: str
    train: tuple[Video, ...]
    test: tuple[Video, ...] | None = None
    origin: Origin = field(default_factory=Origin, compare=False, repr=False)

    def splits(self) -> Iterator[tuple[Split, tuple[Video, ...]]]:
        """Each list with its name; test only where there is one."""
        yield "train", self.train
        if self.test is not None:
            yield "test", self.test

    def list_name(self, split: Split) -> str:
        """How messages call the list."""
        return self.origin.lists[0 if split == "train" else 1]

    def videos(self) -> tuple[Video, ...]:
        """Each distinct video once, in order; a labelled mention is preferred to one without a label."""
        found: dict[str, Video] = {}
        for _, videos in self.splits():
            for video in videos:
                if video.id not in found or found[video.id].label is None:
                    found[video.id] = video
        return tuple(found.values())


@dataclass(frozen=True)
class Dataset:
    """Two domains over the same classes. Labels of the target measure and never train or select.

    classes: names, in the order of the labels; notes: what a reader of any result should know.
    """

    name: str
    classes: tuple[str, ...]
    source: Domain
    target: Domain
    notes: tuple[str, ...] = ()

    def domains(self) -> tuple[tuple[Role, Domain], ...]:
        """Both domains with their roles, the source first."""
        return ("source", self.source), ("target", self.target)

    def lists(self) -> Iterator[tuple[Role, Split, tuple[Video, ...]]]:
        """Every list of both domains: role, split, videos."""
        for role, domain in self.domains():
            for split, videos in domain.splits():
                yield role, split, videos

    def videos(self) -> tuple[Video, ...]:
        """Each distinct video once, the source's first."""
        return self.source.videos() + self.target.videos()

    @property
    def transductive(self) -> bool:
        """Whether every video the target is measured on is one that was adapted on, without its label."""
        if self.target.test is None:
            return True
        ids = {video.id for video in self.target.train}
        places = {(video.path, video.segment) for video in self.target.train}
        return all(video.id in ids or (video.path, video.segment) in places for video in self.target.test)

    def measured(self) -> tuple[tuple[Video, ...], str]:
        """The labelled target videos that accuracy is measured on, and a sentence that says which."""
        target = self.target
        listed = target.train if target.test is None else target.test
        labelled = tuple(video for video in listed if video.label is not None)
        if not labelled:
            return (
                (),
                f"There is no target accuracy: no video of {target.name} to measure on carries a label.",
            )
        count = f"{len(labelled):,}"
        if len(labelled) < len(listed):
            count = f"{count} labelled of {len(listed):,}"
        if target.test is None:
            why = f"{target.name} has no test list, so this is transductive"
            how = f"on {target.name}'s own {count} training videos, adapted on without their labels ({why})"
        elif self.transductive:
            why = "each is also a training video, so this is transductive"
            how = f"on the {count} test videos of {target.name}, adapted on without their labels ({why})"
        else:
            how = f"on the {count} test videos of {target.name} ({target.list_name('test')})"
        return labelled, f"Target accuracy is measured {how}."

    def noting(self, *notes: str) -> Dataset:
        """The same dataset with these notes added, each once."""
        return dataclasses.replace(self, notes=tuple(dict.fromkeys((*self.notes, *notes))))
