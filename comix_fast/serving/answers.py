"""What a model says of videos: the likeliest classes of each, or why one could not be read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class ClassProbability(NamedTuple):
    """A class by its name, and its probability in [0, 1]."""

    name: str
    probability: float


@dataclass(frozen=True)
class Prediction:
    """A video that was classified. top: its likeliest classes, the first one first; n_frames: frames it has."""

    path: Path
    n_frames: int
    top: tuple[ClassProbability, ...]


@dataclass(frozen=True)
class FailedVideo:
    """A video that could not be classified; reason: one line, without the path."""

    path: Path
    reason: str


@dataclass(frozen=True)
class VideoFeatures:
    """[n, D] float16 features of the clips that the head takes, in temporal order, as a cache would hold them."""

    path: Path
    n_frames: int
    features: NDArray[np.float16]


@dataclass(frozen=True)
class Predictions:
    """One answer for every path given, in that order."""

    videos: tuple[Prediction | FailedVideo, ...]

    def __len__(self) -> int:
        return len(self.videos)

    def __iter__(self) -> Iterator[Prediction | FailedVideo]:
        return iter(self.videos)

    def __getitem__(self, number: int) -> Prediction | FailedVideo:
        return self.videos[number]

    @property
    def predicted(self) -> tuple[Prediction, ...]:
        """The videos that were classified."""
        return tuple(video for video in self.videos if isinstance(video, Prediction))

    @property
    def failed(self) -> tuple[FailedVideo, ...]:
        """The videos that were not."""
        return tuple(video for video in self.videos if isinstance(video, FailedVideo))
