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
    ("sabotage", "kind", "form", "outcome", "longest"),
    [
        ("checksums", "bytes", "form-2", "wrong", 20),
        ("links", "pipes, devices, links", "form-1", "accepted", 20),
        ("shapes", "JSON, hashed anew", "form-2", "traceback", 20),
        ("swelling", "hostile HDF5", "form-2", "gigabyte", 20),
        ("abort", "repacked HDF5", "form-2", "crash", 20),
        ("sleep", "repacked HDF5", "form-2", "hang", 1),
    ],
)
def test_a_check_that_is_missing_is_noticed(sabotage: str, kind: str, form: str, outcome: str, longest: float) -> None:
    few = 1 if sabotage in ("abort", "sleep") else 60
    such = (number for number in itertools.count() if (drawn(number, 0)[1].name, drawn(number, 0)[2]) == (kind, form))
    found = reports(list(itertools.islice(such, few)), workers=1, sabotage=sabotage, longest=longest)
    assert outcome in {report.outcome for report in found}, "\n".join(map(str, found))
