"""Whatever the bytes of a cache, its reader answers rightly or with an error of ours: 2,000 mutants say so."""

from __future__ import annotations

import itertools

import pytest
from fuzzing import GOOD, reports, table
from mutants import KINDS, drawn
from specimens import FORMS

MUTANTS = 2000


def test_every_mutant_is_refused_or_read_rightly() -> None:
    found = reports(range(MUTANTS))
    bad = [str(report) for report in found if report.outcome not in GOOD]
    assert not bad, "\n".join(bad)
    rows = table(found)
    assert sum(row.tried for row in rows) == MUTANTS
    assert {(row.kind, row.form) for row in rows} == set(itertools.product((kind.name for kind in KINDS), FORMS))
    # Were mutants not what they are meant to be, all would be in order.
    refused = sum(row.outcomes.get("refused", 0) for row in rows)
    assert refused > MUTANTS / 2, rows
    # Nothing of form 2 is read wrongly but by those who write its checksums anew.
    anew = {kind.name for kind in KINDS if "anew" in kind.name}
    assert not sum(row.outcomes.get("unnoticed", 0) for row in rows if row.form == "form-2" and row.kind not in anew)


@pytest.mark.parametrize(
    ("sabotage", "kind", "form", "outcome"),
    [
        ("checksums", "bytes", "form-2", "wrong"),
        ("links", "pipes, devices, links", "form-1", "accepted"),
        ("shapes", "JSON, hashed anew", "form-2", "traceback"),
        ("swelling", "hostile HDF5", "form-2", "gigabyte"),
        ("abort", "repacked HDF5", "form-2", "crash"),
        ("sleep", "repacked HDF5", "form-2", "hang"),
    ],
)
def test_a_check_that_is_missing_is_noticed(sabotage: str, kind: str, form: str, outcome: str) -> None:
    such = (number for number in itertools.count() if (drawn(number, 0)[1].name, drawn(number, 0)[2]) == (kind, form))
    broken = sabotage in ("abort", "sleep")
    outcomes: set[str] = set()
    for _ in range(8):
        numbers = list(itertools.islice(such, 1 if broken else 50))
        found = reports(numbers, workers=1, sabotage=sabotage, longest=1 if sabotage == "sleep" else 20)
        outcomes.update(report.outcome for report in found)
        if outcome in outcomes:
            return
    pytest.fail(f"400 mutants only came to {sorted(outcomes)}")
