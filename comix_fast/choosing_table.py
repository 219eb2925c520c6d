"""What label-free scores are worth, in the terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from comix_fast.stages.choosing import Study
from comix_fast.stages.choosing_text import COLUMNS, cells, notes, title
from comix_fast.tables import plain_table


def choosing_table(study: Study) -> RenderableType:
    """Title, one row per score between last and oracle, and what the columns mean."""
    shown = plain_table(COLUMNS, [cells(report) for report in study.reports])
    return Group(Text(title(study), style="bold"), shown, *(Text(note, style="dim") for note in notes(study)))
