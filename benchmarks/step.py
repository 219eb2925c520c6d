"""The step of adaptation against eight passes of a plain head; eight heads together; the whole UCF-HMDB schedule.

python -m benchmarks.step            the lines of `make bench`, and how cost grows with heads and videos of a batch
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.measure import Ratio, paired, seconds
from benchmarks.plain import step as plain
from benchmarks.random_cache import make
from comix_fast.backbones.precision import has_bf16_units
from comix_fast.cache import FeatureCache
from comix_fast.config import AdaptRecipe
from comix_fast.console import Silent
from comix_fast.heads import TemporalGraph
from comix_fast.losses import comix_loss
from comix_fast.objectives import Comix
from comix_fast.stages import adapt
from comix_fast.stages.bank import Banks, feature_norms, load_banks
from comix_fast.stages.batches import AdaptationDraws
from comix_fast.stages.stack import Member, new_optimiser
from comix_fast.stages.together import train_together

IN_DIM, HIDDEN, CLASSES, VIDEOS, CLIPS = 1024, 256, 12, 8, 16
UCF_HMDB = (1438, 840, 571, 360)
N_HEADS = 8
SHARE = 20
"""The schedule is run at 1 / SHARE of its length."""
STREAMS = ("source", "target", "source_mixed", "target_mixed")
PRECISION = "bf16" if has_bf16_units(torch.device("cpu")) else "fp32"


def measure(quick: bool) -> list[Ratio]:
    """The step, its losses, eight heads together and (unless quick) the schedule."""
    lines = [step(rounds=20 if quick else 60), same_losses()]
    with tempfile.TemporaryDirectory(prefix="comix-bench-") as folder:
        cache = Path(folder) / "cache"
        random_cache(cache, 8 if quick else 1)
        lines.append(together(cache, iterations=8 if quick else 24, rounds=1 if quick else 3))
        if not quick:
            lines.append(schedule(cache, Path(folder) / "runs"))
    return lines


def random_cache(path: Path, share: int) -> None:
    """UCF-HMDB's lists, or a part of each, with random features."""
    source, target, source_test, target_test = (size // share for size in UCF_HMDB)
    make(path, source, target, n_source_test=source_test, n_target_test=target_test)


def batch(videos: int = VIDEOS) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Random streams [B, N, D], labels, the slow view's clips."""
    generator = torch.Generator().manual_seed(0)
    streams = {name: torch.randn(videos, CLIPS, IN_DIM, generator=generator) * 0.3 for name in STREAMS}
    slow = torch.tensor([0, 3, 5, 6, 9, 11, 12, 15])
    return streams, torch.randint(CLASSES, (videos,), generator=generator), slow


def our_step(videos: int = VIDEOS, precision: str = PRECISION) -> Callable[[], object]:
    """Losses, gradients and update, as the training loop has them."""
    streams, labels, slow = batch(videos)
    head = TemporalGraph(IN_DIM, HIDDEN, CLASSES, precision="bf16" if precision == "bf16" else "fp32").train()
    optimiser = new_optimiser(head, AdaptRecipe())

    def run() -> None:
        optimiser.zero_grad(set_to_none=True)
        comix_loss(head, *streams.values(), labels, slow).total.backward()
        optimiser.step()

    return run


def plain_step(videos: int = VIDEOS) -> Callable[[], object]:
    """The same in eight passes."""
    streams, labels, slow = batch(videos)
    head = plain.like(TemporalGraph(IN_DIM, HIDDEN, CLASSES), dropout=0.1).train()
    optimiser = torch.optim.SGD(head.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-7)

    def run() -> None:
        optimiser.zero_grad()
        plain.losses(head, streams, labels, slow)["total"].backward()
        optimiser.step()

    return run


def step(rounds: int) -> Ratio:
    """One step on two cores."""
    ours, theirs, ratio = paired(our_step(), plain_step(), rounds, warmup=5)
    note = f"batch {VIDEOS}, {PRECISION} against eight float32 passes"
    return Ratio("step of adaptation, ms", 1e3 * ours, 1e3 * theirs, "ms", ratio, 4.0, note=note)


def same_losses() -> Ratio:
    """The largest difference of a loss term from the eight passes, over ten batches of random weights."""
    worst, largest = 0.0, 0.0
    for seed in range(10):
        torch.manual_seed(seed)
        streams, labels, slow = batch()
        # Large logits, so that some pseudo-labels are sure.
        head = TemporalGraph(IN_DIM, HIDDEN, CLASSES).eval()
        with torch.no_grad():
            head.gc3.weight.mul_(20)
        ours = comix_loss(head, *streams.values(), labels, slow)
        theirs = plain.losses(plain.like(head, 0.1).eval(), streams, labels, slow)
        for name, value in theirs.items():
            worst = max(worst, abs(float((getattr(ours, name) - value).detach())))
            largest = max(largest, float(value.detach()))
    note = "float32, dropout off; the ratio is the difference"
    return Ratio("step, largest loss difference", worst, largest, "", worst, 1e-4, at_least=False, note=note)


def members(banks: Banks, count: int, iterations: int, recipe: AdaptRecipe | None = None) -> list[Member]:
    """Heads of different seeds, ready for adaptation."""
    recipe = recipe or AdaptRecipe()
    norms = feature_norms(banks, recipe.feature_norm)
    made = []
    for seed in range(count):
        torch.manual_seed(seed)
        head = TemporalGraph(banks.source.clips.dim, recipe.hidden_dim, CLASSES, precision=PRECISION)
        made.append(
            Member(
                head=head,
                recipe=recipe,
                seed=seed,
                phase="adapt",
                draws=AdaptationDraws(banks, recipe.batch_size, seed, mixing=True),
                norms=norms,
                objective=Comix(recipe.lambda_bgm > 0, recipe.lambda_tpl > 0, mixed=True),
                iterations=iterations,
                report_every=iterations,
                reported=lambda *_: None,
            )
        )
    return made


def together(cache: Path, iterations: int, rounds: int) -> Ratio:
    """Eight heads in one loop against one after another, drawing and gathering included."""
    banks = load_banks(FeatureCache(cache), mixed=True)
    heads = members(banks, N_HEADS, iterations)

    def one_by_one() -> None:
        for head in heads:
            train_together([head])

    ours, theirs, ratio = paired(lambda: train_together(heads), one_by_one, rounds)
    done = N_HEADS * iterations
    note = f"{torch.get_num_threads()} threads; ms a head and step"
    return Ratio("eight heads together, ms", 1e3 * ours / done, 1e3 * theirs / done, "ms", ratio, 2.0, note=note)


def schedule(cache: Path, runs: Path) -> Ratio:
    """4,000 + 10,000 iterations with evaluations and checkpoints, from a part of them; against as many plain steps."""
    recipe = AdaptRecipe(warmstart_iterations=4000 // SHARE, iterations=10000 // SHARE)

    def run() -> None:
        adapt.run(recipe, FeatureCache(cache), runs / "ucf-hmdb", reporter=Silent())

    opened = FeatureCache(cache)
    started = seconds(lambda: load_banks(opened, mixed=True))
    ours = (SHARE * (seconds(run) - started) + started) / 60
    # A plain warm-start's step is one pass of eight; four streams have two each.
    one = statistics.median(seconds(plain_step()) for _ in range(5))
    theirs = one * (10000 + 4000 / 8) / 60
    note = f"3,209 videos, batch 8, measured at 1/{SHARE} of the length; plain: its steps alone"
    return Ratio("UCF-HMDB schedule, minutes", ours, theirs, "min", ours, 6.0, at_least=False, note=note)


def scaling() -> list[tuple[str, float]]:
    """Milliseconds of a step by videos in a batch, and a head's share of a step by heads in a stack."""
    lines = []
    for videos in (4, 8, 16):
        run = our_step(videos)
        run()
        value = statistics.median(seconds(run) for _ in range(20))
        lines.append((f"step, batch {videos}, ms", 1e3 * value))
    with tempfile.TemporaryDirectory(prefix="comix-bench-") as folder:
        cache = Path(folder) / "cache"
        random_cache(cache, 8)
        banks = load_banks(FeatureCache(cache), mixed=True)
        for count in (1, 4, 16):
            heads = members(banks, count, 16)
            train_together(members(banks, count, 2))
            lines.append(
                (f"{count} heads, ms a head and step", 1e3 * seconds(lambda h=heads: train_together(h)) / (16 * count))
            )
    return lines


if __name__ == "__main__":
    for line in measure(quick=False):
        print(f"{line.name}: ours {line.ours:.3g}, plain {line.plain:.3g}, {line.ratio:.3g} (target {line.target:g})")
    for name, value in scaling():
        print(f"{name}: {value:.2f}")
