"""`comix compare` as a user types it."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from builders import Ended, MakeCache
from comix_fast.stages import compared
from comix_fast.stages.compared import METHODS, OURS, Method

SHORT = ("--warmstart-iterations", "6", "--iterations", "4", "--eval-every", "2", "--threads", "1")
FEW = ("--methods", "logistic-mean,source-only,ours-teacher")


@pytest.fixture
def compare(comix: Callable[..., Ended]) -> Callable[..., Ended]:
    """Runs `comix compare` with some words."""
    return functools.partial(comix, "compare")


def test_both_tables_then_where_they_are(compare: Callable[..., Ended], make_cache: MakeCache) -> None:
    cache = make_cache()
    ended = compare("--from-cache", cache, *FEW, *SHORT, "--seeds", "2")
    assert ended.code == 0, ended.err
    (root,) = Path("runs").glob("cache-compare-*")
    for text in (
        "target accuracy in %, source domain → target domain, 2 seeds",
        "gain over source-only, trained the same way",
        "logistic regression, mean",
        "choosing without labels: target accuracy in %, 2 methods, 2 seeds",
        f"comparison {root}: compare.json, compare.csv, compare.md, compare.tex, choosing.json, choosing.md",
    ):
        assert text in ended.out
    assert (
        ended.out.index("gain over")
        < ended.out.index("choosing without labels: target")
        < ended.out.index("choosing.md")
    )
    assert "2 methods, 2 seeds each: 4 heads" in ended.err

    # The same folder for other methods, more seeds; another one for another schedule or direction.
    again = compare(
        "--from-cache", cache, "--methods", "adabn,source-only,ours-teacher", *SHORT, "--seeds", "3", "--json", "-q"
    )
    assert again.code == 0
    assert again.err == ""
    found = json.loads(again.out)
    assert found.pop("compare") == str(root)
    assert found.pop("choosing") == json.loads((root / "choosing.json").read_text())
    assert found == json.loads((root / "compare.json").read_text())
    assert {path.name for path in root.iterdir() if path.is_dir()} == {
        "logistic-mean",
        "adabn",
        "source-only",
        "ours-teacher",
    }
    turned = compare("--from-cache", cache, *FEW, *SHORT, "--reverse", "--seeds", "1")
    assert "target domain → source domain, one seed" in turned.out
    assert len(list(Path("runs").glob("cache-compare-*"))) == 2
    named = compare("--from-cache", cache, "--methods", "logistic-mean", "--name", "mine", "--runs", "other")
    assert "no gain: source-only is not among the methods" in named.out
    assert Path("other/mine/compare.json").is_file()


def test_an_unknown_method_lists_them_all(compare: Callable[..., Ended]) -> None:
    ended = compare("--from-cache", "absent", "--methods", "ours-teacher,magic")
    assert ended.code == 2
    assert "--methods: there is no method 'magic'" in ended.err
    assert all(f"{method.name}: {method.title}" in ended.err for method in METHODS.values())
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--from-cache", "absent"], "absent holds no feature cache"),
        (["--from-cache", "absent", "--device", "tpu"], "no device 'tpu'"),
        (["--from-cache", "absent", "--seeds", "0"], "seeds"),
        (["--from-cache", "absent", "--iterations", "0"], "iterations"),
    ],
)
def test_bad_input_is_an_error_without_a_traceback(
    compare: Callable[..., Ended], words: list[str], message: str
) -> None:
    ended = compare(*words)
    assert ended.code == 2
    assert message in ended.err
    assert "Traceback" not in ended.err
    assert list(Path().iterdir()) == []


def test_a_target_without_labels_is_refused(compare: Callable[..., Ended], make_cache: MakeCache) -> None:
    ended = compare("--from-cache", make_cache(target_labels=[None] * 18), *FEW, *SHORT)
    assert ended.code == 2
    assert "18 videos of target domain to measure on has a label" in ended.err
    assert "comix adapt needs no target labels" in ended.err
    assert not Path("runs").exists()


def test_a_seed_given_up_ends_with_1(
    compare: Callable[..., Ended], make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    wild = Method("wild", "wild", "baseline", replace(OURS, lr=1e30, feature_norm="none"))
    monkeypatch.setattr(compared, "METHODS", {**METHODS, "wild": wild})
    ended = compare("--from-cache", make_cache(), "--methods", "source-only,wild", *SHORT, "--seeds", "1")
    assert ended.code == 1
    assert "warning: wild, seed 0, is given up: " in ended.err
    assert "given up: wild, 1 of 1 seeds" in ended.out


def test_help_has_an_example(compare: Callable[..., Ended]) -> None:
    ended = compare("--help")
    assert ended.code == 0
    assert "Example: comix compare --from-cache" in ended.out
