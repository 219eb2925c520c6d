"""Names as they are, in Markdown and in LaTeX: nothing in one acts as markup."""

from __future__ import annotations

_LATEX: dict[str, str | int | None] = {
    **{sign: f"\\{sign}" for sign in "&%_#${}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    # After \\ or \midrule a bare [ or * would be read as its argument.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "±": r"$\pm$",
    "→": r"$\rightarrow$",
    "×": r"$\times$",
    "−": "$-$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "γ": r"$\gamma$",
    "λ": r"$\lambda$",
    "–": "--",
    "…": r"\ldots{}",
}
# Whatever CommonMark, GitHub's tables and its $formulas$ give a meaning inside a cell.
_MARKDOWN: dict[str, str | int | None] = {sign: f"\\{sign}" for sign in "\\|`*_[]<>~&$"}


def latex(text: str) -> str:
    """Text for LaTeX, on one line."""
    return _escaped(text, _LATEX)


def markdown(text: str) -> str:
    """Text for a cell of a Markdown table, or a line beside it."""
    return _escaped(text, _MARKDOWN)


def one_line(text: str) -> str:
    """Text with every run of white space, line ends among them, as one space."""
    return " ".join(text.split())


def _escaped(text: str, meanings: dict[str, str | int | None]) -> str:
    # One pass: a replacement's own signs are not replaced again.
    return one_line(text).translate(str.maketrans(meanings))
