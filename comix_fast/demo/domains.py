"""Two small domains of acted videos, written as MP4 files.

Source and target show the same actions. In the source every class has its own place, which nearly all
its videos are filmed in, so a classifier may lean on backgrounds; in the target every class is filmed in every
place. The target's places look otherwise too, and it has other clothes and light, a higher camera and a
cheaper film.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.video.stream import VideoStream

from comix_fast.demo.figures import ACTIONS, Array, Limb, Manner, limbs_of, motion, turned
from comix_fast.demo.looks import SOURCE, TARGET, Look
from comix_fast.demo.scenes import Frame, Picture, paint_people, paint_place
from comix_fast.errors import DatasetError
from comix_fast.files import remove_partial, whole_file, write_json

CLASSES = tuple(ACTIONS)
N_FRAMES = 72
SIZE = 192
FPS = 24
DRAWING = 1
"""Raised whenever the same seed would draw other videos, so that old sets are not mistaken for new ones."""
RECORD = "demo.json"


def frames_of(look: Look, class_index: int, video_index: int, seed: int) -> Iterator[Frame]:
    """The frames of one video: N_FRAMES of uint8 [SIZE, SIZE, 3], a function of the arguments alone."""
    domain_index = (SOURCE.name, TARGET.name).index(look.name)
    rng = np.random.default_rng([seed, domain_index, class_index, video_index])
    film = look.film(rng)
    grain = np.random.default_rng([seed, domain_index, class_index, video_index, 1])
    return film.develop(_pictures(look, class_index, video_index, rng), grain)


def _pictures(look: Look, class_index: int, video_index: int, rng: np.random.Generator) -> Iterator[Picture]:
    action = ACTIONS[CLASSES[class_index]]
    camera, light = look.camera(SIZE, rng), look.light(rng)
    clothes, girth = look.clothes(rng), float(rng.uniform(0.92, 1.2))
    place = look.places[look.place_of(class_index, video_index)]
    empty = paint_place(place, camera, rng)
    manner = Manner(float(rng.uniform(0.85, 1.2)), float(rng.uniform(0.88, 1.05)), float(rng.uniform()))
    mirrored = rng.random() < 0.5
    yaw = float(rng.uniform(*action.yaws))
    seconds = np.arange(N_FRAMES) / FPS
    for pose, second in zip(motion(action, manner, seconds), seconds, strict=True):
        limbs = limbs_of(pose, clothes, girth, planted=not action.travel)
        facing = yaw + 360.0 * action.turns * second * manner.pace / action.period
        ahead = action.travel * (second - seconds[-1] / 2) * manner.pace
        picture = empty.copy()
        paint_people(picture, [_placed(limb, facing, ahead, mirrored) for limb in limbs], camera, light)
        yield picture


def _placed(limb: Limb, facing: float, ahead: float, mirrored: bool) -> Limb:
    """A limb of a person `ahead` along their way, turned by `facing` degrees: in the world's frame."""

    def world(point: Array) -> Array:
        x, y, z = turned(point + np.array([0.0, 0.0, ahead]), facing)
        return np.array([-x if mirrored else x, y, z])

    return replace(limb, start=world(limb.start), end=world(limb.end))


def write_video(frames: Iterator[Frame], path: Path) -> None:
    """Frames, uint8 [SIZE, SIZE, 3], as an MP4 file that appears whole or not at all.

    H.264, or MPEG-4 where this FFmpeg lacks its encoder. One thread encodes, so equal frames give equal bytes
    on one machine; another FFmpeg may give others.
    """
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    options = {"crf": "18", "preset": "superfast"} if codec == "libx264" else {"qmin": "2", "qmax": "4"}
    with whole_file(path) as partial, av.open(str(partial), "w", format="mp4") as container:
        stream = cast(VideoStream, container.add_stream(codec, rate=FPS, options=options))
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def make_domains(
    root: Path,
    seed: int = 0,
    videos_per_class: int = 5,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write root/source/<class>/NN.mp4 and root/target/<class>/NN.mp4; return the demo.toml that names them.

    The target has no test list: it is measured on its own videos (transductive). A video depends on seed,
    domain, class and number alone, so more videos per class begin with the same ones. What is there already
    is kept: an interrupted set is completed and a finished one reused.

    seed: 0 or more. videos_per_class: 1 to 99; each is N_FRAMES frames of SIZE × SIZE at FPS a second.
    progress: called with (videos there, videos in all) at the start and after each video.
    Raises DatasetError for a folder that holds anything but this set, and for numbers out of range.
    """
    if seed < 0 or not 1 <= videos_per_class <= 99:
        raise DatasetError(
            f"a demo of seed {seed} with {videos_per_class} videos per class can't be made",
            ["the seed must be 0 or more, the videos per class 1 to 99"],
        )
    _claim(root, {"drawing": DRAWING, "seed": seed, "videos_per_class": videos_per_class})
    videos = [
        (look, class_index, number, root / look.name / name / f"{number:02d}.mp4")
        for look in (SOURCE, TARGET)
        for class_index, name in enumerate(CLASSES)
        for number in range(videos_per_class)
    ]
    missing = [video for video in videos if not video[-1].exists()]
    done = len(videos) - len(missing)
    if progress is not None:
        progress(done, len(videos))
    for look, class_index, number, path in missing:
        write_video(frames_of(look, class_index, number, seed), path)
        done += 1
        if progress is not None:
            progress(done, len(videos))
    return _write_toml(root)


def _claim(root: Path, recipe: Mapping[str, int]) -> None:
    """Mark the folder as this set's before anything is in it; refuse a folder that is another's."""
    record = root / RECORD
    if record.exists():
        found, asked = (" ".join(text.split()) for text in (record.read_text("utf-8"), json.dumps(recipe, indent=2)))
        if found != asked:
            raise DatasetError(
                f"{root} holds another demo's videos",
                [f"there: {found}", f"asked: {asked}"],
                "give another folder, or delete this one",
            )
        for folder in (root, *root.glob("*/*/")):
            remove_partial(folder)
        return
    if root.exists() and not root.is_dir():
        raise DatasetError(f"{root} is a file", hint="give a new or empty folder")
    if root.exists() and any(not entry.name.startswith(".") for entry in root.iterdir()):
        raise DatasetError(
            f"{root} is not empty and was not made by the demo (it has no {RECORD})",
            hint="give a new or empty folder",
        )
    write_json(record, dict(recipe))


def _write_toml(root: Path) -> Path:
    path = root / "demo.toml"
    lines = [f"classes = {json.dumps(CLASSES)}"]
    for look in (SOURCE, TARGET):
        lines += ["", f"[{look.name}]", f'name = "{look.name}"', f'train = "{look.name}"']
    text = "\n".join(lines) + "\n"
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        with whole_file(path) as partial:
            partial.write_text(text, encoding="utf-8")
    return path
