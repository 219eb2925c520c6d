"""What all pages share: numbers as the command line prints them; state in the link, or in the page alone."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from comix_fast.report.page import Page as Made
from comix_fast.report.page import render, write

if TYPE_CHECKING:
    from playwright.sync_api import Page

Opens = Callable[..., "Page"]


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    write(Made("base.html.j2", "plain", {}), tmp_path / "plain.html")
    return tmp_path / "plain.html"


def test_numbers_are_rounded_as_python_does(opens: Opens, plain: Path) -> None:
    drawn = random.Random(0)
    shares = [13 / 16, 349 / 400, 0.15, 1 / 3, 0.0, 1.0, 0.0005, 3 / 32]
    shares += [drawn.randrange(2001) / 2000 for _ in range(300)] + [n / 160 for n in range(161)]
    page = opens(plain)
    for digits in (0, 1, 2):
        shown = page.evaluate("([shares, digits]) => shares.map((one) => Comix.percent(one, digits))", [shares, digits])
        assert shown == [f"{100 * share:.{digits}f}" for share in shares]
    values = [-0.04, 0.04, 0.0, -0.05, 6.25, -6.35, 12.0]
    signed = page.evaluate("(values) => values.map((one) => Comix.signed(one))", values)
    assert signed == ["±0.0", "±0.0", "±0.0", "−0.1", "+6.2", "−6.3", "+12.0"]


def test_the_state_is_in_the_link_and_comes_back_from_it(opens: Opens, plain: Path) -> None:
    page = opens(plain, "#class=a%20b&wrong=1")
    assert page.evaluate("[Comix.state.get('class'), Comix.state.get('none', 'x')]") == ["a b", "x"]
    page.evaluate("Comix.state.set({ wrong: '', text: 'ü&=#' })")
    link = page.url[page.url.index("#") :]
    assert opens(plain, link).evaluate("['class', 'wrong', 'text'].map((name) => Comix.state.get(name))") == [
        "a b", "", "ü&=#",
    ]  # fmt: skip
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("[document.activeElement.id, Comix.state.get('text')]") == ["main", "ü&=#"]


def test_without_an_address_of_its_own_the_page_keeps_its_state(opens: Opens, plain: Path, tmp_path: Path) -> None:
    """As a viewer of mails or notebooks shows it: in a frame that has no origin."""
    around = tmp_path / "viewer.html"
    inside = render(Made("base.html.j2", "inside", {})).replace("&", "&amp;").replace('"', "&quot;")
    around.write_text(f'<iframe sandbox="allow-scripts" srcdoc="{inside}"></iframe>', encoding="utf-8")
    frame = opens(around).frames[1]
    frame.wait_for_selector("h1")
    assert frame.evaluate("Comix.state.set({ class: 'hug' }); Comix.state.get('class')") == "hug"
    heard = "let n = 0; Comix.state.onChange(() => { n += 1; }); Comix.state.set({ class: 'kick' }); n"
    assert frame.evaluate(heard) == 1
