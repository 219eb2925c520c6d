"""Filters, sorting and before/after of the gallery: rows and numbers as counted here from what was retrieved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from comix_fast.report.gallery import gallery_page
from comix_fast.report.gallery_values import gallery_values
from comix_fast.report.page import write
from gallery_builders import CLASSES, draws_of, pictures_of, retrieved_of, write_page

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from comix_fast.retrieval import QueryNeighbours
    from comix_fast.stages.retrieve import Retrieved

Opens = Callable[..., "Page"]
ALL = "&per=all"


@pytest.fixture(scope="module")
def retrieved() -> Retrieved:
    return retrieved_of(90, seed=3)


@pytest.fixture
def file(retrieved: Retrieved, tmp_path: Path) -> Path:
    return write_page(tmp_path / "gallery.html", retrieved)


def elected(query: QueryNeighbours) -> int | None:
    """Most of the labelled neighbours; of equally many the nearest."""
    votes = Counter(near.label for near in query.neighbours if near.label >= 0)
    return max(votes, key=lambda label: votes[label]) if votes else None


def right(query: QueryNeighbours) -> bool:
    return elected(query) == query.label


def margin(query: QueryNeighbours) -> float:
    """The nearest right one's similarity less the nearest wrong one's; the last's where one of them is not shown."""
    last = query.neighbours[-1].similarity
    best = [next((n.similarity for n in query.neighbours if n.same_class is same), last) for same in (True, False)]
    return best[0] - best[1]


def n_right(query: QueryNeighbours) -> int:
    return sum(bool(near.same_class) for near in query.neighbours)


def shown(page: Page) -> list[int]:
    rows: list[int] = page.locator("#rows .row").evaluate_all("rows => rows.map(row => Number(row.dataset.row))")
    return rows


def accuracy(queries: Sequence[QueryNeighbours]) -> str:
    return f"{100 * sum(map(right, queries)) / len(queries):.1f} %"


def test_votes_and_accuracy_are_those_of_the_search(opens: Opens, retrieved: Retrieved, file: Path) -> None:
    page = opens(file, "#per=all")
    for view, space in (("After", "last"), ("Before", "source-only")):
        page.get_by_role("button", name=view, exact=True).click()
        result = retrieved.spaces[space]
        assert page.locator("#tally").inner_text() == f"90 of 90 queries; 5-NN accuracy: {accuracy(result.queries)}"
        # As the JSON has it.
        assert accuracy(result.queries) == f"{100 * (result.score('5-NN accuracy').value or 0):.1f} %"
        heads = page.locator(".said").all_inner_texts()
        for query, said in zip(result.queries, heads, strict=True):
            lines = said.split("\n")
            vote = elected(query)
            assert vote is not None
            says = f"5-NN says {CLASSES[vote]}" + ("" if right(query) else f", is {CLASSES[query.label]}")
            assert {f"{view.lower()}: {space}", "right" if right(query) else "wrong", says} <= set(lines)
            bound = {0: "≤ ", 5: "≥ "}.get(n_right(query), "")
            number = f"{margin(query):+.3f}".replace("-", "−")
            assert f"{n_right(query)} of 5 of its class, margin {bound}{number}" in lines
    page.get_by_role("button", name="Compare").click()
    said = [accuracy(retrieved.spaces[space].queries) for space in ("source-only", "last")]
    assert page.locator("#tally").inner_text().endswith(f"5-NN accuracy: {said[0]} before, {said[1]} after")


def test_filters_count_what_passes_and_say_it(opens: Opens, retrieved: Retrieved, file: Path) -> None:
    page = opens(file, "#per=all")
    before, after = retrieved.spaces["source-only"].queries, retrieved.spaces["last"].queries
    rows = range(len(after))

    def expect(passing: list[int]) -> None:
        assert passing and shown(page) == passing
        tally = page.locator("#tally").inner_text()
        assert tally == f"{len(passing)} of 90 queries; 5-NN accuracy: {accuracy([after[row] for row in passing])}"
        assert page.locator("#said").inner_text() == tally

    def passing(name: str, value: str, holds: Callable[[int], bool]) -> None:
        page.locator(name).select_option(value)
        expect([row for row in rows if holds(row)])
        page.get_by_role("button", name="Clear filters").click()
        assert len(shown(page)) == 90

    passing("#show", "wrong", lambda row: not right(after[row]))
    passing("#show", "right", lambda row: right(after[row]))
    passing("#show", "mixed", lambda row: len({near.label for near in after[row].neighbours}) > 1)
    passing("#show", "newly-right", lambda row: right(after[row]) and not right(before[row]))
    passing("#show", "newly-wrong", lambda row: right(before[row]) and not right(after[row]))
    passing("#class", "kick", lambda row: after[row].label == CLASSES.index("kick"))
    passing("#near", "hug", lambda row: any(near.label == 0 for near in after[row].neighbours))
    # Several at once, and text in a query's id or a neighbour's.
    page.locator("#class").select_option("push")
    page.locator("#show").select_option("right")
    page.locator("#text").fill(" SET1/7")
    page.wait_for_url(lambda url: "text=" in url)
    found = [any("set1/7" in near.id for near in after[row].neighbours) for row in rows]
    expect([row for row in rows if after[row].label == 4 and right(after[row]) and found[row]])
    assert page.locator("#described").inner_text() == "after: last · right only · class push · ids with “SET1/7”"


def test_sorting_and_its_reverse(opens: Opens, retrieved: Retrieved, file: Path) -> None:
    page = opens(file, "#per=all")
    before, after = retrieved.spaces["source-only"].queries, retrieved.spaces["last"].queries
    keys: dict[str, Callable[[int], float]] = {
        "id": lambda row: row,  # set2/9 before set2/10
        "class": lambda row: after[row].label,
        "best": lambda row: -after[row].neighbours[0].similarity,
        "margin": lambda row: margin(after[row]),
        "change": lambda row: n_right(after[row]) - n_right(before[row]),
        "": lambda row: row,
    }
    for name, key in keys.items():
        page.locator("#sort").select_option(name)
        assert shown(page) == sorted(range(90), key=key), name
        page.locator("#order").click()
        assert shown(page) == sorted(range(90), key=lambda row: -key(row)), name
        page.locator("#order").click()


def test_the_link_keeps_the_view_and_brings_it_back(opens: Opens, file: Path) -> None:
    page = opens(file)
    page.get_by_role("button", name="Compare").click()
    page.locator("#before").select_option("backbone")
    page.locator("#show").select_option("right")
    page.locator("#sort").select_option("margin")
    page.locator("#order").click()
    page.locator("#text").fill("set2")
    page.wait_for_url(lambda url: "text=" in url)
    page.get_by_role("button", name="Next").click()
    page.locator(".row").first.get_by_role("button", name="Details").click()
    rows, tally, title = shown(page), page.locator("#tally").inner_text(), page.locator("#detail-title").inner_text()
    again = opens(file, page.url.removeprefix(file.as_uri()))
    assert shown(again) == rows and again.locator("#tally").inner_text() == tally
    assert again.locator("#detail-title").inner_text() == title
    assert again.locator("#described").inner_text() == (
        "before: backbone, after: last · right only · ids with “set2” · by margin, smallest first · reversed"
    )
    values = {name: again.locator(f"#{name}").input_value() for name in ("text", "show", "before", "after", "sort")}
    assert values == {"text": "set2", "show": "right", "before": "backbone", "after": "last", "sort": "margin"}
    assert again.locator("#where").inner_text().startswith("Page 2 of")
    # What a link can't mean is passed over.
    odd = opens(file, "#view=sideways&sort=%00&class=nobody&page=-7&per=1e9&open=nobody&before=nobody")
    assert shown(odd) == list(range(25)) and odd.locator("#detail").is_hidden()


def test_compare_marks_neighbours_that_are_new(opens: Opens, retrieved: Retrieved, file: Path) -> None:
    page = opens(file, "#view=both&per=all&before=backbone&after=selected")
    then, now = retrieved.spaces["backbone"].queries, retrieved.spaces["selected"].queries
    for row in range(8):
        strips = page.locator(f'[data-row="{row}"] .strip')
        known = {near.id for near in then[row].neighbours}
        assert strips.nth(0).locator(".id").all_inner_texts() == [near.id for near in then[row].neighbours]
        assert strips.nth(0).locator(".new").count() == 0
        marked = [card.locator(".new").count() == 1 for card in strips.nth(1).locator(".card").all()]
        assert marked == [near.id not in known for near in now[row].neighbours]
    turned = page.locator(".badge").all_inner_texts()
    counts = Counter(
        "newly right" if right(b) else "newly wrong" for a, b in zip(then, now, strict=True) if right(a) != right(b)
    )
    assert Counter(turned) == counts and len(counts) == 2


def test_domains_can_be_chosen_where_both_occur(opens: Opens, retrieved: Retrieved, file: Path, tmp_path: Path) -> None:
    page = opens(file)
    assert page.locator("#domain").is_hidden() and page.locator("#near-domain").is_hidden()
    values = gallery_values(retrieved)
    # A search of both domains together: every third video is the source's.
    values["videos"]["domains"] = [int(number % 3 > 0) for number in range(len(values["videos"]["ids"]))]
    write(gallery_page(values, retrieved, "", [], []), tmp_path / "both.html")
    page = opens(tmp_path / "both.html", "#per=all")
    page.locator("#domain").select_option("set1")
    asked = [row for row in range(90) if values["videos"]["domains"][values["queries"][row]] == 0]
    assert shown(page) == asked and len(asked) == 30
    page.locator("#near-domain").select_option("set2")
    near = values["spaces"][values["after"]]["neighbours"]
    assert shown(page) == [
        row for row in asked if any(values["videos"]["domains"][n] == 1 for n in near[5 * row : 5 * row + 5])
    ]
    assert "domain set1 · a neighbour of set2" in page.locator("#described").inner_text()


def test_one_space_has_nothing_to_compare(opens: Opens, tmp_path: Path) -> None:
    retrieved = retrieved_of(12, spaces={"backbone": 0.5})
    page = opens(write_page(tmp_path / "gallery.html", retrieved))
    assert page.locator("#views").is_hidden() and page.locator("#before").is_hidden()
    assert page.locator("#show option").all_inner_texts() == [
        "all queries",
        "wrong only",
        "right only",
        "several classes",
    ]
    page.keyboard.press("b")
    assert shown(page) == list(range(12)) and page.locator(".space").count() == 0


def test_mixed_backgrounds_show_donor_and_gamma(opens: Opens, retrieved: Retrieved, tmp_path: Path) -> None:
    draws = draws_of(9)
    pictures = pictures_of(gallery_values(retrieved)["videos"]["ids"])
    file = write_page(tmp_path / "gallery.html", retrieved, pictures=pictures, draws=draws)
    page = opens(file)
    page.get_by_role("tab", name="Neighbours").focus()
    page.keyboard.press("ArrowRight")
    assert page.get_by_role("tab", name="Mixed backgrounds").get_attribute("aria-selected") == "true"
    rows = page.locator(".draw")
    assert rows.count() == 9 and page.locator("#view-rows").is_hidden()
    for draw, row in zip(draws, rows.all(), strict=True):
        assert row.locator(".id").all_inner_texts() == [draw["video"], draw["donor"]]
        assert f"γ = {draw['gamma']:.2f}" in row.inner_text() and f"clip from frame {draw['start']}" in row.inner_text()
        plain, background = (float(text.split()[1]) for text in row.locator(".sign").all_inner_texts())
        assert (round(plain + background, 9), background) == (1, pytest.approx(draw["gamma"], abs=0.0051))
    page.wait_for_selector(".draw canvas[data-drawn]")
    page.locator("#mix-domain").select_option("set2")
    assert page.locator("#mix-tally").inner_text() == page.locator("#said").inner_text() == "4 of 9 draws"
    page.locator("#mix-text").fill("donor 3")
    page.locator("#mix-tally", has_text="1 of 9 draws").wait_for()
    again = opens(file, f"#{page.url.partition('#')[2]}")
    assert again.locator(".draw").count() == 1 and again.locator("#mix-text").input_value() == "donor 3"


def test_a_class_with_odd_characters_survives_the_link(opens: Opens, tmp_path: Path) -> None:
    odd = "a&b=c#d%20 –é"
    retrieved = retrieved_of(12, classes=("x", odd))
    file = write_page(tmp_path / "gallery.html", retrieved)
    page = opens(file, f"#class={quote(odd, safe='')}")
    assert shown(page) == [1, 3, 5, 7, 9, 11] and page.locator("#class").input_value() == odd
    assert page.locator("#described").text_content() == f"after: last · class {odd}"
