"""`comix retrieve --index`: what a user types, what the table and the JSON say, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from builders import MakeCache
from comix_fast.cli import main

Shown = tuple[int, str, str]


def comix(capfd: pytest.CaptureFixture[str], *words: str | Path) -> Shown:
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    ended = capfd.readouterr()
    return int(stop.value.code or 0), ended.out, ended.err


@pytest.fixture
def cache(make_cache: MakeCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return make_cache(per_class=20)  # 60 videos a domain, of 24 numbers


def test_flat_says_that_it_is_exact(cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, out, _ = comix(capfd, "retrieve", "--from-cache", cache, "-k", "3", "--out", "found.json")
    assert code == 0
    assert "index Flat: the exact search, so recall@3 against it is 100.0 %" in out
    written = json.loads(Path("found.json").read_text())["spaces"]["backbone"]["index"]
    assert (written["factory"], written["recall"], written["sample"]) == ("Flat", 1.0, 0)


def test_another_index_prints_and_writes_its_recall(cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ("retrieve", "--from-cache", cache, "-k", "3", "--index", "IVF12,Flat", "--index-search", "nprobe=1")
    code, out, err = comix(capfd, *words, "--out", "found.json")
    assert (code, err) == (0, "")  # faiss's own warnings of small training sets would be there
    assert "index IVF12,Flat (candidates 60, nprobe 1): recall@3 against Flat in %" in out
    assert "12 centroids from 60 items; 468 items or more are advisable" in out
    found = json.loads(Path("found.json").read_text())["spaces"]["backbone"]
    assert (found["index"]["factory"], found["index"]["sample"]) == ("IVF12,Flat", 60)

    comix(capfd, "retrieve", "--from-cache", cache, "-k", "3", "--out", "flat.json")
    flat = json.loads(Path("flat.json").read_text())["spaces"]["backbone"]
    pairs = [
        {(query["id"], near["id"]) for query in result["queries"] for near in query["neighbours"]}
        for result in (flat, found)
    ]
    recall = len(pairs[0] & pairs[1]) / 180
    assert found["index"]["recall"] == pytest.approx(recall)
    assert 0 < recall < 1
    row = next(line for line in out[out.index("index IVF12") :].splitlines() if line.startswith("backbone"))
    assert row.split()[1:4] == [f"{100 * recall:.1f}", "60", str(found["index"]["completed"])]

    first = Path("found.json").read_bytes()
    comix(capfd, *words, "--out", "found.json")
    assert Path("found.json").read_bytes() == first


def test_every_space_has_its_own_recall(cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    schedule = ("--warmstart-iterations", "3", "--iterations", "2", "--batch-size", "4", "--hidden-dim", "16")
    short = ("--preset", "ucf-hmdb-published", *schedule)
    assert comix(capfd, "adapt", "--from-cache", cache, *short, "--name", "one", "--quiet")[0] == 0
    code, out, _ = comix(capfd, "retrieve", "--from-cache", cache, "--run", "runs/one", "--index", "SQ4")
    assert code == 0
    written = json.loads(Path("runs/one/retrieval-target-source.json").read_text())["spaces"]
    assert list(written) == ["backbone", "source-only", "last", "selected"]
    table = out[out.index("index SQ4") :].splitlines()[2:6]
    assert [line.split()[0] for line in table] == list(written)
    assert [line.split()[1] for line in table] == [f"{100 * one['index']['recall']:.1f}" for one in written.values()]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--index", "Tree32"], "error: --index 'Tree32' is not known"),
        (["--index", "IVF61,Flat"], "61 lists, the gallery only 60 items"),
        (["--index", "PQ7x4"], "PQ can't cut vectors of 24 numbers into 7 equal sub-vectors"),
        (["--index", "PQ8"], "256 centroids, and the gallery has only 60 items"),
        (["--index", "HNSW1"], "links an item 1, where it can be 2 to 128"),
        (["--index-search", "nprobe=4"], "Flat has no nprobe"),
        (["--index", "IVF4,Flat", "--index-search", "probes=4"], "'probes=4' is no setting"),
    ],
)
def test_what_cannot_be_searched_ends_with_2_and_writes_nothing(
    cache: Path, capfd: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    code, out, err = comix(capfd, "retrieve", "--from-cache", cache, *words, "--out", "found.json")
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err
    assert not Path("found.json").exists()
