"""The report page of runs as they really are: what is gathered of them, in a browser, against their own files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pytest
from real_runs import N_CLASSES, PER_CLASS, RealRuns
from report_values import report_values

from comix_fast.intervals import summarise

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

Opens = Callable[..., "Page"]

# In the first section of the page of one run: what must be said there, and what must not.
SAID: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "two": (("last step)", "over source-only (", "also seen in training, without labels"), ("bound",)),
    "one": (("(source-only, last step)", "also seen in training"), ("points over", "Better than")),
    "bound": (
        ("(target-supervised: trained on the target’s labels)", "It is a bound", "a head trained on the labels of"),
        ("without labels", "without their labels", "Better than"),
    ),
    "back": (("of source domain:", "over source-only"), ()),
    "labels": (("(+ self-training, last step)",), ()),
    "continued": (("over the head it began with (", "Better than the head it began with in"), ("source-only",)),
    "unlabelled": (("target domain has no labels here",), ("% of the", "seen in training")),
    "imported": (("This model was imported: nothing was measured.",), ("has no labels", "accuracy")),
}


def _cells(table: Locator) -> list[list[str]]:
    return [row.locator("th, td").all_inner_texts() for row in table.locator("tbody tr").all()]


def _captions(page: Page, column: int, section: str) -> list[str]:
    """Which heads a run shows, beside others."""
    return page.locator(f"#{section} .side > .column").nth(column).locator("figcaption strong").all_inner_texts()


def test_each_kind_of_run_is_called_what_it_is(made: RealRuns, opens: Opens) -> None:
    for name, (said, never) in SAID.items():
        page, run = opens(made.page(name)), made.values(name)["runs"][0]
        result = page.locator("#result").inner_text()
        assert [words for words in said if words not in result] == [], name
        assert [words for words in never if words in result] == [], name
        whole = page.locator("main").inner_text()
        odd = ("undefined", "NaN", "null", "could not be drawn", "ictures: no pictures")
        assert [words for words in odd if words in whole] == [], name
        if run["map"]:
            assert whole.count("o pictures: the videos of") == 1
            maps = page.locator(".map-of strong").all_inner_texts()
            heads = [run["head_names"].get(run["map"][which], "backbone features") for which in ("before", "after")]
            assert maps == [f"Before: {heads[0]}", f"After: {heads[1]}"]
        shown = page.locator(".confusion strong").all_inner_texts()
        heads = [head for head in (run["before"], run["after"]) if head and run["confusion"]]
        assert shown == [run["head_names"][head] for head in heads]
        assert (name != "continued") == ("the head it began with" not in whole)
        spoken = page.locator(".chart.accuracy svg.lines").evaluate_all("(all) => all.map((one) => one.ariaLabel)")
        warmed = name not in ("bound", "continued") and bool(run["confusion"])
        assert any("warm-start" in one for one in spoken) == warmed, name


def test_a_bound_and_pseudo_labels_say_what_they_are(made: RealRuns, opens: Opens) -> None:
    page = opens(made.page("bound"))
    assert page.locator("#training .badge").count() == 0 and page.locator(".chart.unused").count() == 0
    spoken = page.locator("#training svg.lines").first.get_attribute("aria-label") or ""
    assert "head trained on target labels" in spoken and "not used" not in spoken
    assert "Chosen without labels:" not in page.locator("#accuracy").inner_text()
    page = opens(made.page("two"))
    badges = {
        chart.locator("strong").inner_text(): chart.locator(".badge").all_inner_texts()
        for chart in page.locator("figure.chart").all()
    }
    with_labels = ["measured with the target’s labels – not used"]
    assert badges["would be labelled (p ≥ 0.7)"] == ["measured only"]
    assert badges["right among these (p ≥ 0.7)"] == badges["target accuracy"] == with_labels
    assert badges["classification (source labels)"] == badges["infomax (no labels)"] == []
    training = page.locator("#training").inner_text()
    assert "would reach the threshold, p ≥ t" in training and "are given a label" not in training


@pytest.mark.parametrize("name", ["two", "labels"])
def test_numbers_are_those_of_the_files(name: str, made: RealRuns, opens: Opens) -> None:
    page, results = opens(made.page(name)), made.results(name)
    tables = [made.predicted(name, seed) for seed in (0, 1)]
    right = {
        head: [sum(row["label"] == row[head] for row in table) / len(table) for table in tables]
        for head in ("source-only", "last", "selected")
    }
    assert any(0 < value < 1 for value in right["last"])  # a head that is always right would prove nothing
    rows = _cells(page.locator("table.accuracy"))
    first, last = summarise(right["source-only"]), summarise(right["last"])
    assert [rows[0][1], rows[1][1]] == [first.text(), last.text()]
    for shown, told in zip(rows, results["rows"], strict=True):
        assert shown[:4] == [
            told["name"],
            *(summarise(told[c]["accuracy"]).text() for c in ("last", "selected", "oracle")),
        ]
    gain = summarise([b - a for a, b in zip(right["source-only"], right["last"], strict=True)])
    assert gain.half_width is not None
    headline = page.locator(".headline").inner_text()
    assert headline.startswith(f"{last.text()} %") and f"({first.text()} %)" in headline
    points = f"{100 * gain.mean:+.1f}".replace("-", "−") if round(100 * gain.mean, 1) else "0.0"
    assert f"{points} ± {100 * gain.half_width:.1f} points" in headline

    for which, head in enumerate(("source-only", "last")):
        counted = Counter((row["label"], row[head]) for table in tables for row in table)
        shown = _cells(page.locator("table.matrix").nth(which))
        for cells in shown:
            names = [f"class {c}" for c in range(N_CLASSES)]
            assert [int(cell.split()[0]) for cell in cells[1:]] == [counted[cells[0], taken] for taken in names]
    assert "(counts summed over 2 seeds)" in page.locator(".confusion").first.inner_text()
    for cells in _cells(page.locator("table.classes")):
        mine = [row for table in tables for row in table if row["label"] == cells[0]]
        assert cells[1] == str(PER_CLASS)
        shares = [
            f"{100 * sum(row[head] == row['label'] for row in mine) / len(mine):.1f}"
            for head in ("source-only", "last")
        ]
        assert cells[3:5] == shares
    mistakes = page.locator("#mistakes")
    for words in (
        "number of videos, summed over seeds",
        "each class, summed over 2 seeds",
        "each video counts 2 times",
    ):
        assert words in mistakes.inner_text()
    page.get_by_role("combobox", name="Seeds").select_option("1")
    assert "summed over" not in mistakes.inner_text() and "counts 2 times" not in mistakes.inner_text()
    assert {cells[1] for cells in _cells(page.locator("table.classes"))} == {str(PER_CLASS)}


def test_beside_each_other_every_choice_works_for_every_run(made: RealRuns, opens: Opens) -> None:
    """A run of one phase first, whose heads are called otherwise than those of the others."""
    names = ("one", "two", "bound", "continued")
    page = opens(made.page(*names))
    usual = [
        ["source-only"],
        ["source-only", "last step"],
        ["target-supervised"],
        ["the head it began with", "last step"],
    ]
    assert [_captions(page, place, "mistakes") for place in range(4)] == usual
    before, after = (page.get_by_role("combobox", name=name) for name in ("Before", "After"))
    options = [
        "each run’s own", "source-only / the head it began with", "last step / target-supervised",
        "step chosen without labels",
    ]  # fmt: skip
    assert sorted(before.locator("option").all_inner_texts()) == sorted(options)
    assert before.input_value() == after.input_value() == ""
    chosen = "step chosen without labels"
    after.select_option(label=chosen)
    assert [_captions(page, place, "mistakes")[-1] for place in range(4)] == [
        "source-only",
        chosen,
        "target-supervised",
        chosen,
    ]
    before.select_option("last")
    after.select_option("source-only")
    shown = [_captions(page, place, "mistakes") for place in range(4)]
    assert shown[1] == ["last step", "source-only"] and shown[3] == ["last step", "the head it began with"]
    before.select_option("")
    after.select_option("")
    assert [_captions(page, place, "mistakes") for place in range(4)] == usual

    left, right = page.get_by_role("combobox", name="Left map"), page.get_by_role("combobox", name="Right map")
    assert left.input_value() == right.input_value() == ""
    assert _captions(page, 0, "map") == ["Before: backbone features", "After: source-only"]
    assert _captions(page, 1, "map") == ["Before: source-only", "After: last step"]
    # What the first run shows by itself can be asked for all the same.
    left.select_option("backbone")
    right.select_option("source-only")
    assert _captions(page, 1, "map") == ["Before: backbone features", "After: source-only"]
    assert _captions(page, 3, "map")[1] == "After: the head it began with"
    columns = page.locator("table.accuracy thead th").all_inner_texts()
    assert "last over its own first head" in columns and "last over one [95 %]" in columns


LINKS = [
    "#left=constructor&right=__proto__", "#left=toString&seed=__proto__&from=constructor&to=__proto__",
    "#colour=constructor&only=constructor.-1.1e0.99.__proto__&names=hasOwnProperty&seed=", "#seed=0x1&pins=%7B",
    '#pins=["__proto__",{"a":1},null,["target:target/0-1"]]', "#%E0%A4%A",
    "#training", "#left=&right=&from=&to=",
]  # fmt: skip


def test_links_of_others_break_nothing(made: RealRuns, opens: Opens) -> None:
    one = opens(made.page("two"))
    several = opens(made.page("one", "two", "bound", "continued"))
    for page in (one, several):
        usual = page.locator("#mistakes").inner_text(), page.locator("#map").inner_text()
        address = page.url
        for link in LINKS:
            # A new page, as from a message; then the same link typed over the one that is shown.
            page.goto("about:blank")
            page.goto(address + link)
            assert (page.locator("#mistakes").inner_text(), page.locator("#map").inner_text()) == usual, link
            page.evaluate("(link) => { location.hash = link; }", LINKS[0])
            assert "could not be drawn" not in page.locator("main").inner_text()
            assert page.locator("#mistakes").inner_text() == usual[0], link


def _keys(value: Any) -> Any:
    """The form of values: keys all the way down, of lists that of their first entry that has some."""
    if isinstance(value, dict):
        return {key: _keys(below) for key, below in value.items()}
    if isinstance(value, list):
        return next(([form] for one in value if (form := _keys(one))), [])
    return None


def test_invented_values_are_of_the_form_that_is_gathered(made: RealRuns) -> None:
    """Else the other tests of this page would be of something that no run has."""
    real, invented = made.values("two", "continued"), report_values(2)
    assert invented["runs"][0].keys() == real["runs"][0].keys()
    for place, many in ((0, ("name", "value")), (1, ())):
        mine, theirs = invented["runs"][place], real["runs"][place]
        for part in ("rows", "gain", "heads", "head_names", "confusion", "map", "over_first", "curves", "recipe"):
            assert _keys(mine[part]) == _keys(theirs[part]), part
        assert not many or mine["recipe"][0].keys() == set(many) | {"group"}
    assert {k: _keys(v) for k, v in invented.items() if k != "runs"}.keys() == real.keys() - {"runs"}
    told = {
        (c["phase"], c["term"]): (c["label"], c["kind"], c["used"], c["measured_with_labels"])
        for c in real["runs"][0]["curves"]
    }
    for curve in invented["runs"][0]["curves"]:
        mine = (curve["label"], curve["kind"], curve["used"], curve["measured_with_labels"])
        assert told[curve["phase"], curve["term"]] == mine
    for name, phases in (("one", ("warmstart",)), ("bound", ("supervised",))):
        mine, theirs = report_values(phases=phases)["runs"][0], made.values(name)["runs"][0]
        for part in ("heads", "head_names", "before", "after", "bound", "imported", "method"):
            assert mine[part] == theirs[part] or part == "head_names", part
        assert [row["name"] for row in mine["rows"]] == [row["name"] for row in theirs["rows"]]
        assert [curve["label"] for curve in mine["curves"]] == [curve["label"] for curve in theirs["curves"]]
