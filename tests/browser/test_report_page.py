"""The report page as people meet it: opened from a file, looked at, pointed at, driven by keys, printed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from report_values import HOSTILE, Values, report_values, write_report

if TYPE_CHECKING:
    from playwright.sync_api import Page

Opens = Callable[..., "Page"]


def _unfinished() -> Values:
    """A run none of whose seeds is finished: curves alone."""
    values = report_values(with_map=False)
    values["runs"][0] |= {"seeds": [], "rows": [], "heads": [], "before": None, "after": None, "confusion": None}
    return values


def _imported() -> Values:
    """A run of published checkpoints: a head, and nothing else."""
    values = report_values()
    values["runs"][0] |= {"rows": [], "curves": [], "heads": ["last"], "before": None, "confusion": None}
    values["runs"][0] |= {"imported": True, "n_labelled": 0, "gain": None, "seeds": [0]}
    return values


def _bound() -> Values:
    """A run of target-supervised alone: no warm-start, no steps to choose from."""
    return report_values(phases=("supervised",))


CASES: dict[str, Callable[[], Values]] = {
    "one run": report_values,
    "three runs": lambda: report_values(3),
    "no labels": lambda: report_values(labels=False),
    "no map": lambda: report_values(with_map=False),
    "no pictures": lambda: report_values(pictures=False),
    "one phase": lambda: report_values(phases=("warmstart",)),
    "the bound alone": _bound,
    "one seed": lambda: report_values(seeds=1),
    "unfinished": _unfinished,
    "imported": _imported,
}


@pytest.mark.parametrize("case", CASES)
def test_page_opens_whatever_there_is_to_show(case: str, opens: Opens, tmp_path: Path) -> None:
    values = CASES[case]()
    page = opens(write_report(values, tmp_path / "report.html"))
    titles = page.locator("main section:not([hidden]) > h2").all_inner_texts()
    first = ["What the runs do differently"] if len(values["runs"]) > 1 else []
    assert titles == [
        *first,
        "Accuracy on the target",
        "Training",
        "Where it is right and wrong",
        "Map of the videos",
        "Recipe and notes",
    ]
    for section in page.locator("main section:not([hidden]) > .body").all():
        assert section.inner_text().strip()
    written = page.locator("main").inner_text()
    assert "undefined" not in written and "NaN" not in written and "null" not in written
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_hostile_names_are_text(opens: Opens, tmp_path: Path) -> None:
    """The run, two classes and a video of each domain are named as code: no element comes of it, no dialog."""
    values = report_values(2, hostile=True)
    page = opens(write_report(values, tmp_path / "report.html"), f"#pins={json.dumps([f'target:{HOSTILE}'])}")
    page.fill("#find-video", "onerror")
    _move_to(page, values, 0)
    assert page.evaluate("[...document.images].filter((one) => !one.src.startsWith('data:image/webp')).length") == 0
    assert page.locator("script").count() == 2
    assert page.locator(".pin .id").inner_text() == HOSTILE
    assert page.locator(".tip .id").inner_text() == HOSTILE
    assert HOSTILE in page.locator("#mistakes").inner_text()
    assert page.locator(".found button").count() == 2
    assert page.locator("h3.run").first.inner_text() == HOSTILE


def test_runs_side_by_side_begin_with_what_differs(opens: Opens, tmp_path: Path) -> None:
    page = opens(write_report(report_values(3), tmp_path / "report.html"))
    cells = page.locator("#differences tbody tr").all_inner_texts()
    assert [cell.split("\t") for cell in cells] == [["lambda_teacher", "0.0", "0.03", "0.06"]]
    assert "24 other settings are the same" in page.locator("#differences").inner_text()
    assert page.locator("#accuracy tbody tr").count() == 6
    ticks = [chart.locator("text").all_inner_texts() for chart in page.locator(".chart.accuracy svg.lines").all()]
    assert len(ticks) == 3 and ticks[0] == ticks[1] == ticks[2]


def test_nothing_serious_for_axe(opens: Opens, serious: Callable[[Page], list[str]], tmp_path: Path) -> None:
    """Light, dark and on a phone, with everything open that can be."""
    pins = json.dumps(["target:target/001/0001", "source:source/000/0000"])
    page = opens(write_report(report_values(2), tmp_path / "report.html"), f"#wrong=1&only=0.1&pins={pins}")
    for summary in page.locator("summary").all():
        summary.click()
    page.locator("#training details table").last.wait_for()
    assert serious(page) == []
    page.emulate_media(color_scheme="dark")
    assert serious(page) == []
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 390, "height": 844})
    assert serious(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_map_answers_the_pointer_and_the_link_keeps_the_pins(opens: Opens, tmp_path: Path) -> None:
    values = report_values()
    path = write_report(values, tmp_path / "report.html")
    page = opens(path)
    first, second = _lonely(values, 2)
    video, space = _video(values, first), _space(values)
    _move_to(page, values, first)
    said = page.locator(".tip").inner_text()
    assert video["id"] in said and f"({video['role']})" in said
    assert values["runs"][0]["classes"][space["predicted"][first]] in said
    assert f"{100 * space['confidence'][first]:.1f} %" in said
    assert ("✓ right" if space["predicted"][first] == video["label"] else "✗ wrong") in said
    assert page.locator(".tip img").get_attribute("src") == values["pictures"]["items"][video["picture"]]["src"]
    # Lit on the map after adaptation too.
    assert page.evaluate(_LIT, [1]) > 0
    page.mouse.move(5, 5)
    assert page.locator(".tip").is_hidden()
    assert page.evaluate(_LIT, [1]) == 0

    for index in (first, second):
        _move_to(page, values, index)
        page.mouse.down()
        page.mouse.up()
    wanted = [_video(values, index)["id"] for index in (first, second)]
    assert page.locator(".pin .id").all_inner_texts() == wanted
    again = opens(path, page.evaluate("location.hash"))
    assert again.locator(".pin .id").all_inner_texts() == wanted
    assert again.evaluate(_LIT, [0]) > 0
    again.get_by_role("button", name=f"Unpin {wanted[0]}").click()
    assert again.locator(".pin .id").all_inner_texts() == wanted[1:]
    assert wanted[0] not in again.evaluate("decodeURIComponent(location.hash)")


def test_map_by_keys_alone(opens: Opens, tmp_path: Path) -> None:
    page = opens(write_report(report_values(), tmp_path / "report.html"))
    page.locator(".scatter").first.focus()
    page.keyboard.press("ArrowRight")
    first = page.locator("#said").inner_text()
    page.keyboard.press("ArrowUp")
    second = page.locator("#said").inner_text()
    assert first != second and ", class " in first and "predicted " in second
    page.keyboard.press("Enter")
    assert page.locator(".pin .id").inner_text() == second.split(",")[0]
    assert page.locator("#said").inner_text() == f"{second.split(',')[0]} pinned as number 1"
    page.keyboard.press("+")
    assert "zoomed" in (page.locator(".scatter").first.get_attribute("class") or "")
    page.keyboard.press("Escape")
    assert page.locator(".tip").is_hidden()
    page.locator("#find-video").focus()
    page.keyboard.type("target/003/0003")
    page.keyboard.press("Enter")
    assert page.locator(".pin .id").all_inner_texts() == [second.split(",")[0], "target/003/0003"]


def test_toggles_show_at_once_and_stay_in_the_link(opens: Opens, tmp_path: Path) -> None:
    values = report_values()
    path = write_report(values, tmp_path / "report.html")
    page = opens(path)
    drawn = [page.evaluate(_PICTURE)]
    page.get_by_label("Colour by").select_option("domain")
    drawn.append(page.evaluate(_PICTURE))
    page.get_by_label("Ring wrong predictions").check()
    drawn.append(page.evaluate(_PICTURE))
    page.get_by_role("button", name="kick").click()
    drawn.append(page.evaluate(_PICTURE))
    page.get_by_label("Left map").select_option("backbone")
    drawn.append(page.evaluate(_PICTURE))
    page.click("#theme")
    drawn.append(page.evaluate(_PICTURE))
    assert len(set(drawn)) == len(drawn)
    again = opens(path, page.evaluate("location.hash"))
    assert again.get_by_label("Colour by").input_value() == "domain"
    assert again.get_by_label("Left map").input_value() == "backbone"
    assert again.get_by_label("Ring wrong predictions").is_checked()
    assert again.get_by_role("button", name="kick").get_attribute("aria-pressed") == "true"
    again.click("#theme")
    assert again.evaluate(_PICTURE) == drawn[-1]


def test_many_points_do_not_stutter(opens: Opens, tmp_path: Path) -> None:
    """UCF-HMDB's 3,209 videos on two maps: there within 3 s, each move of the pointer answered within 50 ms."""
    values = report_values(n_classes=12, seeds=5, n_source=1600, n_target=1609)
    page = opens(write_report(values, tmp_path / "report.html"))
    assert page.evaluate("performance.timing.loadEventEnd - performance.timing.navigationStart") < 3000
    space = _space(values)
    places = [[0.03 + 0.94 * space["x"][n] / 1000, 0.97 - 0.94 * space["y"][n] / 1000] for n in range(0, 3209, 64)]
    took = page.evaluate(
        """(places) => {
          const frame = document.querySelector(".scatter"), box = frame.getBoundingClientRect();
          const times = places.map(([x, y]) => {
            const at = { clientX: box.left + x * box.width, clientY: box.top + y * box.height, bubbles: true };
            const before = performance.now();
            frame.dispatchEvent(new PointerEvent("pointermove", at));
            if (document.querySelector(".tip").hidden) throw new Error("no answer");
            return performance.now() - before;
          });
          return times.sort((a, b) => a - b)[Math.floor(times.length / 2)];
        }""",
        places,
    )
    assert took < 50


def test_paper_gets_light_canvases_and_cuts_nothing(opens: Opens, tmp_path: Path) -> None:
    """On a dark screen the maps for paper are painted beforehand; A4 between its margins is about 700 pixels wide."""
    values = report_values(n_classes=40, n_source=80, n_target=80)
    page = opens(write_report(values, tmp_path / "report.html"), width=700)
    page.click("#theme")
    page.emulate_media(media="print")
    for canvas in page.locator(".scatter canvas, .painted canvas").all():
        is_paper = "paper" in (canvas.get_attribute("class") or "")
        assert canvas.is_visible() == is_paper
    assert page.evaluate("document.documentElement.scrollWidth") <= 700
    assert page.locator(".controls").first.is_hidden()
    ground = page.locator(".painted .paper").first.evaluate(
        "(one) => [...one.getContext('2d').getImageData(30, 1, 1, 1).data]"
    )
    assert ground == [255, 255, 255, 255]
    assert len(page.pdf(format="A4")) > 20_000


def test_page_without_scripts_says_the_numbers(tmp_path: Path) -> None:
    """A mail's preview runs no scripts."""
    text = write_report(report_values(), tmp_path / "report.html").read_text()
    fallback = text[text.index("<noscript>\n  <table>") : text.rindex("</noscript>")]
    row = report_values()["runs"][0]["rows"][1]["choices"]["last"]
    assert f"{100 * row['mean']:.1f} ± {100 * row['half_width']:.1f}" in fallback
    assert "measured on <bdi>60 videos of set2" in fallback


# The part of a map's upper canvas that is painted; the lower canvas as a picture.
_LIT = """([which]) => {
  const canvas = document.querySelectorAll(".scatter .over")[which], copy = document.createElement("canvas");
  Object.assign(copy, { width: canvas.width, height: canvas.height });
  const pen = copy.getContext("2d", { willReadFrequently: true });
  pen.drawImage(canvas, 0, 0);
  const pixels = pen.getImageData(0, 0, canvas.width, canvas.height).data;
  return pixels.filter((_, place) => place % 4 === 3 && pixels[place]).length;
}"""
_PICTURE = "document.querySelector('.scatter canvas').toDataURL()"


def _space(values: Values) -> dict[str, Any]:
    """What the left map shows."""
    shown = values["runs"][0]["map"]
    return next(space for space in shown["spaces"] if space["name"] == shown["before"])


def _video(values: Values, index: int) -> dict[str, Any]:
    return dict(values["runs"][0]["map"]["videos"][index])


def _lonely(values: Values, n: int) -> list[int]:
    """The target videos that are farthest from any other on the left map, so that the pointer means them."""
    space = _space(values)
    places = list(zip(space["x"], space["y"], strict=True))

    def room(index: int) -> float:
        x, y = places[index]
        return min((x - u) ** 2 + (y - v) ** 2 for other, (u, v) in enumerate(places) if other != index)

    targets = [n for n, video in enumerate(values["runs"][0]["map"]["videos"]) if video["role"] == "target"]
    return sorted(targets, key=room, reverse=True)[:n]


def _move_to(page: Page, values: Values, index: int) -> None:
    """The pointer, to a video on the left map: 3 % of its sides are margin, y points up."""
    frame = page.locator(".scatter").first
    frame.scroll_into_view_if_needed()
    box, space = frame.bounding_box(), _space(values)
    assert box is not None
    x, y = (0.03 + 0.94 * space["x"][index] / 1000, 0.03 + 0.94 * (1 - space["y"][index] / 1000))
    page.mouse.move(box["x"] + 1 + x * (box["width"] - 2), box["y"] + 1 + y * (box["height"] - 2))
