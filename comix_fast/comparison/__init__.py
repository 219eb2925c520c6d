"""Methods × seeds on one cache: statistics and writers. Importing it loads no torch."""

from comix_fast.comparison.bootstrap import Gain
from comix_fast.comparison.cells import CHOICE_TITLES, FAMILIES, Cell, Comparison, MethodResult
from comix_fast.comparison.rows import Accuracy, ResultTable, Row, rows, tabulate
from comix_fast.comparison.writers import CSV_COLUMNS, to_csv, to_json, to_latex, to_markdown

__all__ = [
    "CHOICE_TITLES",
    "CSV_COLUMNS",
    "FAMILIES",
    "Accuracy",
    "Cell",
    "Comparison",
    "Gain",
    "MethodResult",
    "ResultTable",
    "Row",
    "rows",
    "tabulate",
    "to_csv",
    "to_json",
    "to_latex",
    "to_markdown",
]
