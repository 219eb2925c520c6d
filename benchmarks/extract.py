"""`comix extract` beside the backbone alone, and its memory as videos become longer and more.

    python -m benchmarks.extract            the lines of `make bench`, then how time grows with the number of videos

Real clips of UT-Interaction where $COMIX_SHARED (or ../shared) has them, drawn ones elsewhere. Random weights: what a
clip costs does not hang on them.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import av
import numpy as np
import torch

from benchmarks.measure import Ratio, seconds
from benchmarks.plain.extract import backbone_alone, one_after_another
from comix_fast.backbones import Backbone, load_backbone
from comix_fast.config import ExtractRecipe, ViewPlan
from comix_fast.console import Advance, Silent
from comix_fast.datasets import Dataset, check_files, load_folders
from comix_fast.stages import extract
from comix_fast.video import choose_decoder

ROOT = Path(__file__).parents[1]
PART = 8
MOST_OVERHEAD, MOST_MEMORY = 1.15, 1.10


@dataclass(frozen=True)
class Cost:
    """One extract: clips, seconds with the survey, seconds without it."""

    n_clips: int
    whole: float
    features: float


class Nothing:
    """Stands for a backbone that takes no time."""

    name, feature_dim, warning = "nothing", 4, ""

    def recipe(self) -> dict[str, str]:
        """As a cache wants to know it."""
        return {"name": self.name, "weights_sha256": "", "precision": "fp32"}

    def __call__(self, clips: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(clips), self.feature_dim)


class Clock(Silent):
    """A reporter that notes how many clips there are and how long their part takes."""

    def __init__(self) -> None:
        self.n_clips, self.seconds = 0, 0.0

    @contextlib.contextmanager
    def progress(self, what: str, total: int, unit: str) -> Iterator[Advance]:
        begun = time.perf_counter()
        yield lambda done: None
        if unit == "clips":
            self.n_clips, self.seconds = total, time.perf_counter() - begun


def measure(quick: bool) -> list[Ratio]:
    """Wall-clock over the backbone's own time, and peak memory for ten times the frames and ten times the videos."""
    backbone = load_backbone("i3d", "random", "auto")
    views = ViewPlan((2,), 1) if quick else ViewPlan()
    with _two_domains() as whole:
        few = _part_of(whole, 1 if quick else 2)
        rounds = [_round(backbone, few, views) for _ in range(1 if quick else 2)]
        serial = None if quick else _against_serial(backbone, few)
    note = f"{rounds[0][0].n_clips:,} clips, {backbone.precision}, {torch.get_num_threads()} threads"
    lines = [
        _overhead("extract after the survey, wall against backbone alone", [(c.features, a) for c, a in rounds], note),
        _overhead("extract with the survey, wall against backbone alone", [(c.whole, a) for c, a in rounds], note),
    ]
    return lines + ([] if serial is None else [serial]) + _memory(quick)


def scaling() -> list[tuple[int, int, float]]:
    """(videos, clips, seconds) of an extract of three numbers of videos, the survey included."""
    backbone = load_backbone("i3d", "random", "auto")
    table = []
    with _two_domains() as whole:
        for per_domain in (1, 2, 4):
            cost = _extract(backbone, _part_of(whole, per_domain), ViewPlan())
            table.append((2 * per_domain, cost.n_clips, cost.whole))
    return table


def _overhead(name: str, pairs: list[tuple[float, float]], note: str) -> Ratio:
    ours, alone = (statistics.median(times) for times in zip(*pairs, strict=True))
    ratio = statistics.median(mine / theirs for mine, theirs in pairs)
    return Ratio(name, ours, alone, "s", ratio, MOST_OVERHEAD, at_least=False, note=note)


def _round(backbone: Backbone, dataset: Dataset, views: ViewPlan) -> tuple[Cost, float]:
    """An extract between two halves of the backbone's own time, so that a drifting machine slows both alike."""
    n_batches = -(-_n_clips(backbone, dataset, views) // PART)
    batch = torch.rand(PART, 8, 224, 224, 3).mul_(2).sub_(1).permute(0, 4, 1, 2, 3)
    threads = torch.get_num_threads()
    halves = (n_batches // 2, n_batches - n_batches // 2)
    alone = seconds(lambda: backbone_alone(backbone, batch, halves[0], threads))
    cost = _extract(backbone, dataset, views)
    return cost, alone + seconds(lambda: backbone_alone(backbone, batch, halves[1], threads))


def _n_clips(backbone: Backbone, dataset: Dataset, views: ViewPlan) -> int:
    """Counted by extracting with a stand-in for the backbone; this also warms files and code."""

    cost = _extract(Nothing(), dataset, views)
    backbone(torch.zeros(PART, 3, 8, 224, 224))
    return cost.n_clips


def _extract(backbone: Backbone | Nothing, dataset: Dataset, views: ViewPlan) -> Cost:
    decoder, clock = choose_decoder("pyav"), Clock()
    recipe = ExtractRecipe(backbone.recipe(), {"name": decoder.name, "version": decoder.version}, views)
    with tempfile.TemporaryDirectory(prefix="comix-") as folder:
        begun = time.perf_counter()
        extract.run(recipe, dataset, backbone, decoder, Path(folder) / "cache", reporter=clock)  # type: ignore[arg-type]
        return Cost(clock.n_clips, time.perf_counter() - begun, clock.seconds)


def _against_serial(backbone: Backbone, dataset: Dataset) -> Ratio:
    """Every candidate clip, beside a loop that decodes, resizes and computes in turn."""
    videos = [video.path for video in dataset.videos()]
    cost = _extract(backbone, dataset, ViewPlan((), 0))
    plain = seconds(lambda: one_after_another(backbone, videos))
    ratio = plain / cost.whole
    return Ratio("extract, survey included, against one step after another", cost.whole, plain, "s", ratio, 1.0)


@contextlib.contextmanager
def _two_domains() -> Iterator[Dataset]:
    """UT-Interaction's sets, or two drawn ones."""
    real = Path(os.environ.get("COMIX_SHARED", ROOT.parent / "shared")) / "data" / "ut_interaction"
    if (real / "set1").is_dir():
        yield check_files(load_folders(real / "set1", real / "set2"))
        return
    with tempfile.TemporaryDirectory(prefix="comix-") as folder:
        yield _drawn(Path(folder), 4, 100)


def _part_of(dataset: Dataset, per_domain: int) -> Dataset:
    """Every so many videos, so that their lengths are mixed."""

    def some(domain: object) -> object:
        train = domain.train  # type: ignore[attr-defined]
        step = max(1, len(train) // per_domain)
        return replace(domain, train=train[::step][:per_domain], test=None)  # type: ignore[type-var]

    return replace(dataset, source=some(dataset.source), target=some(dataset.target))  # type: ignore[arg-type]


def _drawn(folder: Path, per_domain: int, n_frames: int, size: tuple[int, int] = (320, 240)) -> Dataset:
    for domain in ("a", "b"):
        for number in range(per_domain):
            _write(folder / domain / ("go", "stop")[number % 2] / f"{number}.mp4", n_frames, number, size)
    return check_files(load_folders(folder / "a", folder / "b"))


def _write(path: Path, n_frames: int, seed: int, size: tuple[int, int]) -> None:
    """A bright square over noise. size: width and height."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ground = np.random.default_rng(seed).integers(0, 160, (size[1], size[0], 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number in range(n_frames):
            picture = ground.copy()
            first = (3 * number) % (size[0] - 40)
            picture[40:80, first : first + 40] = 250
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def _memory(quick: bool) -> list[Ratio]:
    """Peak memory of processes of their own. Quick: with a stand-in for the backbone, on small frames."""
    n_frames, size = (20, (160, 120)) if quick else (48, (320, 240))
    with tempfile.TemporaryDirectory(prefix="comix-") as folder:
        root = Path(folder)
        sizes = {"one": (2, n_frames), "longer": (2, 10 * n_frames), "more": (20, n_frames)}
        for name, (per_domain, length) in sizes.items():
            _drawn(root / name, per_domain, length, size)
        peaks = {name: _peak_of(root / name, quick) for name in sizes}
    what = "a stand-in for the backbone" if quick else "i3d"
    note = f"{n_frames} frames of {size[0]} × {size[1]}, {what}, the whole process"
    return [
        Ratio(
            f"extract, peak memory for ten times {what}",
            peaks[name],
            peaks["one"],
            "MB",
            peaks[name] / peaks["one"],
            MOST_MEMORY,
            at_least=False,
            note=note,
        )
        for name, what in (("longer", "the frames"), ("more", "the videos"))
    ]


def _peak_of(folder: Path, quick: bool) -> float:
    command = [sys.executable, "-m", "benchmarks.extract", "child", str(folder), "stand-in" if quick else "i3d"]
    return float(subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout)


def _child(folder: Path, name: str) -> None:
    """One extract in this process; prints its peak memory in MB."""
    dataset = check_files(load_folders(folder / "a", folder / "b"))
    backbone = Nothing() if name == "stand-in" else load_backbone(name, "random", "auto")
    _extract(backbone, dataset, ViewPlan((), 1))
    # Unlike ru_maxrss, this does not begin with what the parent had when it forked.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    print(next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM")))


def main() -> None:
    """Prints the lines, then the cost of three numbers of videos."""
    for line in measure("--quick" in sys.argv):
        sign = "≥" if line.at_least else "≤"
        print(
            f"{line.name}: {line.ours:.2f} against {line.plain:.2f} {line.unit}, ratio {line.ratio:.2f} "
            f"({sign} {line.target}){'' if line.ok else ', MISSED'}; {line.note}"
        )
    if "--quick" not in sys.argv:
        for n_videos, n_clips, wall in scaling():
            print(f"{n_videos} videos, {n_clips:,} clips: {wall:.1f} s, {n_clips / wall:.1f} clips/s")


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        _child(Path(sys.argv[2]), sys.argv[3])
    else:
        main()
