"""One table in five forms: read back where a machine reads it, and with names that try to be markup."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace

import pytest
from rich.console import Console
from small_comparisons import BOUND, NEAREST, OURS, SOURCE_ONLY, comparison, four, method, same

from comix_fast.comparison import (
    CHOICE_TITLES,
    CSV_COLUMNS,
    ResultTable,
    escaping,
    tabulate,
    to_csv,
    to_json,
    to_latex,
    to_markdown,
)
from comix_fast.comparison.terminal import comparison_table

HOSTILE = 'a&b%c_d#e$f{g}h~i^j\\k |l| [red]m[/red] *n* `o` <p> "q", r\ns'


@pytest.fixture
def hostile() -> ResultTable:
    methods = {
        "source-only": replace(SOURCE_ONLY, title=HOSTILE),
        "[x]": replace(OURS, title="[b]ours[/b]", note=HOSTILE),
        "*": replace(OURS, title="* all *"),
    }
    return tabulate(comparison(methods, source=HOSTILE, target="t_2", selection=HOSTILE), n_draws=50)


def shown(table: ResultTable, width: int = 250) -> list[str]:
    stream = io.StringIO()
    Console(file=stream, width=width, highlight=False, emoji=False).print(comparison_table(table))
    return stream.getvalue().splitlines()


def test_the_terminal_shows_every_column() -> None:
    lines = shown(tabulate(four()))
    assert lines[0].startswith("target accuracy in %, set1 → set2, 2 seeds, mean ± 95 % over seeds; 4 videos")
    assert re.split(r"\s{2,}", lines[1].strip()) == [*CHOICE_TITLES.values(), "gain over source-only", "rank"]
    body = [re.split(r"\s{2,}", line) for line in lines[2:6]]
    assert body[0][:5] == ["source-only", *["62.5 ± 158.8"] * 3, "–"]
    assert body[1][:4] == ["nearest mean", "50.0", "50.0", "50.0"]
    assert body[2][:4] == ["ours", "50.0 ± 317.7", "87.5 ± 158.8", "50.0 ± 317.7"]
    assert re.fullmatch(r"\+25\.0 \[(−\d+\.\d|0\.0), \+\d+\.\d\]", body[2][4])
    assert body[3][:4] == ["target-supervised", *["100.0 ± 0.0"] * 3]
    assert body[3][5] == "–"
    assert "rank: by chosen without labels, mean over the draws, 1 is best; a bound is not ranked" in lines


def test_names_are_no_markup_in_the_terminal(hostile: ResultTable) -> None:
    text = "\n".join(shown(hostile, 900))
    assert escaping.one_line(HOSTILE) in text
    assert "[b]ours[/b]" in text


def test_csv_gives_every_number_back() -> None:
    table = tabulate(four())
    lines = list(csv.DictReader(io.StringIO(to_csv(table))))
    assert tuple(lines[0]) == CSV_COLUMNS
    assert [line["method"] for line in lines] == ["source-only", "nearest", "ours", "bound"]
    for line, row in zip(lines, table.rows, strict=True):
        for choice in CHOICE_TITLES:
            accuracy = row.accuracies[choice]
            assert accuracy is not None
            assert float(line[choice]) == 100 * accuracy.over_seeds.mean
            half = accuracy.over_seeds.half_width
            assert line[f"{choice}_half_width"] == ("" if half is None else str(100 * half))
            assert (float(line[f"{choice}_low"]), float(line[f"{choice}_high"])) == (
                100 * accuracy.low,
                100 * accuracy.high,
            )
        gain = [line[name] for name in ("gain", "gain_low", "gain_high", "not_better_share")]
        assert gain == ([str(one) for one in row.gain.to_json().values()] if row.gain else [""] * 4)
        assert line["rank"] == ("" if row.rank is None else str(row.rank))
        assert (line["family"], line["deterministic"]) == (row.family, str(row.deterministic).lower())
        assert (int(line["n_seeds"]), int(line["given_up"])) == (row.n_seeds, row.given_up)


def test_csv_keeps_hostile_names(hostile: ResultTable) -> None:
    lines = list(csv.DictReader(io.StringIO(to_csv(hostile), newline="")))
    assert [line["title"] for line in lines] == [HOSTILE, "[b]ours[/b]", "* all *"]
    assert lines[1]["note"] == HOSTILE


def test_json_is_plain_and_whole(hostile: ResultTable) -> None:
    for table in (tabulate(four()), hostile):
        found = json.loads(json.dumps(to_json(table), allow_nan=False))
        assert found == to_json(table)
        assert [row["title"] for row in found["rows"]] == [row.title for row in table.rows]
    found = to_json(tabulate(four()))
    assert found["rows"][2]["selected"]["mean"] == 0.875
    assert found["rows"][2]["gain"]["points"] == 25.0
    assert found["rows"][0]["gain"] is None and found["rows"][3]["rank"] is None
    assert found["baseline"] == "source-only" and found["seeds"] == [0, 1] and found["n_labelled"] == 4


def test_markdown_is_one_table() -> None:
    lines = to_markdown(tabulate(four())).splitlines()
    assert lines[0].startswith("**target accuracy in %, set1 → set2, 2 seeds")
    assert lines[2].startswith("| method | last | chosen without labels | oracle (peeks at target labels) | gain over")
    assert lines[3] == "| --- | ---: | ---: | ---: | ---: | ---: |"
    assert [line.split(" | ")[0] for line in lines[4:8]] == [
        "| source-only",
        "| nearest mean",
        "| ours",
        "| target-supervised",
    ]
    assert lines[8] == ""
    assert lines[9] == "- chosen without labels: infomax"


def test_markdown_names_stay_in_their_cells(hostile: ResultTable) -> None:
    lines = to_markdown(hostile).splitlines()
    for line in lines[2:7]:
        assert len(re.findall(r"(?<!\\)\|", line)) == 7
    assert lines[4].startswith(
        r"| a\&b%c\_d#e\$f{g}h\~i^j\\k \|l\| \[red\]m\[/red\] \*n\* \`o\` \<p\> "
        '"q", r s | '
    )
    assert any(line.startswith(r"- on \[b\]ours\[/b\]: a\&b") for line in lines)


def test_latex_escapes_every_name(hostile: ResultTable) -> None:
    text = to_latex(hostile)
    escaped = (
        r"a\&b\%c\_d\#e\$f\{g\}h\textasciitilde{}i\textasciicircum{}j\textbackslash{}k \textbar{}l\textbar{} "
        r"{[}red{]}m{[}/red{]} {*}n{*} `o` \textless{}p\textgreater{} "
        '"q", r s'
    )
    assert escaping.latex(HOSTILE) == escaped
    lines = text.splitlines()
    first = lines.index(r"    \midrule") + 1
    assert lines[first].startswith(f"    {escaped} & ")
    assert lines[first].endswith(r" \\")
    body = [line for line in lines if line.endswith(r" \\")]
    assert len(body) == 4
    for line in body:
        assert len(re.findall(r"(?<!\\)&", line)) == 5
        assert not line.lstrip().startswith(("[", "*"))
    assert rf"\caption{{target accuracy in \%, {escaped} $\rightarrow$ t\_2, 2 seeds, mean $\pm$ 95 \% over" in text
    assert not re.search(r"[±→−–]", text)


def test_latex_braces_and_dollars_are_balanced(hostile: ResultTable) -> None:
    bare = re.sub(r"\\[&%_#${}]", "", to_latex(hostile))
    assert bare.count("{") == bare.count("}") > 0
    assert bare.count("$") % 2 == 0
    assert len(re.findall(r"\$\\pm\$", bare)) > 6
    for sign in "&":
        assert all(line.count(sign) in (0, 5) for line in bare.splitlines())


def test_latex_sets_families_apart() -> None:
    lines = [line.strip() for line in to_latex(tabulate(four())).splitlines()]
    kinds = [line.split(" & ")[0] for line in lines[lines.index(r"\toprule") : lines.index(r"\bottomrule")]]
    rule = r"\midrule"
    assert kinds == [
        r"\toprule",
        "method",
        rule,
        "source-only",
        "nearest mean",
        rule,
        "ours",
        rule,
        "target-supervised",
    ]
    assert lines[3] == r"\begin{tabular}{lrrrrr}"


def test_the_best_is_bold_but_never_a_bound_or_an_oracle() -> None:
    # By last, source-only leads; by the step chosen, ours does; the bound is above both and the oracle proves nothing.
    body = [line for line in to_latex(tabulate(four())).splitlines() if line.endswith(r" \\")][1:]
    marks = [[cell.strip().startswith(r"\textbf{") for cell in line.split(" & ")] for line in body]
    assert marks == [
        [False, True, False, False, False, False],
        [False] * 6,
        [False, False, True, False, False, False],
        [False] * 6,
    ]
    bold = [line for line in to_markdown(tabulate(four())).splitlines() if line.startswith("| ") and "**" in line]
    assert [re.findall(r"\*\*(.+?)\*\*", line) for line in bold] == [["62.5 ± 158.8"], ["87.5 ± 158.8"]]


def test_equal_bests_are_both_bold_and_a_lone_bound_is_not() -> None:
    twin = method("twin", {0: same([0, 1, 0, 1]), 1: same([0, 1, 1, 1])})
    text = to_latex(tabulate(comparison({"source-only": SOURCE_ONLY, "twin": twin}), n_draws=50))
    assert text.count(r"\textbf{62.5") == 4
    assert "textbf" not in to_latex(tabulate(comparison({"bound": BOUND}), n_draws=50))


def test_unknown_numbers_are_dashes() -> None:
    gone = method("gone", {})
    table = tabulate(comparison({"nearest": NEAREST, "gone": gone}), n_draws=50)
    assert "| gone | – | – | – | – | – |" in to_markdown(table)
    assert r"gone & -- & -- & -- & -- & -- \\" in to_latex(table)
    assert list(csv.reader(io.StringIO(to_csv(table))))[2][6:] == [""] * 21


def test_a_gain_of_nothing_has_no_sign() -> None:
    twin = replace(SOURCE_ONLY, title="twin")
    text = to_markdown(tabulate(comparison({"source-only": SOURCE_ONLY, "twin": twin}), n_draws=50))
    assert "| 0.0 [0.0, 0.0] | 1.5 |" in text


def test_writing_twice_gives_the_same_bytes() -> None:
    for write in (to_csv, to_markdown, to_latex):
        assert write(tabulate(four())) == write(tabulate(four()))
