"""What label-free scores are worth, as text: the cells, title and notes of a table, and the table in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from comix_fast.comparison.escaping import markdown
from comix_fast.stages.choosing import Figure, ScoreReport, Study

_UNKNOWN = "–"
COLUMNS = (
    "chosen by",
    "ρ within",
    "ρ across",
    "step picked",
    "over last",
    "regret",
    "method picked",
    "regret",
)


def to_markdown(study: Study) -> str:
    """The title in bold, the table, the notes as a list."""
    lines = [f"**{markdown(title(study))}**", "", _piped(COLUMNS), _piped(["---", *["---:"] * (len(COLUMNS) - 1)])]
    lines += [_piped([markdown(cell) for cell in cells(report)]) for report in study.reports]
    lines += ["", *(f"- {markdown(note)}" for note in notes(study))]
    return "\n".join(lines) + "\n"


def _piped(row: Sequence[str]) -> str:
    return f"| {' | '.join(row)} |"


def title(study: Study) -> str:
    """What is compared, of how many seeds."""
    if not study.n_trainings:
        return "choosing without labels: no training was measured, so no score can be judged"
    seeds = f"{len(study.seeds):,} seeds, ± 95 % over seeds" if len(study.seeds) > 1 else "one seed, so no interval"
    methods = f"{len(study.methods):,} methods" if len(study.methods) != 1 else "one method"
    return f"choosing without labels: target accuracy in %, {methods}, {seeds}"


def cells(report: ScoreReport) -> list[str]:
    """One row: what belongs below each of COLUMNS."""
    return [
        report.title,
        _correlation(report.within),
        _correlation(report.across),
        _percent(report.picked_step),
        _percent(report.gain_step, signed=True),
        _percent(report.regret_step),
        _percent(report.picked_method),
        _percent(report.regret_method),
    ]


def _correlation(figure: Figure | None) -> str:
    return _UNKNOWN if figure is None else _text(figure, 1.0, 2, signed=True)


def _percent(figure: Figure | None, signed: bool = False) -> str:
    return _UNKNOWN if figure is None else _text(figure, 100.0, 1, signed)


def _text(figure: Figure, scale: float, decimals: int, signed: bool) -> str:
    shown = f"{abs(figure.value) * scale:.{decimals}f}"
    # What rounds to nothing has no sign.
    if float(shown) and (signed or figure.value < 0):
        shown = ("+" if figure.value > 0 else "−") + shown
    return shown if figure.half_width is None else f"{shown} ± {figure.half_width * scale:.{decimals}f}"


def notes(study: Study) -> list[str]:
    """What the numbers mean and where some are missing, a line each."""
    lines = []
    if study.n_trainings:
        lines += [
            "ρ: Spearman's rank correlation of score and target accuracy; within trainings over the steps of one, "
            "its mean; across methods over every method and seed at its last step",
            "step picked: mean accuracy at each training's step of highest score; over last, and regret to the oracle, "
            "in percentage points",
            "method picked: accuracy of each seed's method of highest score at the last step; in the row last, the "
            "mean over methods; regret to the best method, in percentage points",
            "±: other seeds, same videos and methods; the row oracle uses target labels and is no way to choose",
        ]
        lines += [_within_note(study)] if any(_n_within(report) < study.n_trainings for report in study.scores) else []
        lines += [_missing(report, study.n_trainings) for report in study.scores if report.n_scored < study.n_trainings]
    if study.n_unmeasured:
        of = study.n_trainings + study.n_unmeasured
        lines.append(f"left out, for want of target accuracy: {study.n_unmeasured:,} of {of:,} trainings")
    return lines


def _n_within(report: ScoreReport) -> int:
    return 0 if report.within is None else report.within.n


def _within_note(study: Study) -> str:
    counts = sorted({_n_within(report) for report in study.scores if report.n_scored} or {0})
    span = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    return f"ρ within: defined in {span} of {study.n_trainings:,} trainings (three steps, neither side constant)"


def _missing(report: ScoreReport, n_trainings: int) -> str:
    if not report.n_scored:
        return f"{report.title}: not available"
    lacking = n_trainings - report.n_scored
    return f"{report.title}: not available in {lacking:,} of {n_trainings:,} trainings, where the last step stands in"
