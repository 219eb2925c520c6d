"""Pictures of people in places: a camera, a light, painted backgrounds and shaded limbs.

Pictures are float32 [H, W, 3], RGB, 0 to 255, until `Film.develop` makes them uint8.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from comix_fast.demo.figures import Array, Colour, Limb

Picture = NDArray[np.float32]
Frame = NDArray[np.uint8]


@dataclass(frozen=True)
class Camera:
    """A pinhole camera in front of the origin, looking at the middle of a person of height 1 there.

    size: pixels, the picture is square. height: of the lens, in body heights. distance: to the person.
    zoom: a person's height as a fraction of the picture's. shift: (right, down), fractions of the picture.
    """

    size: int
    height: float
    distance: float
    zoom: float
    shift: tuple[float, float] = (0.0, 0.0)

    def project(self, points: Array) -> tuple[Array, Array]:
        """Points [N, 3] of the world: pixels (x, y) [N, 2], and pixels per body height there [N]."""
        away = np.hypot(self.distance, self.height - 0.5)
        c, s = self.distance / away, (self.height - 0.5) / away
        y, z = points[:, 1] - 0.5, points[:, 2]
        scale = self.zoom * self.size * away / (away - (c * z + s * y))
        across = self.size * (0.5 + self.shift[0]) + scale * points[:, 0]
        down = self.size * (0.5 + self.shift[1]) - scale * (c * y - s * z)
        return np.stack([across, down], 1), scale


@dataclass(frozen=True)
class Light:
    """Where light comes from (right, up, towards the camera; unit length), and the share from all sides."""

    towards: tuple[float, float, float]
    ambient: float


@dataclass(frozen=True)
class Place:
    """A background: a wall or sky above a floor, and one thing painted on the wall at low contrast.

    wall: colours at its top and foot. motif: a key of MOTIFS, in the colour `accent`. grain: the strength of
    soft blotches, 0 to 255.
    """

    wall: tuple[Colour, Colour]
    floor: tuple[Colour, Colour]
    motif: str
    accent: Colour
    grain: float = 7.0


def blotches(rng: np.random.Generator, size: int, cells: int) -> Picture:
    """Smooth noise [size, size], about -1 to 1, `cells` blotches across."""
    coarse = Image.fromarray(rng.uniform(-1.0, 1.0, (cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), dtype=np.float32)


def _gradient(ends: tuple[Colour, Colour], rows: int) -> Picture:
    share = np.linspace(0.0, 1.0, max(rows, 1), dtype=np.float32)[:, None, None]
    first, last = (np.asarray(end, dtype=np.float32) for end in ends)
    return first + (last - first) * share


def _plain(rng: np.random.Generator, size: int, horizon: int) -> Picture:
    return np.zeros((size, size), dtype=np.float32)


def _trees(rng: np.random.Generator, size: int, horizon: int) -> Picture:
    rows = np.arange(size, dtype=np.float32)[:, None]
    crowns = horizon - size * (0.2 + 0.1 * blotches(rng, size, 7)[0])
    below: Picture = np.clip((rows - crowns) / (0.05 * size), 0.0, 1.0)
    return below * (0.8 + 0.2 * blotches(rng, size, 24))


def _boxes(rng: np.random.Generator, size: int, boxes: Sequence[tuple[float, float, float, float]]) -> Picture:
    mask = np.zeros((size, size), dtype=np.float32)
    for left, top, right, bottom in boxes:
        mask[max(0, int(top)) : max(0, int(bottom)), max(0, int(left)) : max(0, int(right))] = rng.uniform(0.7, 1.0)
    return mask


def _skyline(rng: np.random.Generator, size: int, horizon: int) -> Picture:
    edges = np.cumsum(rng.uniform(0.1, 0.22, 12)) * size - 0.1 * size
    tops = horizon - rng.uniform(0.15, 0.45, 11) * size
    boxes = [(a, t, b, horizon) for a, b, t in zip(edges[:-1], edges[1:], tops, strict=True)]
    return _boxes(rng, size, boxes)


def _windows(rng: np.random.Generator, size: int, horizon: int) -> Picture:
    width, start = rng.uniform(0.16, 0.22) * size, rng.uniform(-0.1, 0.1) * size
    lefts = start + 1.6 * width * np.arange(6)
    return _boxes(rng, size, [(x, 0.1 * size, x + width, 0.1 * size + 1.4 * width) for x in lefts])


def _shelves(rng: np.random.Generator, size: int, horizon: int) -> Picture:
    left, step = rng.uniform(0.02, 0.5) * size, 0.12 * size
    rows = np.arange(horizon - 4 * step, horizon - 0.3 * step, step)
    return _boxes(rng, size, [(left, y, left + 0.42 * size, y + 0.75 * step) for y in rows])


def _folds(rng: np.random.Generator, size: int, horizon: int) -> Picture:
    phase = np.linspace(0.0, rng.uniform(38, 50), size) + 1.5 * blotches(rng, size, 5)[0]
    return np.broadcast_to((0.5 + 0.5 * np.sin(phase)).astype(np.float32), (size, size)).copy()


def _bricks(rng: np.random.Generator, size: int, horizon: int) -> Picture:
    y, x = np.mgrid[0:size, 0:size] / (0.055 * size)
    odd = np.floor(y) % 2
    joint = np.minimum(np.minimum(y % 1.0, 1.0 - y % 1.0), 2.0 * np.abs((x / 2 + odd / 2) % 1.0 - 0.5))
    mortar: Picture = (1.0 - np.clip(joint / 0.14, 0.0, 1.0)).astype(np.float32)
    return mortar


def _band(rng: np.random.Generator, size: int, horizon: int) -> Picture:
    mask = np.zeros((size, size), dtype=np.float32)
    mask[max(0, horizon - int(rng.uniform(0.16, 0.26) * size)) : horizon] = 1.0
    return mask * (0.85 + 0.15 * blotches(rng, size, 20))


MOTIFS = {
    "plain": _plain,
    "trees": _trees,
    "skyline": _skyline,
    "windows": _windows,
    "shelves": _shelves,
    "folds": _folds,
    "bricks": _bricks,
    "band": _band,
}


def paint_place(place: Place, camera: Camera, rng: np.random.Generator) -> Picture:
    """The empty scene as the camera sees it: [size, size, 3]."""
    size = camera.size
    foot = camera.project(np.array([[0.0, 0.0, -1.1]]))[0][0, 1]
    horizon = int(np.clip(foot, 0.3 * size, 0.95 * size))
    picture = np.vstack([_gradient(place.wall, horizon), _gradient(place.floor, size - horizon)])
    picture = np.broadcast_to(picture, (size, size, 3)).copy()
    mask = MOTIFS[place.motif](rng, size, horizon)[:horizon, :, None]
    picture[:horizon] += mask * (np.asarray(place.accent, dtype=np.float32) - picture[:horizon])
    texture = 0.6 * blotches(rng, size, 6) + 0.4 * blotches(rng, size, 40)
    picture += place.grain * texture[..., None] + rng.uniform(-8.0, 8.0, 3).astype(np.float32)
    soft = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.8))
    return np.asarray(soft, dtype=np.float32)


def paint_people(picture: Picture, limbs: Sequence[Limb], camera: Camera, light: Light) -> None:
    """Draw limbs into the picture, the far ones first, with the shadow they cast on the floor."""
    starts, start_scale = camera.project(np.array([limb.start for limb in limbs]))
    ends, end_scale = camera.project(np.array([limb.end for limb in limbs]))
    _shadow(picture, limbs, camera)
    # Scale grows as 1 / distance, so its logarithm orders limbs and takes a small step nearer as a sum.
    nearness = np.log(start_scale + end_scale) + np.array([limb.nearer for limb in limbs]) / camera.distance
    for i in np.argsort(nearness, kind="stable"):
        radii = (limbs[i].start_radius * start_scale[i], limbs[i].end_radius * end_scale[i])
        _paint_limb(picture, starts[i], ends[i], radii, limbs[i].colour, light)


def _shadow(picture: Picture, limbs: Sequence[Limb], camera: Camera) -> None:
    joints = np.array([limb.end for limb in limbs])
    middle = np.array([[joints[:, 0].mean(), 0.0, joints[:, 2].mean()]])
    (x, y), scale = camera.project(middle)[0][0], camera.project(middle)[1][0]
    height = max(0.0, float(joints[:, 1].min()) - 0.02)
    wide, deep = 0.24 * scale, (0.035 + 0.1 * max(0.0, camera.height - 0.3)) * scale
    rows, columns = _window(picture, x, y, wide, deep)
    across = (np.arange(columns.start, columns.stop, dtype=np.float32) - x) / wide
    down = (np.arange(rows.start, rows.stop, dtype=np.float32) - y) / deep
    dark = np.clip(1.0 - across[None, :] ** 2 - down[:, None] ** 2, 0.0, 1.0)
    picture[rows, columns] *= 1.0 - (0.45 / (1.0 + 6.0 * height)) * dark[..., None]


def _window(picture: Picture, x: float, y: float, wide: float, deep: float) -> tuple[slice, slice]:
    height, width = picture.shape[:2]
    top, bottom = (int(np.clip(v, 0, height)) for v in (y - deep - 1, y + deep + 2))
    left, right = (int(np.clip(v, 0, width)) for v in (x - wide - 1, x + wide + 2))
    return slice(top, bottom), slice(left, right)


def _paint_limb(
    picture: Picture, start: Array, end: Array, radii: tuple[float, float], colour: Colour, light: Light
) -> None:
    """A tapered tube, its edge a pixel soft, lit as a round body: Lambert's law plus light from all sides."""
    centre, half, most = (start + end) / 2, np.abs(end - start) / 2, max(radii)
    rows, columns = _window(picture, centre[0], centre[1], half[0] + most, half[1] + most)
    if rows.stop <= rows.start or columns.stop <= columns.start:
        return
    x = np.arange(columns.start, columns.stop, dtype=np.float32)[None, :] - np.float32(start[0])
    y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] - np.float32(start[1])
    dx, dy = np.float32(end[0] - start[0]), np.float32(end[1] - start[1])
    share = np.clip((x * dx + y * dy) / max(dx * dx + dy * dy, np.float32(1e-6)), 0.0, 1.0)
    radius = np.float32(radii[0]) + np.float32(radii[1] - radii[0]) * share
    across, down = x - share * dx, y - share * dy
    squared = across * across + down * down
    cover = np.clip(radius - np.sqrt(squared) + np.float32(0.5), 0.0, 1.0)
    bulge = np.sqrt(np.clip(1.0 - squared / (radius * radius), 0.0, 1.0))
    lx, ly, lz = (np.float32(v) for v in light.towards)
    lit = np.clip((across * lx - down * ly) / radius + bulge * lz, 0.0, None)
    ambient = np.float32(light.ambient)
    shade = (ambient + (np.float32(1.0) - ambient) * lit) * (np.float32(0.72) + np.float32(0.28) * bulge)
    region = picture[rows, columns]
    region += cover[..., None] * (shade[..., None] * np.asarray(colour, dtype=np.float32) - region)


@dataclass(frozen=True)
class Film:
    """How a domain's camera renders light.

    gains: per channel; contrast: about mid-grey; saturation: 0 is grey; noise: standard deviation, 0 to 255;
    vignette: how much darker the corners are, 0 to 1.
    """

    gains: tuple[float, float, float] = (1.0, 1.0, 1.0)
    contrast: float = 1.0
    saturation: float = 1.0
    noise: float = 0.0
    vignette: float = 0.0

    def develop(self, pictures: Iterator[Picture], rng: np.random.Generator) -> Iterator[Frame]:
        """Pictures [size, size, 3] one by one as uint8 frames; rng draws their noise."""
        grade, base, fall, grain = self._grade(), np.float32(128.0 * (1.0 - self.contrast)), None, None
        for picture in pictures:
            size = picture.shape[0]
            if grain is None or fall is None:
                axis = np.linspace(-1.0, 1.0, size, dtype=np.float32) ** 2
                fall = (1.0 - np.float32(0.5 * self.vignette) * (axis[:, None] + axis[None, :]))[..., None]
                grain = np.float32(self.noise) * rng.standard_normal((2 * size, 2 * size, 1), dtype=np.float32)
            out = picture @ grade
            out += base * np.asarray(self.gains, dtype=np.float32)
            out *= fall
            # One plane of grain, shifted at random, looks like new noise in every frame at little cost.
            down, across = rng.integers(size, size=2)
            out += grain[down : down + size, across : across + size]
            yield np.clip(out, 0.0, 255.0, out=out).astype(np.uint8)

    def _grade(self) -> Picture:
        """The 3×3 matrix of saturation, contrast and gains, for pictures of row vectors."""
        mix = self.saturation * np.eye(3) + (1.0 - self.saturation) / 3.0 * np.ones((3, 3))
        grade: Picture = (self.contrast * mix * np.asarray(self.gains)).astype(np.float32)
        return grade


def unit(right: float, up: float, towards: float) -> tuple[float, float, float]:
    """A direction of length 1."""
    length = float(np.sqrt(right * right + up * up + towards * towards))
    return right / length, up / length, towards / length
