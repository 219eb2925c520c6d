"""Mutated caches, read: by workers that may crash, hang or run out of memory, which is then what became of a mutant.

python tests/fuzz/fuzzing.py 10000 --seed 3 --workers 2
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import json
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
LONGEST = 20.0
MOST_MEMORY = 1 << 30
MOST_RESIDENT = 256 << 20
BAD = ("crash", "hang", "gigabyte", "traceback", "wrong", "accepted", "overstrict")
GOOD = ("refused", "same", "unnoticed")


@dataclass(frozen=True)
class Report:
    """What became of one mutant. outcome: of GOOD or BAD; detail: the first refusal, or what went wrong."""

    number: int
    form: str
    kind: str
    done: str
    outcome: str
    detail: str
    seconds: float

    def __str__(self) -> str:
        return f"mutant {self.number} of {self.form} ({self.kind}: {self.done}): {self.outcome}: {self.detail}"


@dataclass(frozen=True)
class Row:
    """One kind of mutants of one form, and how many of them came to what."""

    kind: str
    form: str
    tried: int
    outcomes: dict[str, int]

    @property
    def bad(self) -> int:
        """How many crashed, hung, took a gigabyte, raised another error than ours, or gave a wrong answer."""
        return sum(self.outcomes.get(outcome, 0) for outcome in BAD)


def fuzz(n: int, seed: int = 0, workers: int = 2) -> list[Row]:
    """Rows of a table, one for each kind of mutants and form: n mutants tried."""
    return table(reports(range(n), seed, workers))


def table(found: Sequence[Report]) -> list[Row]:
    """The reports, counted."""
    kinds = sorted({(report.kind, report.form) for report in found})
    counts = {which: Counter(one.outcome for one in found if (one.kind, one.form) == which) for which in kinds}
    return [Row(kind, form, counts[kind, form].total(), dict(counts[kind, form])) for kind, form in kinds]


def reports(
    numbers: Sequence[int], seed: int = 0, workers: int = 2, sabotage: str = "", longest: float = LONGEST
) -> list[Report]:
    """What became of these mutants, by number. sabotage: a check to be left out; longest: seconds for one mutant."""
    given = ["--seed", str(seed), "--sabotage", sabotage, "--longest", str(longest)]
    running = [
        subprocess.Popen(
            [sys.executable, str(HERE / "fuzzing.py"), "worker", *given],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths())},
        )
        for _ in range(workers)
    ]
    for place, one in enumerate(running):
        assert one.stdin is not None
        one.stdin.write(json.dumps(list(numbers)[place::workers]))
        one.stdin.close()
    found = []
    for one in running:
        with one:
            found += [Report(**json.loads(line)) for line in one.stdout or ()]
        if one.returncode:
            raise RuntimeError(f"a worker of the fuzz ended with {one.returncode}")
    return sorted(found, key=lambda report: report.number)


def paths() -> list[str]:
    return [str(HERE), str(HERE.parent), str(HERE.parents[1]), *filter(None, [os.environ.get("PYTHONPATH", "")])]


def work(numbers: Sequence[int], seed: int, sabotage: str, longest: float) -> None:
    """A worker's life: makes the caches, and has children try the mutants, one after the other."""
    from mutants import Cache
    from sabotage import left_out
    from specimens import FORMS, make

    with tempfile.TemporaryDirectory(prefix="comix-fuzz-") as folder:
        caches = {form: Cache.of(form, make(form, Path(folder) / form)) for form in FORMS}
        right = {form: answers_of(cache) for form, cache in caches.items()}
        left_out(sabotage)
        left = list(numbers)
        while left:
            for report in child(left, seed, caches, right, longest):
                print(json.dumps(vars(report)), flush=True)
                left = left[left.index(report.number) + 1 :]


def answers_of(cache: Any) -> tuple[str, dict[str, str]]:
    """The key of an unmutated cache, and its answers."""
    from asking import ask

    key = json.loads(cache.files["manifest.json"])["key"]
    answers, refusals = ask(cache.root, key)
    assert not refusals, refusals
    return key, answers


def child(left: Sequence[int], seed: int, caches: Any, right: Any, longest: float) -> Iterator[Report]:
    """Has a forked child try mutants until it ends; then reports what it ended of, for the one it was at."""
    receiving, sending = os.pipe()
    log = tempfile.TemporaryFile()  # noqa: SIM115 - the child has it too
    pid = os.fork()
    if not pid:
        os.close(receiving)
        faulthandler.enable(log)
        os.dup2(log.fileno(), 2)
        try:
            live(left, seed, caches, right, sending)
        except BaseException:
            traceback.print_exc()
            os._exit(70)
        os._exit(0)
    os.close(sending)
    begun: dict[str, Any] | None = None
    outcome = "crash"
    with os.fdopen(receiving, "rb", buffering=0) as pipe, log:
        lines = b""
        while True:
            if not select.select([pipe], [], [], longest)[0]:
                outcome = "hang"
                os.kill(pid, signal.SIGKILL)
            more = pipe.read(1 << 16)
            if not more:
                break
            *whole, lines = (lines + more).split(b"\n")
            for line in whole:
                told = json.loads(line)
                if "outcome" in told:
                    begun = None
                    yield Report(**told)
                else:
                    begun = told
        _, status = os.waitpid(pid, 0)
        if begun is not None:
            log.seek(0)
            said = log.read().decode(errors="replace").strip()
            if os.WIFEXITED(status):
                raise RuntimeError(f"{begun}: the harness itself failed: {said}")
            restore(caches[begun["form"]])
            yield Report(
                **begun, outcome=outcome, detail=f"signal {os.WTERMSIG(status)} {said[:1500]}", seconds=longest
            )


def live(left: Sequence[int], seed: int, caches: Any, right: Any, sending: int) -> None:
    """The child's life: mutates, asks, restores; says what it is at, and what came of it."""
    from mutants import mutate

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MOST_MEMORY, used + MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def say(value: dict[str, Any]) -> None:
        os.write(sending, json.dumps(value).encode() + b"\n")

    for number in left:
        kind, cache, done = mutate(number, seed, caches)
        told = {"number": number, "form": cache.form, "kind": kind.name, "done": done}
        say(told)
        begun = time.perf_counter()
        outcome, detail = judged(kind, cache, right[cache.form])
        say({**told, "outcome": outcome, "detail": detail, "seconds": time.perf_counter() - begun})
        restore(cache)


def judged(kind: Any, cache: Any, right: tuple[str, dict[str, str]]) -> tuple[str, str]:
    """What came of one mutant, and why."""
    from asking import ask

    key, expected = right
    before = peak(reset=True)
    try:
        answers, refusals = ask(cache.root, key)
    except MemoryError:
        return "gigabyte", traceback.format_exc(limit=-3)
    except BaseException:
        return "traceback", traceback.format_exc(limit=-4)
    grown = peak() - before
    if grown > MOST_RESIDENT or refusals.no_room:
        return "gigabyte", f"{grown >> 20:,} MB more in memory; {refusals.no_room}"
    differ = [question for question, answer in answers.items() if expected.get(question) != answer]
    outcome = "unnoticed" if differ else "refused" if refusals else "same"
    detail = ", ".join(differ[:3]) or next(iter(refusals.values()), "")
    if outcome in kind.may(cache):
        return outcome, detail
    return ("wrong" if differ else "accepted" if outcome == "same" else "overstrict"), detail


def peak(reset: bool = False) -> int:
    """The most memory that was resident, since it was last reset."""
    if reset:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) << 10
    return 0


def restore(cache: Any) -> None:
    """The cache as it was: what isn't is replaced, what is too much is removed."""
    from file_mutants import put

    shutil.rmtree(cache.root.with_name(f"{cache.root.name}-away"), ignore_errors=True)
    for name in sorted({str(Path(name).parent) for name in cache.files} - {"."}):
        folder = cache.root / name
        if folder.is_symlink() or not folder.is_dir():
            folder.unlink(missing_ok=True)
            folder.mkdir()
    for path in sorted(cache.root.rglob("*")):
        name = str(path.relative_to(cache.root))
        if name not in cache.files and not path.name.startswith(".lock") and (path.is_symlink() or not path.is_dir()):
            path.unlink()
    for name, content in cache.files.items():
        path = cache.root / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        plain = path.is_file() and not path.is_symlink()
        if not plain or path.read_bytes() != content:
            if path.is_symlink() or (path.exists() and not plain):
                path.unlink()
            put(path, content)


def lines_of(rows: Sequence[Row]) -> Iterator[str]:
    """The table, for people."""
    outcomes = [one for one in (*GOOD, *BAD) if any(one in row.outcomes for row in rows)]
    yield f"{'kind':28} {'form':8} {'tried':>7} " + " ".join(f"{one:>10}" for one in outcomes)
    for row in rows:
        counts = " ".join(f"{row.outcomes.get(one, 0):>{max(10, len(one))},}" for one in outcomes)
        yield f"{row.kind:28} {row.form:8} {row.tried:>7,} {counts}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("n", help="how many mutants; a number and a comma for one of them alone")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--sabotage", default="")
    parser.add_argument("--longest", type=float, default=LONGEST)
    given = parser.parse_args()
    if given.n == "worker":
        sys.path[:0] = paths()
        work(json.load(sys.stdin), given.seed, given.sabotage, given.longest)
        return
    numbers = [int(given.n[:-1])] if given.n.endswith(",") else range(int(given.n))
    found = reports(numbers, given.seed, given.workers, given.sabotage, given.longest)
    for report in found:
        if report.outcome not in GOOD:
            print(report)
    print("\n".join(lines_of(table(found))))


if __name__ == "__main__":
    main()
