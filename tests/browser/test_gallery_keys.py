"""The gallery by keyboard, page by page, and with thousands of rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from comix_fast.report.gallery_values import gallery_values
from gallery_builders import pictures_of, retrieved_of, write_page

if TYPE_CHECKING:
    from playwright.sync_api import Page

Opens = Callable[..., "Page"]


def _current(page: Page) -> int:
    row: int = page.evaluate("Number(document.activeElement.closest('.row')?.dataset.row ?? -1)")
    return row


def test_rows_by_keys(opens: Opens, tmp_path: Path) -> None:
    page = opens(write_page(tmp_path / "gallery.html", retrieved_of(60)))
    visited = []
    for key in ("j", "j", "ArrowDown", "k", "ArrowUp"):
        page.keyboard.press(key)
        visited.append(_current(page))
    assert visited == [0, 1, 2, 1, 0]
    # One row at a time is a stop of the tab key, and what is gone to is seen below the bar.
    assert page.locator('.row[tabindex="0"]').count() == 1
    for _ in range(24):
        page.keyboard.press("j")
    assert _current(page) == 24
    page.keyboard.press("j")
    assert _current(page) == 25 and page.locator("#where").inner_text() == "Page 2 of 3"
    page.keyboard.press("k")
    assert _current(page) == 24 and page.locator("#where").inner_text() == "Page 1 of 3"
    box, bar = page.locator('[data-row="24"]').bounding_box(), page.locator("#bar").bounding_box()
    assert box is not None and bar is not None
    assert box["y"] >= bar["y"] + bar["height"] - 1 and box["y"] < 900


def test_before_and_after_by_a_key_leave_the_row_where_it_is(opens: Opens, tmp_path: Path) -> None:
    page = opens(write_page(tmp_path / "gallery.html", retrieved_of(60)))
    for _ in range(13):
        page.keyboard.press("j")
    top = page.locator('[data-row="12"]').bounding_box()
    assert top is not None
    for key, pressed in (("b", "Before"), ("c", "Compare"), ("c", "After")):
        page.keyboard.press(key)
        button = page.get_by_role("button", name=pressed, exact=True)
        assert button.get_attribute("aria-pressed") == "true" and _current(page) == 12
        now = page.locator('[data-row="12"]').bounding_box()
        assert now is not None and abs(now["y"] - top["y"]) < 3, key
    page.keyboard.press("w")
    assert "wrong only" in page.locator("#described").inner_text()


def test_detail_search_and_help_by_keys(opens: Opens, tmp_path: Path) -> None:
    page = opens(write_page(tmp_path / "gallery.html", retrieved_of(30)))
    detail, title = page.locator("#detail"), page.locator("#detail-title")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    assert title.inner_text() == "set2/0"
    assert detail.locator(".space").all_inner_texts() == ["backbone", "source-only", "last", "selected"]
    page.keyboard.press("j")
    assert title.inner_text() == "set2/1" and "open=set2%2F1" in page.url
    page.get_by_role("button", name="Next").last.press("Enter")
    assert title.inner_text() == "set2/2"
    # The button is still at hand, so that it can be pressed again.
    page.keyboard.press("Enter")
    assert title.inner_text() == "set2/3"
    page.keyboard.press("Escape")
    assert detail.is_hidden() and "open=" not in page.url and _current(page) == 3
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "text"
    # Letters in a field are letters.
    page.keyboard.type("bjw?")
    page.wait_for_url(lambda url: "bjw" in url)
    assert page.locator("#keys").is_hidden() and "view=" not in page.url
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()
    page.keyboard.press("Escape")
    assert page.locator("#keys").is_hidden()


def test_a_picture_opens_the_detail(opens: Opens, tmp_path: Path) -> None:
    retrieved = retrieved_of(10)
    pictures = pictures_of(gallery_values(retrieved)["videos"]["ids"])
    page = opens(write_page(tmp_path / "gallery.html", retrieved, pictures=pictures))
    page.locator('[data-row="1"] .neighbours .picture').nth(2).click()
    assert page.locator("#detail-title").inner_text() == "set2/1"
    page.get_by_role("button", name="Close").first.click()
    assert page.locator("#detail").is_hidden() and _current(page) == 1


def test_five_thousand_rows_load_filter_and_sort_at_once(opens: Opens, tmp_path: Path) -> None:
    retrieved = retrieved_of(5_000, spaces={"backbone": 0.45, "last": 0.8})
    pictures = pictures_of(gallery_values(retrieved)["videos"]["ids"])
    file = write_page(tmp_path / "gallery.html", retrieved, pictures=pictures)
    opens(file, "#tab=rows").close()
    began = perf_counter()
    page = opens(file)
    page.wait_for_selector('[data-row="0"] canvas[data-drawn]')
    loaded = perf_counter() - began
    assert page.locator(".row").count() == 25 and page.locator("#where").inner_text() == "Page 1 of 200"
    # From the change of the link until the new rows are laid out, the slowest of several.
    milliseconds: float = page.evaluate("""() => {
      const asked = ["show=wrong&sort=margin", "near=hug&sort=id", "text=4&sort=change", "view=both&sort=best"];
      return Math.max(...asked.map((state) => {
        const began = performance.now();
        history.replaceState(null, "", `#${state}`);
        dispatchEvent(new HashChangeEvent("hashchange"));
        document.body.getBoundingClientRect();
        return performance.now() - began;
      }));
    }""")
    assert page.locator(".row").count() == 25
    assert loaded < 3, f"{loaded:.2f} s to load"
    assert milliseconds < 300, f"{milliseconds:.0f} ms to filter and sort"
