"""The page of one run or of several, from its values: see comix_fast.report.gathering."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comix_fast.printable import printable
from comix_fast.report.page import Page

TEMPLATE = "report.html.j2"
STYLES = ("report.css",)
SCRIPTS = ("parts.js", "charts.js", "curves.js", "matrix.js", "scatter.js", "pins.js", "map.js", "report.js")
"""In the order in which they need one another."""
_LONGEST_TITLE = 200
_OF_A_RUN = ("name", "method", "source", "target", "measured_on")


def report_page(values: Mapping[str, Any]) -> Page:
    """The page; its template finds them as "report", beside "made", and "runs" with their names and methods alone."""
    runs = [{name: run[name] for name in _OF_A_RUN} for run in values["runs"]]
    title = str(runs[0]["name"]) if len(runs) == 1 else f"{len(runs)} runs"
    return Page(
        TEMPLATE,
        printable(f"comix report: {title}", _LONGEST_TITLE),
        values,
        styles=STYLES,
        scripts=SCRIPTS,
        context={"runs": runs, "made": values["made"], "report": values},
    )
