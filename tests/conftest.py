"""What tests share: where the outside data lies, seeded randomness, small caches and small videos."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from builders import Ended, MakeCache, WriteVideo, listed, noisy_clips, small_recipe
from comix_fast.cache import CacheWriter
from comix_fast.cache.format import VideoRow
from comix_fast.cli import main
from comix_fast.video import plan_clips

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real clips and published lists; tests that need it skip where it is absent."""
    root = Path(os.environ.get("COMIX_SHARED", Path(__file__).parents[2] / "shared"))
    if not root.is_dir():
        pytest.skip(f"no shared data at {root}; set COMIX_SHARED")
    return root


@pytest.fixture(scope="session")
def golden() -> Path:
    """Numbers from the published code, small enough to live in the repository."""
    return GOLDEN


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def comix(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Callable[..., Ended]]:
    """Runs a command in tmp_path, as typed; gives its exit code and what it printed."""
    n_threads = torch.get_num_threads()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: object) -> Ended:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(word) for word in words])
        printed = capsys.readouterr()
        return Ended(int(stop.value.code or 0), printed.out, printed.err)

    yield run
    torch.set_num_threads(n_threads)


@pytest.fixture
def make_cache(tmp_path: Path) -> MakeCache:
    """Caches of made-up features: classes are directions, the target is shifted, clips are noisy."""

    def make(
        name: str = "cache",
        *,
        n_classes: int = 3,
        per_class: int = 6,
        dim: int = 24,
        mixes: int = 2,
        test: bool = False,
        shift: float = 1.0,
        noise: float = 0.6,
        target_labels: Sequence[int | None] | None = None,
    ) -> Path:
        rng = np.random.default_rng(7)
        centres, offset = rng.normal(size=(n_classes, dim)), shift * rng.normal(size=dim)
        train = {domain: listed(domain, n_classes, per_class) for domain in ("source", "target")}
        tests = {domain: listed(domain, n_classes, 3, "test-") if test else None for domain in train}
        root, recipe = tmp_path / name, small_recipe(mixes)
        with CacheWriter.open(root, recipe) as cache:
            for domain in train:
                other = train["target" if domain == "source" else "source"]
                for videos, n_mixes in ((train[domain], mixes), (tests[domain] or [], 0)):
                    with cache.shard(domain) as shard:
                        for number, (video, label) in enumerate(videos):
                            plan = plan_clips(72 + 4 * (number % 5))
                            centre = centres[label] + (offset if domain == "target" else 0)
                            views = {"plain": noisy_clips(rng, centre, noise, plan.starts)}
                            for draw in range(n_mixes):
                                mixed = noisy_clips(rng, centre, noise, plan.test_starts)
                                views[f"bgmix-{draw}"] = replace(mixed, donor=other[number][0], gamma=0.1 * (draw + 1))
                            shard.add(VideoRow(video, label, plan.n_frames, 25.0, "f" * 64, 1000), views)
            lists: dict[str, object] = {"name": name, "classes": [f"class {c}" for c in range(n_classes)], "notes": []}
            for domain, videos in train.items():
                known = [label for _, label in videos]
                shown = target_labels if domain == "target" and target_labels is not None else known
                pairs = [(video, label) for (video, _), label in zip(videos, shown, strict=True)]
                lists[domain] = {"name": f"{domain} domain", "train": pairs, "test": tests[domain]}
            cache.write_dataset(lists)
        return root

    return make


@pytest.fixture
def film() -> WriteVideo:
    """Small videos: a bright square moving over a dim ground, different for each seed."""

    def write(path: Path, n_frames: int = 24, seed: int = 0, size: tuple[int, int] = (48, 64)) -> Path:
        rng = np.random.default_rng(seed)
        ground = rng.integers(0, 120, (*size, 3), dtype=np.uint8)
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg4", rate=25)
            assert isinstance(stream, av.VideoStream)
            stream.height, stream.width, stream.pix_fmt, stream.bit_rate = *size, "yuv420p", 2_000_000
            for number in range(n_frames):
                picture = ground.copy()
                row, column = (number * (seed + 1)) % (size[0] - 12), (number * 2) % (size[1] - 12)
                picture[row : row + 12, column : column + 12] = 250
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
        return path

    return write
