"""The numbers on the report page are those of its values, recomputed here."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from report_values import dense, report_values, write_report

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

Opens = Callable[..., "Page"]
REFERENCES = Path(__file__).parent / "references"


def _cells(table: Locator) -> list[list[str]]:
    return [row.locator("th, td").all_inner_texts() for row in table.locator("tbody tr").all()]


def _points(share: float) -> str:
    points = round(100 * share + 0.0, 1)
    return f"{'+' if points > 0 else '−' if points < 0 else '±'}{abs(points):.1f}"


def test_head_and_accuracies(opens: Opens, tmp_path: Path) -> None:
    values = report_values(seeds=5)
    values["runs"][0]["gain"] = {"mean": 0.2106, "half_width": 0.0312}
    page = opens(write_report(values, tmp_path / "report.html"))
    rows = values["runs"][0]["rows"]
    last = {row["name"]: row["choices"]["last"] for row in rows}
    headline = page.locator(".headline").inner_text()
    adapted, first = (
        f"{100 * last[n]['mean']:.1f} ± {100 * last[n]['half_width']:.1f} %" for n in ("+ teacher", "source-only")
    )
    assert headline.startswith(adapted) and f"source-only ({first})" in headline
    assert "+21.1 ± 3.1 points" in headline
    result = page.locator("#result").inner_text()
    assert "(transductive)" in result and "One video is 1.7 points." in result
    cells = _cells(page.locator("table.accuracy"))
    for row, shown in zip(rows, cells, strict=True):
        wanted = [f"{100 * c['mean']:.1f} ± {100 * c['half_width']:.1f}" for c in row["choices"].values()]
        assert shown[:4] == [row["name"], *wanted]
    assert [row[4] for row in cells] == ["", _points(last["+ teacher"]["mean"] - last["source-only"]["mean"])]
    page.get_by_text("Each seed", exact=True).click()
    page.locator("#accuracy details table").wait_for()
    each = _cells(page.locator("#accuracy details table"))
    assert len(each) == 5
    for seed, shown in enumerate(each):
        wanted = [
            f"{100 * cell['values'][seed]:.1f} step {cell['iterations'][seed]}"
            for row in rows
            for cell in row["choices"].values()
        ]
        assert shown == [str(seed), *wanted]


def test_confusions_and_classes(opens: Opens, tmp_path: Path) -> None:
    values = report_values(seeds=3)
    run = values["runs"][0]
    page = opens(write_report(values, tmp_path / "report.html"))
    counts = {head: dense(run["confusion"]["counts"][head], len(run["classes"])) for head in run["heads"]}
    before, after = counts["source-only"].sum(axis=0), counts["last"].sum(axis=0)
    for shown, wanted in zip(page.locator("table.matrix").all(), (before, after), strict=True):
        found = [[int(cell.split()[0]) for cell in row[1:]] for row in _cells(shown)]
        assert found == wanted.tolist()
    change = np.diag(after) / after.sum(axis=1) - np.diag(before) / before.sum(axis=1)
    rows = _cells(page.locator("table.classes"))
    assert {row[0]: row[-1].split()[-1] for row in rows} == {
        name: _points(change[c]) for c, name in enumerate(run["classes"])
    }
    gains = [change[run["classes"].index(row[0])] for row in rows]
    assert gains == sorted(gains, reverse=True)
    wrong = after - np.diag(np.diag(after))
    truth, guess = np.unravel_index(wrong.argmax(), wrong.shape)
    share, was = wrong[truth, guess] / after[truth].sum(), before[truth, guess] / before[truth].sum()
    most = page.locator(".confusions li").first.inner_text()
    assert f"{wrong.max()} of {after[truth].sum()} ({100 * share:.1f} %; before " in most
    if (wrong == wrong.max()).sum() == 1:
        assert most.startswith(f"{run['classes'][truth]} taken for {run['classes'][guess]}:")
        assert f"before {100 * was:.1f} %" in most

    page.get_by_role("combobox", name="Seeds").select_option("1")
    page.get_by_role("combobox", name="After").select_option("selected")
    shown = _cells(page.locator("table.matrix").nth(1))
    assert [[int(cell.split()[0]) for cell in row[1:]] for row in shown] == counts["selected"][1].tolist()
    assert f"{100 * np.trace(counts['selected'][1]) / 60:.1f} % right" in page.locator(".confusion").nth(1).inner_text()


def test_many_classes_are_painted_and_still_told(opens: Opens, tmp_path: Path) -> None:
    values = report_values(n_classes=101, n_source=202, n_target=404)
    page = opens(write_report(values, tmp_path / "report.html"))
    assert page.locator("table.matrix").count() == 0
    canvas = page.locator(".painted canvas").first
    assert "101 classes" in (canvas.get_attribute("aria-label") or "")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 4.5 / 101, box["y"] + box["height"] * 4.5 / 101)
    counts = dense(values["runs"][0]["confusion"]["counts"]["source-only"], 101).sum(axis=0)
    said = page.locator(".tip").inner_text()
    assert said.splitlines()[-1] == f"{counts[4, 4]} ({100 * counts[4, 4] / counts[4].sum():.1f} %)"
    assert page.locator("table.classes tbody tr").count() == 101
    assert page.locator(".confusions li").count() == 8
    assert "24 colours" in page.locator(".legend-box").inner_text()


def test_curves_are_means_and_say_what_they_were_used_for(opens: Opens, tmp_path: Path) -> None:
    values = report_values()
    page = opens(write_report(values, tmp_path / "report.html"))
    curves = {(c["term"], c["phase"]): c for c in values["runs"][0]["curves"]}
    for term, label, unit in (
        ("target_accuracy", "target accuracy", 100),
        ("teacher", "teacher on the target", 1),
    ):
        chart = page.locator("figure.chart", has=page.get_by_text(label, exact=True))
        ys = np.array([series["y"] for series in curves[term, "adapt"]["series"]]).mean(axis=0)
        spoken = chart.locator("svg.lines").get_attribute("aria-label") or ""
        wanted = f"{unit * ys[-1]:.1f} %" if unit == 100 else f"{ys[-1]:.3f}".rstrip("0")
        assert "adaptation, mean of 3 seeds, from " in spoken and f"to {wanted} at step 300" in spoken
    unused = page.locator("figure.chart.unused")
    with_labels = "measured with the target’s labels – not used"
    assert dict(
        zip(unused.locator("strong").all_inner_texts(), unused.locator(".badge").all_inner_texts(), strict=True)
    ) == {
        "would be labelled (p ≥ 0.7)": "measured only",
        "right among these (p ≥ 0.7)": with_labels,
        "target accuracy": with_labels,
    }
    for chart in unused.all():
        spoken = chart.locator("svg.lines").get_attribute("aria-label") or ""
        assert spoken.lower().endswith(f"{chart.locator('.badge').inner_text()}.")
    assert page.locator(".chart.accuracy svg .at").count() == 3 * 2 * 3
    page.get_by_text("The curves as numbers").click()
    table = page.locator("#training details table")
    table.wait_for()
    shown = dict(zip(table.locator("thead th").all_inner_texts(), _cells(table)[-1], strict=True))
    assert shown["step"] == "adaptation 300"
    ys = [series["y"][-1] for series in curves["target_accuracy", "adapt"]["series"]]
    assert shown["target accuracy"] == f"{100 * np.mean(ys):.1f}"


def test_neighbours_across_domains(opens: Opens, tmp_path: Path) -> None:
    values = report_values()
    page = opens(write_report(values, tmp_path / "report.html"))
    found = values["runs"][0]["map"]["neighbours"]["spaces"]
    wanted = [
        [f"{100 * one[name]:.1f}" for name in ("cross_share", "cross_expected", "cross_right")]
        for one in found.values()
    ]
    assert [row[1:] for row in _cells(page.locator("table.neighbours"))] == wanted


def test_maps_look_as_they_did(opens: Opens, tmp_path: Path) -> None:
    """Both maps without a word on them, which fonts would change, shrunk so that a pixel's edge makes no difference.

    References: the same picture, 64 × 64; without the rings, or coloured by domain, it is 0.7 and 1.2 away in the mean.
    """
    page = opens(write_report(report_values(), tmp_path / "report.html"), "#names=0&wrong=1")
    for place, name in enumerate(("before", "after")):
        address = page.locator(".scatter canvas:first-child").nth(place).evaluate("(one) => one.toDataURL()")
        found = _small(base64.b64decode(address.partition(",")[2]))
        wanted = np.asarray(Image.open(REFERENCES / f"report-map-{name}.png").convert("RGB"), dtype=float)
        assert np.abs(found - wanted).mean() < 0.4
        assert np.abs(found - wanted).max() < 45


def _small(png: bytes) -> np.ndarray:
    drawn = Image.open(io.BytesIO(png)).convert("RGBA")
    paper = Image.alpha_composite(Image.new("RGBA", drawn.size, "white"), drawn).convert("RGB")
    return np.asarray(paper.resize((64, 64), Image.Resampling.BOX), dtype=float)
