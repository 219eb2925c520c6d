"""A few faults of every kind; `make soak` tries hundreds. And proof that the harness notices what is broken."""

from __future__ import annotations

import random

import pytest
import soak
from company import two_writers
from kills import at_an_operation, sigkill
from layer import SIGNALS
from running import Lost, Wrong
from soak import KINDS, Kind
from workshop import BROKEN_VIDEO, Workshop

SEED = 6
QUICK = [kind for kind in KINDS if kind.quick]


@pytest.mark.parametrize("kind", QUICK, ids=lambda kind: kind.name)
def test_a_cache_survives(shop: Workshop, kind: Kind) -> None:
    tally = soak.try_kind(shop, kind, SEED, range(kind.n_trials(shop, None, quick=True)))
    assert not list(soak.findings([tally]))
    if not tally.tried:
        pytest.skip(tally.impossible[0])
    assert tally.survived == tally.tried


def test_kills_strike_wherever_a_cache_is_written(shop: Workshop) -> None:
    """Of the operations that the long form draws from, none is forgotten."""
    ops = shop.reference().ops
    for part in ("manifest", "dataset", "survey", "failures", "shard"):
        for name in ("open", "write", "fsync", "replace"):
            assert f"{name} {part}" in ops
    assert [op for op in ops if op.startswith("replace")].count("replace shard") == 6


def first_half_written(shop: Workshop, what: str) -> int:
    """The number of the first operation that writes a file, as the code in force does it."""
    with shop.room() as room:
        log = room.path / "ops"
        shop.start(room, ops=str(log)).wait()
        return log.read_text().splitlines().index(f"write {what}") + 1


@pytest.mark.parametrize("what", ["manifest", "dataset", "survey", "shard"])
def test_the_harness_notices_files_that_are_written_in_place(shop: Workshop, what: str) -> None:
    with shop.sabotaged("in-place"):
        at = first_half_written(shop, what)
        with shop.room() as room:
            shop.start(room, at=at, act="kill", half=True).wait().require(-9)
            with pytest.raises(Wrong, match=what):
                shop.look(room)


def test_the_harness_notices_features_that_differ(shop: Workshop) -> None:
    with shop.sabotaged("drifting"), shop.room() as room, pytest.raises(Wrong, match=r"shards/.* is not that of"):
        at_an_operation(shop, room, random.Random(3), SIGNALS["kill"])
        shop.finish(room)


def test_the_harness_notices_what_is_lost(shop: Workshop) -> None:
    with shop.room() as room:
        shop.finish(room)
        with shop.sabotaged("forgetful"):
            shop.start(room, at=12, act="kill").wait().require(-9)
            with pytest.raises(Lost, match=r"shards/|video"):
                shop.look(room)


def test_the_harness_notices_an_ending_without_words(shop: Workshop) -> None:
    with shop.sabotaged("cursing"), shop.room() as room, pytest.raises(Wrong, match=r"a traceback: .*without words"):
        shop.finish(room)


def test_the_harness_notices_two_writers(shop: Workshop) -> None:
    """Without the lock nobody is refused; that alone is no harm, but what one sweeps away the other misses."""
    with shop.sabotaged("deaf"):
        kind = Kind("two-writers", two_writers, 1, 1)
        assert any(soak.attempt(shop, kind, SEED, 3 * number)[0] == "wrong" for number in range(12))


def test_a_trial_is_the_same_again(shop: Workshop) -> None:
    kind = Kind("sigkill", sigkill, 1, 1)
    assert soak.attempt(shop, kind, SEED, 1) == soak.attempt(shop, kind, SEED, 1)


def test_the_table_counts_what_was_lost_and_wrong() -> None:
    def trial(shop: Workshop, chance: random.Random, number: int) -> str:
        """Nothing is done. Nothing at all."""
        if number == 1:
            raise Lost("gone")
        if number > 4:
            raise Wrong("bent")
        return "fine"

    tally = soak.try_kind(None, Kind("made-up", trial, 1, 1), SEED, range(8))  # type: ignore[arg-type]
    assert soak.totals([tally]) == (8, 4, 1, 3)
    assert tally.notes == {"fine": 4}
    first = next(iter(soak.findings([tally])))
    assert first == f"made-up, lost: gone\n    again: --kinds made-up --seed {SEED} --only 1"
    assert soak.table([tally]).row_count == 2


def test_an_undisturbed_run_is_the_same_twice(shop: Workshop) -> None:
    with shop.room() as room:
        assert shop.start(room).wait().code == BROKEN_VIDEO
        shop.require_same(room)
