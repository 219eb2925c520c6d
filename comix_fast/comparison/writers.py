"""A comparison as CSV, Markdown, LaTeX and JSON, all of them from one table of rows."""

from __future__ import annotations

import csv
import io
from typing import Any

from comix_fast.comparison import escaping
from comix_fast.comparison.bootstrap import Gain
from comix_fast.comparison.cells import CHOICE_TITLES
from comix_fast.comparison.rows import Accuracy, ResultTable, Row
from comix_fast.intervals import LEVEL

_UNKNOWN = "–"
_OF_ACCURACY = ("", "_std", "_half_width", "_low", "_high")
_OF_GAIN = ("gain", "gain_low", "gain_high", "not_better_share")
CSV_COLUMNS = (
    *("method", "title", "family", "deterministic", "n_seeds", "given_up"),
    *(choice + part for choice in CHOICE_TITLES for part in _OF_ACCURACY),
    *_OF_GAIN,
    "rank",
    "note",
)


def cells(row: Row) -> list[str]:
    """One row as people read it: percent and points with one decimal, "–" where unknown."""
    return [
        escaping.one_line(row.title),
        *(_accuracy(row.accuracies[choice]) for choice in CHOICE_TITLES),
        _gain(row.gain),
        _UNKNOWN if row.rank is None else f"{row.rank:.1f}",
    ]


def to_csv(table: ResultTable) -> str:
    """One line per method under CSV_COLUMNS, numbers unrounded; an unknown one is an empty field.

    last, selected, oracle: the mean in percent, then by suffix its standard deviation and half the t-interval over
    seeds, and the bootstrap interval over videos and seeds. gain and its interval in percentage points;
    not_better_share in [0, 1].
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for row in table.rows:
        plain = [row.name, row.title, row.family, str(row.deterministic).lower(), row.n_seeds, row.given_up]
        numbers = [number for choice in CHOICE_TITLES for number in _percents(row.accuracies[choice])]
        gain = list(row.gain.to_json().values()) if row.gain else [None] * len(_OF_GAIN)
        writer.writerow([*plain, *numbers, *gain, row.rank, row.note])
    return stream.getvalue()


def to_markdown(table: ResultTable) -> str:
    """The title in bold, the table, the notes as a list; the best of each label-free column in bold."""
    lines = [f"**{escaping.markdown(table.title)}**", "", _piped([escaping.markdown(one) for one in table.columns])]
    lines.append(_piped(["---", *["---:"] * (len(table.columns) - 1)]))
    best = _best(table)
    for place, row in enumerate(table.rows):
        title, *numbers = cells(row)
        shown = [escaping.markdown(title), *numbers]
        lines.append(_piped([f"**{cell}**" if (place, at) in best else cell for at, cell in enumerate(shown)]))
    if table.notes:
        lines += ["", *(f"- {escaping.markdown(note)}" for note in table.notes)]
    return "\n".join(lines) + "\n"


def to_latex(table: ResultTable) -> str:
    """A table environment for booktabs; families are set apart, the best of each label-free column is in bold."""
    lines = [r"\begin{table}", r"  \centering", rf"  \caption{{{escaping.latex(table.title)}.}}"]
    lines += [rf"  \begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}", r"    \toprule"]
    lines += [_ampersands([escaping.latex(one) for one in table.columns])]
    best, family = _best(table), None
    for place, row in enumerate(table.rows):
        if row.family != family:
            lines.append(r"    \midrule")
        family = row.family
        shown = [escaping.latex(cell) for cell in cells(row)]
        lines.append(_ampersands([rf"\textbf{{{x}}}" if (place, at) in best else x for at, x in enumerate(shown)]))
    lines += [r"    \bottomrule", r"  \end{tabular}"]
    lines += [rf"  \par\footnotesize {escaping.latex(note)}" for note in table.notes]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def to_json(table: ResultTable) -> dict[str, Any]:
    """Everything, unrounded, ready for json.dump: accuracies as shares in [0, 1], gains in percentage points."""
    here = table.comparison
    return {
        "title": table.title,
        "source": here.source,
        "target": here.target,
        "transductive": here.transductive,
        "n_labelled": len(here.labels),
        "classes": list(here.classes),
        "seeds": list(here.seeds),
        "selection": here.selection,
        "baseline": here.baseline if here.reference else None,
        "choice": table.choice,
        "n_draws": table.n_draws,
        "level": LEVEL,
        "units": {"accuracy": "share", "gain": "percentage points"},
        "notes": list(table.notes),
        "rows": [row.to_json() for row in table.rows],
    }


def _accuracy(accuracy: Accuracy | None) -> str:
    return _UNKNOWN if accuracy is None else accuracy.over_seeds.text()


def _gain(gain: Gain | None) -> str:
    if gain is None:
        return _UNKNOWN
    return f"{_signed(gain.points)} [{_signed(gain.low)}, {_signed(gain.high)}]"


def _signed(points: float) -> str:
    text = f"{abs(points):.1f}"
    return text if text == "0.0" else ("+" if points > 0 else "−") + text


def _percents(accuracy: Accuracy | None) -> list[float | None]:
    if accuracy is None:
        return [None] * len(_OF_ACCURACY)
    over = accuracy.over_seeds
    shares = (over.mean, over.std, over.half_width, accuracy.low, accuracy.high)
    return [None if share is None else 100 * share for share in shares]


def _best(table: ResultTable) -> set[tuple[int, int]]:
    """(row, column) of the best mean by the last step and by the one chosen without labels, ties as shown.

    Never of a bound, nor by the oracle: both know the target's labels.
    """
    best = set()
    for column, choice in enumerate(CHOICE_TITLES, start=1):
        known = {
            place: round(100 * accuracy.over_seeds.mean, 1)
            for place, row in enumerate(table.rows)
            if not row.bound and (accuracy := row.accuracies[choice])
        }
        if choice != "oracle":
            best |= {(place, column) for place, mean in known.items() if mean == max(known.values())}
    return best


def _piped(shown: list[str]) -> str:
    return f"| {' | '.join(shown)} |"


def _ampersands(shown: list[str]) -> str:
    return rf"    {' & '.join(shown)} \\"
