"""The gallery as people meet it: what a row says, what moves, what is made when, what hostile names can do, paper."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from comix_fast.report.gallery_values import gallery_values
from gallery_builders import CLASSES, HOSTILE, draws_of, pictures_of, retrieved_of, write_page

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from comix_fast.stages.retrieve import Retrieved

Opens = Callable[..., "Page"]
Serious = Callable[["Page"], list[str]]


def _ids(retrieved: Retrieved) -> list[str]:
    ids: list[str] = gallery_values(retrieved)["videos"]["ids"]
    return ids


def _write(tmp_path: Path, retrieved: Retrieved, **options: Any) -> Path:
    return write_page(tmp_path / "gallery.html", retrieved, pictures=pictures_of(_ids(retrieved)), **options)


def _scrolls(lists: Locator) -> list[bool]:
    found: list[bool] = lists.evaluate_all("lists => lists.map(one => one.scrollWidth > one.clientWidth + 1)")
    return found


def test_a_row_says_who_is_near_and_what_that_comes_to(opens: Opens, tmp_path: Path) -> None:
    retrieved = retrieved_of(40)
    page = opens(_write(tmp_path, retrieved))
    assert page.title() == "Neighbours: set2 (target) → set1 (source)"
    after = retrieved.spaces["last"].queries
    mixed = next(
        number for number, query in enumerate(after) if 1 < sum(bool(n.same_class) for n in query.neighbours) < 4
    )
    for number in (mixed, 0):
        row, query = page.locator(f'[data-row="{number}"]'), after[number]
        asked = row.locator(".asked")
        assert asked.locator(".class").inner_text() == CLASSES[query.label]
        assert asked.locator(".id").inner_text() == query.id and asked.locator(".domain").inner_text() == "set2"
        cards = row.locator(".neighbours .card").all()
        assert len(cards) == 5
        for rank, (card, near) in enumerate(zip(cards, query.neighbours, strict=True), 1):
            word = "right" if near.same_class else "wrong"
            shown = f"{near.similarity:.3f}".replace("-", "−")
            assert card.locator(".rank").inner_text() == str(rank)
            assert card.locator(".similarity").inner_text().split()[-1] == shown
            assert card.locator(".verdict").inner_text() == word and card.locator(".verdict svg path").count() == 1
            assert card.locator(".class").inner_text() == CLASSES[near.label]
            assert (card.locator(".id").inner_text(), card.locator(".domain").inner_text()) == (near.id, "set1")
    # Shape and colour differ, not the word alone.
    right, wrong = (page.locator(f".card .verdict.{word}").first for word in ("right", "wrong"))
    for read in ("e => getComputedStyle(e).color", "e => e.querySelector('path').getAttribute('d')"):
        assert right.evaluate(read) != wrong.evaluate(read)
    # Nothing of a card is wider than the card: no similarity breaks in two.
    assert page.locator(".similarity").evaluate_all("all => all.every(one => one.getClientRects().length === 1)")


def test_without_labels_nothing_is_right_or_wrong(opens: Opens, tmp_path: Path) -> None:
    page = opens(_write(tmp_path, retrieved_of(30, unlabelled=1.0)))
    assert page.locator("#tally").inner_text() == "30 of 30 queries"
    assert page.locator(".verdict svg").count() == 0
    card = page.locator(".neighbours .card").first
    assert card.locator(".verdict").inner_text() == "no label" and card.locator(".class").inner_text() == "no label"
    assert "no labelled neighbour to vote" in page.locator(".said").first.inner_text()
    page.locator("#show").select_option("wrong")
    assert page.locator("#rows").inner_text() == "No query passes these filters."


def test_fifty_neighbours_scroll_sideways_by_keyboard_too(opens: Opens, serious: Serious, tmp_path: Path) -> None:
    page = opens(_write(tmp_path, retrieved_of(6, 50)))
    lists = page.locator(".neighbours")
    assert lists.count() == 6 and lists.first.locator(".card").count() == 50 and all(_scrolls(lists))
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    # Pictures of what is out of sight at the right are not made.
    assert 0 < lists.first.locator("canvas").count() < 25
    page.locator('[data-row="0"]').focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.querySelector('.neighbours').scrollLeft > 0")
    assert not serious(page)


def test_pictures_are_made_for_rows_in_view(opens: Opens, tmp_path: Path) -> None:
    page = opens(_write(tmp_path, retrieved_of(60)), "#per=50")
    page.wait_for_selector('[data-row="0"] canvas[data-drawn]')
    pictures = page.locator("#rows canvas")
    boxes, first = page.locator("#rows .picture").count(), pictures.count()
    assert boxes == 50 * 6 and 6 <= first <= 50
    page.locator('[data-row="49"]').scroll_into_view_if_needed()
    page.wait_for_selector('[data-row="49"] canvas[data-drawn]')
    assert pictures.count() < boxes


def test_loops_stop_when_the_system_or_the_button_says_so(opens: Opens, tmp_path: Path) -> None:
    page = opens(_write(tmp_path, retrieved_of(8)))
    moving, stopped = page.locator('[data-row="0"] img'), page.locator('[data-row="0"] canvas[data-drawn]')
    button = page.get_by_role("button", name="Stop motion")
    stopped.nth(5).wait_for()
    assert moving.count() == 0 and button.get_attribute("aria-pressed") == "true"
    # The still is the loop's first picture: the square is at the left.
    line = stopped.first.evaluate("canvas => [...canvas.getContext('2d').getImageData(0, 18, 48, 1).data]")
    left, far = (sum(line[4 * x : 4 * x + 3]) for x in (6, 42))
    assert left > far + 60
    page.emulate_media(reduced_motion="no-preference")
    moving.nth(5).wait_for()
    assert stopped.count() == 0 and button.get_attribute("aria-pressed") == "false"
    button.click()
    stopped.nth(5).wait_for()
    assert moving.count() == 0 and "motion=off" in page.url


def test_stills_need_no_button_and_a_page_may_lack_pictures(opens: Opens, tmp_path: Path) -> None:
    retrieved = retrieved_of(8)
    ids = _ids(retrieved)
    stills = pictures_of(ids, moving=False)
    gone = {video: picture for video, picture in stills.by_id.items() if video != "set2/1"}
    page = opens(write_page(tmp_path / "stills.html", retrieved, pictures=replace(stills, by_id=gone)))
    page.wait_for_selector('[data-row="0"] img')
    assert page.locator("#motion").is_hidden() and page.locator("canvas").count() == 0
    assert page.locator('[data-row="1"] .asked .picture').inner_text() == "no picture"
    page = opens(write_page(tmp_path / "none.html", retrieved, alerts=["no pictures: as asked"]))
    assert page.locator(".note").inner_text() == "no pictures: as asked"
    assert page.locator(".picture, img, canvas").count() == 0 and page.locator(".row").count() == 8
    assert page.locator("#tabs").is_hidden()


def test_hostile_names_are_text_everywhere(opens: Opens, tmp_path: Path) -> None:
    retrieved = retrieved_of(
        30,
        classes=(HOSTILE, "</script><script>alert(2)</script>", "kick"),
        names=(HOSTILE, f"{HOSTILE}2"),
        prefix=HOSTILE,
    )
    draws = [one | {"video": HOSTILE, "donor": HOSTILE, "view": HOSTILE} for one in draws_of(3)]
    page = opens(_write(tmp_path, retrieved, draws=draws, about=[HOSTILE], alerts=[HOSTILE]))
    row = page.locator('[data-row="0"]')
    assert row.locator(".asked .class").inner_text() == HOSTILE
    assert row.locator(".asked .id").inner_text() == f"{HOSTILE}{HOSTILE}2/0"
    page.locator("#class").select_option(HOSTILE)
    assert page.locator("#tally").inner_text().startswith("10 of 30 queries")
    assert f"class {HOSTILE}" in page.locator("#described").inner_text()
    row.get_by_role("button", name="Details").click()
    assert page.locator("#detail-title").inner_text().startswith(HOSTILE)
    page.keyboard.press("Escape")
    page.get_by_role("tab", name="Mixed backgrounds").click()
    assert page.locator("#draws .id").first.inner_text() == HOSTILE
    # No element was made of a name; nothing styles itself (the policy forbids it); `opens` fails on errors and dialogs.
    assert page.locator("img:not([src^='data:']), [onerror]").count() == 0
    assert page.locator("script").count() == 2 and page.locator("[style]").count() == 0


@pytest.mark.parametrize("width", [1280, 390])
def test_anybody_can_use_it(width: int, opens: Opens, serious: Serious, tmp_path: Path) -> None:
    page = opens(_write(tmp_path, retrieved_of(4), draws=draws_of(2), about=["a note"]), "#view=both", width=width)
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
        assert not serious(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator('[data-row="0"]').get_by_role("button", name="Details").click()
    assert not serious(page)
    page.get_by_role("button", name="Close").first.click()
    page.get_by_role("tab", name="Mixed backgrounds").click()
    assert not serious(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_on_a_phone_rows_come_first_and_filters_wait_behind_a_line(opens: Opens, tmp_path: Path) -> None:
    page = opens(_write(tmp_path, retrieved_of(40)), width=390, height=844)
    assert page.locator("#text").is_hidden()
    top = page.locator('[data-row="0"]').bounding_box()
    assert top is not None and top["y"] < 560
    page.get_by_text("Filter and sort").click()
    page.locator("#show").select_option("right")
    assert "right only" in page.locator("#described").inner_text()
    page.set_viewport_size({"width": 1280, "height": 900})
    page.locator("#filters[open]").wait_for()
    assert page.locator("#text").is_visible()


def test_paper_has_rows_with_all_their_pictures_and_no_controls(opens: Opens, tmp_path: Path) -> None:
    page = opens(_write(tmp_path, retrieved_of(40)))
    page.emulate_media(media="print")
    for control in ("#filters", "#views", "#motion", "#theme", "#next", ".open"):
        assert page.locator(control).first.is_hidden(), control
    assert page.locator("#tally").is_visible() and page.locator("#where").inner_text() == "Page 1 of 2"
    assert not any(_scrolls(page.locator(".neighbours")))
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator(".picture:empty").count() == 0
    assert page.locator("#rows .picture").count() == 25 * 6
