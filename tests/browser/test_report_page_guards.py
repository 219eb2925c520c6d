"""What the report page does with values that are not as they should be, and with names that run the other way."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from report_values import report_values, write_report

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

Opens = Callable[..., "Page"]
# Hebrew, and a sign that turns what follows it.
TURNED = "יד\u202ebar"

BREAKS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "accuracy": lambda run: run["rows"][0]["choices"]["oracle"].update(values=5),
    "training": lambda run: run.update(curves=None),
    "mistakes": lambda run: run["confusion"]["counts"].update(last=[[[99, 0, 1]]] * 2),
    "map": lambda run: run["map"].update(videos=None),
    "recipe": lambda run: run.update(recipe=None),
}


def test_a_section_that_fails_leaves_the_others(browser: BrowserContext, tmp_path: Path) -> None:
    page = browser.new_page()
    for broken, damage in BREAKS.items():
        values = report_values(n_source=12, n_target=12, seeds=2)
        damage(values["runs"][0])
        page.goto(write_report(values, tmp_path / f"{broken}.html").as_uri())
        sections = page.locator("main section:not([hidden])").all()
        failed = [one.get_attribute("id") for one in sections if "could not be drawn" in one.inner_text()]
        assert failed == [broken]
        for section in page.locator("main section:not([hidden]) > .body").all():
            assert section.inner_text().strip()
        assert page.locator("#contents a").count() == 5


def test_names_turn_nothing_but_themselves(opens: Opens, tmp_path: Path) -> None:
    """Wherever a name from data stands, it stands in an element of its own, or between isolates."""
    values = report_values(2, n_source=12, n_target=12)
    for number, run in enumerate(values["runs"]):
        run |= {
            "name": f"{TURNED} run {number}",
            "source": f"{TURNED} s",
            "target": f"{TURNED} t",
            "path": f"{TURNED}/p",
        }
        run["classes"][0] = f"{TURNED} class"
        for video in run["map"]["videos"]:
            video["id"] = f"{TURNED} {video['id'].removeprefix(TURNED).strip()}"
    values["differences"]["fields"][0]["values"] = [TURNED, f"{TURNED} too"]
    keys = [f"target:{values['runs'][0]['map']['videos'][-1]['id']}"]
    page = opens(write_report(values, tmp_path / "report.html"), f"#pins={json.dumps(keys)}")
    page.fill("#find-video", "source/000")
    for summary in page.locator("summary").all():
        summary.click()
    page.locator("#training details table").last.wait_for()
    for which in (0, 1):
        page.locator(".scatter").nth(which).focus()
        page.keyboard.press("ArrowRight")
    found = page.evaluate(_BARE, TURNED)
    assert found["held"] > 40 and found["bare"] == []


def test_differences_are_rounded_as_the_terminal_does(opens: Opens, tmp_path: Path) -> None:
    values = report_values(2)
    # What a computation of 0 − 0 leaves, and a tie.
    values["runs"][1]["over_first"] = {"points": -1e-15, "low": -0.04, "high": 0.25}
    page = opens(write_report(values, tmp_path / "report.html"))
    assert "±0.0 [±0.0, +0.2]" in page.locator("table.accuracy tbody tr").last.inner_text()
    assert page.evaluate("[1 / 16, 3 / 16, -1 / 16, -1e-9].map(Parts.points)") == ["+6.2", "+18.8", "−6.2", "±0.0"]


# Texts that hold a name and are not within <bdi> (an option's, an attribute's: not between isolates), and how many are.
_BARE = """(name) => {
  const bare = [];
  let held = 0;
  const look = (text, apart, where) => {
    if (!text.includes(name)) return;
    if (apart) held += 1;
    else bare.push(`${where}: ${text}`);
  };
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const { textContent: text, parentElement: on } = walk.currentNode;
    if (["SCRIPT", "NOSCRIPT", "OPTION"].includes(on.tagName)) continue;
    look(text, on.closest("bdi") || text.includes(`\\u2068${name}`), on.outerHTML.slice(0, 80));
  }
  for (const on of document.querySelectorAll("main *")) {
    for (const { name: called, value } of on.attributes) {
      if (value.startsWith(name) || called === "value") continue;
      look(value, value.includes(`\\u2068${name}`), `${on.tagName} ${called}`);
    }
  }
  return { bare, held };
}"""
