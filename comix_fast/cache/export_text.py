"""What an export says of itself: README.txt for people, cache.json for programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from comix_fast.cache.reader import FeatureCache
from comix_fast.cache.stored_json import json_text

_WHAT = """\
Features of video clips, exported from a comix-fast cache.

One folder for each list of videos, below it one for each view of them:

{folders}

In each of these folders:

features    [N, D] float16    one row a clip
starts      [N] int64         the first frame of each clip; in short videos every frame counts several times
offsets     [V + 1] int64     rows offsets[i] to offsets[i + 1] - 1 are those of video i, in temporal order
labels      [V] int64         number of the class, from 0; -1: not labelled
index.csv                     a row a video, below the heading: id, label, class_name, first_row, n_rows, n_frames, fps,
                              donor, gamma

plain has every candidate clip of a video; speed-K the same ones with frames K apart; bgmix-J is draw J of background
mixing: the background of the video `donor`, of the other list's domain, mixed in with weight `gamma`. A video without
a view has no rows there. cache.json has the names of the classes and the recipe that the features were made with.

{how}"""
_NPY = """\
To read them:

    import numpy
    features = numpy.load("{folder}/features.npy", mmap_mode="r")
    offsets = numpy.load("{folder}/offsets.npy")
    video = features[offsets[0] : offsets[1]]
"""
_SAFETENSORS = """\
The arrays are in arrays.safetensors. To read them:

    from safetensors import safe_open
    with safe_open("{folder}/arrays.safetensors", framework="numpy") as arrays:
        offsets = arrays.get_tensor("offsets")
        video = arrays.get_slice("features")[int(offsets[0]) : int(offsets[1])]
"""


class Written(Protocol):
    """One view of one list, as exported."""

    @property
    def folder(self) -> Path: ...
    @property
    def n_videos(self) -> int: ...
    @property
    def n_rows(self) -> int: ...
    @property
    def dim(self) -> int: ...


def readme(form: str, arrays: Sequence[Written]) -> str:
    """README.txt."""
    folders = "\n".join(
        f"    {one.folder.as_posix():<28}{one.n_videos:,} videos, {one.n_rows:,} clips of {one.dim:,} numbers"
        for one in arrays
    )
    how = {"npy": _NPY, "safetensors": _SAFETENSORS}[form].format(folder=arrays[0].folder.as_posix())
    return _WHAT.format(folders=folders, how=how)


def cache_json(cache: FeatureCache, arrays: Sequence[Written]) -> str:
    """cache.json: the recipe and its key, the classes, and what is in which folder."""
    return json_text(
        {
            "key": cache.key,
            "recipe": cache.recipe,
            "warnings": list(cache.warnings),
            "classes": list(cache.classes),
            "domains": dict(cache.names),
            "arrays": {
                one.folder.as_posix(): {"videos": one.n_videos, "clips": one.n_rows, "dim": one.dim} for one in arrays
            },
        }
    )
