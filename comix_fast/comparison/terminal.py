"""A comparison in the terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from comix_fast.comparison.rows import ResultTable
from comix_fast.comparison.writers import cells
from comix_fast.tables import plain_table


def comparison_table(table: ResultTable) -> RenderableType:
    """Title, table and notes; no name in them can act as markup."""
    shown = plain_table(("", *table.columns[1:]), [cells(row) for row in table.rows])
    return Group(Text(table.title, style="bold"), shown, *(Text(note, style="dim") for note in table.notes))
