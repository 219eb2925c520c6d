"""`make soak`: faults of every kind, many times over, and a table of what survived.

    python tests/faults/soak.py [--quick] [--kinds NAME,NAME] [--seed N] [--trials N] [--only NUMBER]

A trial hangs on the seed, its kind and its number alone, but for what the machine's own timing decides. The exit code
is 1 if anything was lost or wrong.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import company
import disks
import kills
import scarce
import tampering
from rich.console import Console
from rich.table import Table
from running import Impossible, Lost, Wrong
from workshop import Workshop

Trial = Callable[[Workshop, random.Random, int], str]
AT_ONCE = 3
"""Trials under way at the same time; on two cores they wait for one another a little, which suits them."""
SHOWN = 12


@dataclass(frozen=True)
class Kind:
    """A kind of fault. quick, long: trials of the two forms; every: how many strike all there is."""

    name: str
    trial: Trial
    quick: int
    long: int
    every: Callable[[Workshop], int] | None = None

    @property
    def sentence(self) -> str:
        """What is done, in one sentence."""
        return (self.trial.__doc__ or "").split(".\n")[0].strip().rstrip(".").replace("\n    ", " ")

    def n_trials(self, shop: Workshop, asked: int | None, quick: bool) -> int:
        """How many trials: as asked for, else as the form has it."""
        if asked is not None:
            return asked
        return self.quick if quick else self.every(shop) if self.every else self.long


KINDS = (
    Kind("sigkill", kills.sigkill, 6, 100),
    Kind("sigterm", kills.sigterm, 3, 50),
    Kind("ctrl-c", kills.ctrl_c, 4, 50),
    Kind("chain", kills.chain, 1, 25),
    Kind("group", kills.group, 1, 15),
    Kind("real", kills.real, 0, 8),
    Kind("failing-writes", disks.failing, 6, 400, disks.n_operations),
    Kind("size-limit", disks.size_limit, 2, 30),
    Kind("disk-full", disks.full, 2, 40),
    Kind("read-only-disk", disks.read_only_mount, 3, 12),
    Kind("read-only-modes", disks.read_only_modes, 3, 12),
    Kind("two-writers", company.two_writers, 3, 40),
    Kind("two-recipes", company.two_recipes, 1, 20),
    Kind("two-lists", company.two_lists, 1, 20),
    Kind("readers", company.readers, 1, 20),
    Kind("copied", company.copied, 1, 20),
    Kind("moved", company.moved, 3, 12),
    Kind("clock", tampering.clock, 2, 25),
    Kind("tampered", tampering.tampered, len(tampering.TAMPERING), 5 * len(tampering.TAMPERING)),
    Kind("manifest", tampering.manifest, 1, 9),
    Kind("videos", tampering.videos, 3, 30),
    Kind("open-files", scarce.open_files, 2, 24),
    Kind("memory", scarce.memory, 1, 24),
    Kind("surroundings", scarce.surroundings, len(scarce.SURROUNDINGS), 2 * len(scarce.SURROUNDINGS)),
)


@dataclass
class Tally:
    """What became of the trials of one kind. seconds: of wall clock, other kinds not being tried meanwhile."""

    kind: Kind
    survived: int = 0
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    impossible: list[str] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def tried(self) -> int:
        """Trials that this machine let happen."""
        return self.survived + len(self.lost) + len(self.wrong)


def attempt(shop: Workshop, kind: Kind, seed: int, number: int) -> tuple[str, str]:
    """One trial: its verdict, and a note on it or what was found."""
    try:
        return "survived", kind.trial(shop, random.Random(f"{seed} {kind.name} {number}"), number)
    except Impossible as why:
        return "impossible", str(why)
    except Lost as lost:
        return "lost", str(lost)
    except Wrong as wrong:
        return "wrong", str(wrong)
    except (OSError, RuntimeError) as error:
        return "wrong", f"the trial itself failed: {error!r}"


def try_kind(shop: Workshop, kind: Kind, seed: int, numbers: Sequence[int], at_once: int = AT_ONCE) -> Tally:
    """All trials of one kind."""
    tally, began = Tally(kind), time.monotonic()
    with ThreadPoolExecutor(at_once) as pool:
        for number, (verdict, note) in zip(
            numbers, pool.map(lambda number: attempt(shop, kind, seed, number), numbers), strict=True
        ):
            if verdict == "survived":
                tally.survived += 1
                tally.notes[note] += 1
            elif verdict == "impossible":
                tally.impossible.append(note)
            else:
                again = f"--kinds {kind.name} --seed {seed} --only {number}"
                getattr(tally, verdict).append(f"{note}\n    again: {again}")
    tally.seconds = time.monotonic() - began
    return tally


def table(tallies: Sequence[Tally]) -> Table:
    """What people read."""
    made = Table(title="faults, and what became of the cache")
    made.add_column("kind")
    for column in ("tried", "survived", "lost", "wrong", "a minute"):
        made.add_column(column, justify="right")
    made.add_column("what is done", overflow="fold")
    for tally in tallies:
        counts = [str(n) for n in (tally.tried, tally.survived, len(tally.lost), len(tally.wrong))]
        rate = f"{60 * tally.tried / tally.seconds:.0f}" if tally.tried else "–"
        sentence = tally.kind.sentence if tally.tried else f"not tried: {(tally.impossible or ['none asked for'])[0]}"
        made.add_row(tally.kind.name, *counts, rate, sentence)
    made.add_section()
    made.add_row("all", *(str(n) for n in totals(tallies)), "", "")
    return made


def totals(tallies: Sequence[Tally]) -> tuple[int, int, int, int]:
    """Tried, survived, lost, wrong."""
    return (
        sum(tally.tried for tally in tallies),
        sum(tally.survived for tally in tallies),
        sum(len(tally.lost) for tally in tallies),
        sum(len(tally.wrong) for tally in tallies),
    )


def findings(tallies: Sequence[Tally]) -> Iterator[str]:
    """What was lost or wrong, each with the way to see it again."""
    for tally in tallies:
        for verdict, found in (("lost", tally.lost), ("wrong", tally.wrong)):
            for one in found[:SHOWN]:
                yield f"{tally.kind.name}, {verdict}: {one}"
            if len(found) > SHOWN:
                yield f"{tally.kind.name}: and {len(found) - SHOWN} more"


def where(notes: Mapping[str, int]) -> str:
    """Where faults struck and what was said, the most frequent first."""
    return ", ".join(f"{note or 'at the start'} {count}" for note, count in Counter(notes).most_common(24))


def arguments() -> argparse.Namespace:
    names = [kind.name for kind in KINDS]
    parser = argparse.ArgumentParser(prog="soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few trials of each kind: a minute or two")
    parser.add_argument("--kinds", default=",".join(names), help=", ".join(names))
    parser.add_argument("--seed", type=int, default=None, help="of all chances; by default another one each time")
    parser.add_argument("--trials", type=int, default=None, help="of each kind")
    parser.add_argument("--only", type=int, default=None, help="one trial of each kind, by its number")
    asked = parser.parse_args()
    asked.kinds = [name.strip() for name in asked.kinds.split(",")]
    if unknown := set(asked.kinds) - set(names):
        parser.error(f"no kind {', '.join(sorted(unknown))}; choose from {', '.join(names)}")
    return asked


def main() -> int:
    """Tries the kinds asked for and prints the table. Returns the exit code."""
    asked = arguments()
    seed = asked.seed if asked.seed is not None else random.SystemRandom().randrange(100_000)
    console = Console(highlight=False, emoji=False, markup=False)
    console.width = console.width if console.is_terminal else 160
    console.print(f"seed {seed}")
    tallies, began = [], time.monotonic()
    with Workshop() as shop:
        for kind in KINDS:
            if kind.name not in asked.kinds:
                continue
            numbers = range(kind.n_trials(shop, asked.trials, asked.quick)) if asked.only is None else [asked.only]
            tally = try_kind(shop, kind, seed, numbers)
            tallies.append(tally)
            console.print(f"{kind.name}: {tally.survived} of {tally.tried} survived; {where(tally.notes)}")
            for finding in findings([tally]):
                console.print(finding)
            sys.stdout.flush()
    console.print(table(tallies))
    _, _, lost, wrong = totals(tallies)
    console.print(f"seed {seed}, {(time.monotonic() - began) / 60:.1f} minutes; lost {lost}, wrong {wrong}")
    return 1 if lost or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
