"""`comix report` as it is typed: where pages go, what they hold as text, what is refused and writes nothing."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builders import Ended, MakeCache, WriteVideo
from comix_fast.cache import FeatureCache
from comix_fast.commands.report import Options, default_out, typed
from comix_fast.config import AdaptRecipe
from comix_fast.console import Silent
from comix_fast.stages import adapt

Comix = Callable[..., Ended]
SHORT = AdaptRecipe(
    head="linear", statistics="mean", warmstart_iterations=10, iterations=10, eval_every=10, batch_size=6,
    lambda_bgm=0.0, lambda_tpl=0.0, lambda_teacher=0.1, seeds=2,
)  # fmt: skip
MARKUP = "<img src=x onerror=alert(1)>"
BREAKING = "</script><script>alert(2)</script>"


def adapted(cache: Path, root: Path, **changes: Any) -> Path:
    return adapt.run(replace(SHORT, **changes), FeatureCache(cache), root, reporter=Silent()).root


@pytest.fixture
def run(make_cache: MakeCache, tmp_path: Path) -> Path:
    """runs/a, seen from tmp_path."""
    return adapted(make_cache(), tmp_path / "runs" / "a").relative_to(tmp_path)


def values_of(page: Path) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="values">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found
    return dict(json.loads(found[1]))


def test_a_page_in_the_run(comix: Comix, run: Path) -> None:
    done = comix("report", run)
    assert done.code == 0, done.err
    size = (run / "report.html").stat().st_size
    assert f"report runs/a/report.html: a, {size / 1e6:.2f} MB" in done.out
    assert "no pictures: the videos of" in done.out
    values = values_of(run / "report.html")
    assert values["made"]["command"] == "comix report runs/a"
    assert values["runs"][0]["map"] and values["runs"][0]["path"] == "runs/a"
    assert [path.name for path in run.glob(".*")] == []


def test_several_runs_beside_them_and_a_folder_that_holds_them(comix: Comix, run: Path, tmp_path: Path) -> None:
    adapted(tmp_path / "cache", tmp_path / "runs" / "lr=10", lr=0.1)
    adapted(tmp_path / "cache", tmp_path / "runs" / "lr=9", lr=0.05)
    done = comix("report", run, "runs/lr=9/", run, "--no-map")
    assert done.code == 0, done.err
    values = values_of(Path("runs/report.html"))
    assert [one["name"] for one in values["runs"]] == ["a", "lr=9"]
    assert "a: no map: left out, as asked" in done.out
    assert "report runs/report.html: 2 runs" in done.out
    assert comix("report", "runs", "--no-map", "--out", "all.htm").code == 0
    assert [one["name"] for one in values_of(Path("all.htm"))["runs"]] == ["a", "lr=9", "lr=10"]
    fields = {one["name"]: one["values"] for one in values_of(Path("all.htm"))["differences"]["fields"]}
    assert fields == {"lr": ["0.01", "0.05", "0.1"]}
    shutil.copytree(run, "runs/source-only")
    assert comix("report", "runs", "--no-map", "--out", "all.htm").code == 0
    assert [one["name"] for one in values_of(Path("all.htm"))["runs"]] == ["source-only", "a", "lr=9", "lr=10"]


def test_runs_of_no_common_folder_leave_their_page_here(
    comix: Comix, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "elsewhere" / "b"
    shutil.copytree(run, other)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert default_out([tmp_path / run, other]) == Path("report.html")
    assert default_out([tmp_path / run, tmp_path / "runs" / "sweep" / "c"]) == tmp_path / "runs" / "report.html"
    assert comix("report", tmp_path / run, other, "--no-map").code == 0
    assert Path("report.html").exists() and not (tmp_path / "report.html").exists()


def test_too_many_runs_are_to_be_named(comix: Comix, run: Path) -> None:
    for number in range(12):
        shutil.copytree(run, f"runs/copy-{number}")
    done = comix("report", "runs")
    assert done.code == 2
    assert "these are 13 runs, and a page takes 12 at most" in done.err and "name some of them" in done.err
    assert comix("report", "runs/copy-1", "runs/copy-2", "--no-map").code == 0


def test_json_and_quiet(comix: Comix, run: Path) -> None:
    done = comix("report", run, "--json", "--quiet", "--no-map", "--out", "here/page.html", "--max-size", "0.1")
    assert done.code == 0 and done.err == ""
    told = json.loads(done.out)
    assert (told["report"], told["runs"]) == ("here/page.html", ["a"])
    assert told["bytes"] == Path("here/page.html").stat().st_size
    assert any("of --max-size" in note for note in told["notes"]) == (told["bytes"] > 100_000)


@pytest.mark.parametrize("broken", ["run.json", "seed-0/metrics.jsonl", "seed-1/predictions.csv"])
def test_a_damaged_run_is_refused_and_nothing_written(comix: Comix, run: Path, broken: str) -> None:
    (run / broken).write_text("[1]\n")
    done = comix("report", run, "--out", "page.html")
    assert done.code == 2 and f"runs/a/{broken}" in done.err and "Traceback" not in done.err
    assert not Path("page.html").exists()


def test_a_page_that_is_there_stays_when_its_run_is_gone(comix: Comix, run: Path) -> None:
    Path("page.html").write_text("mine")
    done = comix("report", "runs/b", "--out", "page.html")
    assert done.code == 2 and "holds no run: run.json is missing" in done.err
    assert Path("page.html").read_text() == "mine"


@pytest.mark.parametrize("out", ["runs/a/run.json", "runs/a", "page"])
def test_only_a_page_is_written(comix: Comix, run: Path, out: str) -> None:
    before = (run / "run.json").read_bytes()
    done = comix("report", run, "--out", out)
    assert done.code == 2 and "names no page" in done.err
    assert (run / "run.json").read_bytes() == before


def test_options_that_lead_nowhere(comix: Comix, run: Path) -> None:
    for words, said in (
        (("--seed", "9"), "seed 9 of runs/a"),
        (("--cache", "nowhere"), "holds no feature cache"),
        (("--videos", "nowhere"), "there is no nowhere"),
    ):
        done = comix("report", run, *words)
        assert done.code == 2 and said in done.err
    assert not (run / "report.html").exists()


def test_names_are_text_and_never_tags(comix: Comix, run: Path, tmp_path: Path) -> None:
    """Class, video and run names that are markup reach the page as data alone."""
    hostile = Path("runs") / MARKUP
    shutil.copytree(run, hostile)
    for path in (*hostile.glob("seed-*/predictions.csv"), hostile / "run.json"):
        text = path.read_text().replace("class 1", MARKUP).replace("class 2", BREAKING).replace("target/0-0", BREAKING)
        path.write_text(text.replace("target domain", MARKUP))
    done = comix("report", hostile, "--no-map", "--out", "page.html")
    assert done.code == 0, done.err
    page = Path("page.html").read_text()
    assert "<img" not in page and BREAKING not in page
    assert len(re.findall(r"<script[ >]", page)) == 2
    (told,) = values_of(Path("page.html"))["runs"]
    assert told["classes"] == ["class 0", MARKUP, BREAKING]
    assert (told["name"], told["target"]) == (MARKUP, MARKUP)


def test_ids_that_are_markup_are_text_on_the_map(comix: Comix, make_cache: MakeCache, tmp_path: Path) -> None:
    cache = make_cache(per_class=2)
    run = adapted(cache, tmp_path / "runs" / "a")
    page = tmp_path / "runs" / "a" / "report.html"
    from comix_fast.report.page import write
    from comix_fast.report.report_page import report_page

    assert comix("report", run).code == 0
    values = values_of(page)
    values["runs"][0]["map"]["videos"][0]["id"] = BREAKING
    write(report_page(values), page)
    assert BREAKING not in page.read_text()
    assert values_of(page)["runs"][0]["map"]["videos"][0]["id"] == BREAKING


def test_a_page_with_pictures_stays_below_its_size(comix: Comix, run: Path, film: WriteVideo) -> None:
    for number, name in enumerate(("source/0-0", "target/1-1", "target/2-2")):
        film(Path("videos") / f"{name}.mp4", 72, seed=number)
    words = ("report", run, "--videos", "videos", "--out", "page.html")
    sizes = {}
    for room in (0, 5, 10, 20, 100):
        cap = 0.1 if room == 0 else (sizes[0] + 1000 * room) / 1e6
        assert comix(*words, "--max-size", cap, *(["--no-pictures"] if room == 0 else [])).code == 0
        sizes[room] = Path("page.html").stat().st_size
        assert room == 0 or sizes[room] <= cap * 1e6
        n_pictures = len(values_of(Path("page.html"))["pictures"]["items"])
    assert n_pictures == 3 and sizes[100] > sizes[5]


def test_the_page_repeats_the_command() -> None:
    options = Options(out=Path("a b.html"), seed=2, max_size=8.5, maps=False, pictures=False)
    assert typed([Path("runs/x")], options) == (
        "comix report runs/x --out 'a b.html' --seed 2 --max-size 8.5 --no-map --no-pictures"
    )
    assert typed([Path("a"), Path("b")], Options()) == "comix report a b"


@pytest.mark.parametrize("size", ["inf", "nan", "0", "much"])
def test_a_size_is_a_number(comix: Comix, run: Path, size: str) -> None:
    ended = comix("report", run, "--max-size", size)
    assert (ended.code, ended.out) == (2, "") and "--max-size" in ended.err
    assert not (run / "report.html").exists()


def test_where_no_page_can_be_written_nothing_is_laid_out(comix: Comix, run: Path) -> None:
    Path("taken").write_text("a file")
    ended = comix("report", run, "--out", "taken/report.html")
    assert ended.code == 2 and "taken: file exists" in ended.err
    assert "laying out" not in ended.err


def test_somebody_s_own_report_is_not_replaced_unasked(comix: Comix, run: Path) -> None:
    (run / "report.html").write_text("<p>mine")
    ended = comix("report", run, "--no-map")
    assert ended.code == 2 and "runs/a/report.html is there and is no former page of this kind" in ended.err
    assert (run / "report.html").read_text() == "<p>mine"
    assert comix("report", run, "--no-map", "--out", run / "report.html").code == 0
    assert comix("report", run, "--no-map").code == 0
