"""`comix adapt`, stopped and gone on with, and begun with the head of another run."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from builders import Clock, Ended, MakeCache
from comix_fast.stages import stopping
from comix_fast.stages.runs import RunFolder, load_tensors

SHORT = ("--warmstart-iterations", "6", "--iterations", "6", "--eval-every", "4", "--hidden-dim", "8", "--threads", "1")
TAUGHT = ("--lambda-teacher", "0.1", "--seeds", "2", "--head", "mlp", "--statistics", "mean+max")
GRAPH = ("--preset", "ucf-hmdb-published", "--lambda-teacher", "0.1")


@pytest.fixture
def hurried() -> Callable[..., Ended]:
    """Runs a command by that clock."""

    def run(comix: Callable[..., Ended], *words: object) -> Ended:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stopping, "time", Clock())
            return comix(*words)

    return run


def files_of(run: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run)): path.read_bytes() for path in sorted(run.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("words", [TAUGHT, GRAPH, (*GRAPH, "--method", "dann", "--seeds", "2")])
def test_cut_again_and_again_it_ends_the_same(
    comix: Callable[..., Ended],
    hurried: Callable[..., Ended],
    make_cache: MakeCache,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
) -> None:
    command = ("adapt", "--from-cache", make_cache(), *SHORT, *words, "--name", "r r")
    assert comix(*command, "--runs", "whole").code == 0
    stopped = hurried(comix, *command, "--max-minutes", "1.5")
    assert stopped.code == 75
    assert stopped.out == ""
    assert "the time given is over; what is done is saved" in stopped.err
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    for sessions in range(20):
        said = stopped.err.splitlines()[-1].strip()
        assert said.startswith("go on with: comix adapt --resume ")
        resume = shlex.split(said)[-1]
        assert resume == ("../" if sessions > 1 else "") + "runs/r r"
        if sessions == 1:
            monkeypatch.chdir(elsewhere)
            resume = f"../{resume}"
        stopped = hurried(comix, "adapt", "--resume", resume, "--threads", "1", "--max-minutes", "1")
        if stopped.code != 75:
            break
    assert stopped.code == 0, stopped.err
    assert 2 <= sessions < 19
    assert "target accuracy in %" in stopped.out
    assert f"comix retrieve --from-cache {tmp_path / 'cache'} --run '../runs/r r' --html" in stopped.out
    assert files_of(tmp_path / "runs/r r") == files_of(tmp_path / "whole/r r")


def test_no_time_at_all_and_then_all_of_it(comix: Callable[..., Ended], make_cache: MakeCache) -> None:
    command = ("adapt", "--from-cache", make_cache(), *SHORT, "--name", "r")
    assert comix(*command, "--max-minutes", "0").code == 75
    assert RunFolder(Path("runs/r")).seed(0).metrics() == []
    # The same command goes on as well, and what is finished needs no time.
    assert comix(*command, "--max-minutes", "600").code == 0
    before = files_of(Path("runs/r"))
    done = comix("adapt", "--resume", "runs/r", "--max-minutes", "0", "--json")
    assert done.code == 0
    assert json.loads(done.out)["run"] == "runs/r"
    assert files_of(Path("runs/r")) == before


def test_with_resume_nothing_that_decides_is_typed(comix: Callable[..., Ended], make_cache: MakeCache) -> None:
    cache = make_cache()
    assert comix("adapt", "--from-cache", cache, *SHORT, "--name", "r", "--max-minutes", "0").code == 75
    before = files_of(Path("runs"))
    for words, named in (
        (("--from-cache", cache), "--from-cache"),
        (("--lr", "0.1"), "--lr"),
        (("--no-bgm",), "--bgm/--no-bgm"),
        (("--preset", "recommended", "--source-only"), "--preset, --source-only"),
        (("--name", "r", "--runs", "runs"), "--name, --runs"),
        (("--from-run", "runs/r"), "--from-run"),
        (("--ablation",), "--ablation"),
    ):
        refused = comix("adapt", "--resume", "runs/r", *words)
        assert refused.code == 2, words
        said = refused.err.split("it goes without ", 1)[1].strip()
        assert sorted(said.split(", ")) == sorted(named.split(", "))
    assert files_of(Path("runs")) == before
    assert comix("adapt", "--resume", "runs/r", "--device", "cpu", "--memory", "map", "--threads", "1", "-q").code == 0


def test_what_cannot_be_resumed(comix: Callable[..., Ended], make_cache: MakeCache, tmp_path: Path) -> None:
    bare = comix("adapt")
    assert bare.code == 2
    assert "give --from-cache CACHE, or --resume RUN" in bare.err
    assert "absent holds no run" in comix("adapt", "--resume", "absent").err
    cache = make_cache()
    assert comix("adapt", "--from-cache", cache, *SHORT, "--ablation", "--name", "a", "--max-minutes", "0").code == 75
    together = comix("adapt", "--resume", "runs/a/bgm")
    assert together.code == 2
    assert "runs/a/bgm is one of 4 runs that train together" in together.err
    assert "--ablation" in together.err
    inside = comix("adapt", "--resume", "runs/a")
    assert inside.code == 2
    assert "its runs are inside it: bgm, bgm-tpl, target-supervised, tcl" in inside.err
    assert comix("adapt", "--from-cache", cache, *SHORT, "--name", "r").code == 0
    meta = json.loads(Path("runs/r/run.json").read_text())
    for changes, message in (
        ({"video": {}, "cache": ""}, "comix train --resume runs/r"),
        ({"cache": ""}, "runs/r was imported: there is nothing to go on with"),
        ({"cache": str(tmp_path / "gone")}, "gone holds no feature cache"),
        ({"recipe": {**meta["recipe"], "lr": 0.5}, "cache": str(make_cache("other", n_classes=2))}, "is another run"),
    ):
        Path("runs/r/run.json").write_text(json.dumps({**meta, **changes}))
        refused = comix("adapt", "--resume", "runs/r")
        assert refused.code == 2
        assert message in refused.err


@pytest.mark.parametrize(
    ("words", "table"),
    [
        (("sweep", "--grid", "lr=0.01,0.02"), "sweep.json"),
        (("compare", "--methods", "source-only,dann", "--seeds", "1"), "compare.json"),
        (("adapt", "--ablation"), "bgm-tpl/results.json"),
    ],
)
def test_many_runs_stop_together(
    comix: Callable[..., Ended],
    hurried: Callable[..., Ended],
    make_cache: MakeCache,
    words: tuple[str, ...],
    table: str,
) -> None:
    iterations = SHORT[:6]
    command = (words[0], "--from-cache", make_cache(), *words[1:], *iterations, "--threads", "1", "--name", "r")
    assert comix(*command, "--runs", "whole").code == 0
    sessions, stopped = 1, hurried(comix, *command, "--max-minutes", "1")
    while stopped.code == 75 and sessions < 30:
        assert "the same command goes on from there" in stopped.err
        assert not Path("runs/r", table).exists()
        sessions, stopped = sessions + 1, hurried(comix, *command, "--max-minutes", "1")
    assert stopped.code == 0, stopped.err
    assert sessions > 2
    assert files_of(Path("runs/r")) == files_of(Path("whole/r"))


HEADS = {
    "graph": ("--head", "graph", "--hidden-dim", "8", "--feature-norm", "source"),
    "mlp": ("--head", "mlp", "--hidden-dim", "8", "--statistics", "mean+max"),
}


@pytest.mark.parametrize("head", list(HEADS))
def test_from_the_head_of_another_run(
    comix: Callable[..., Ended], hurried: Callable[..., Ended], make_cache: MakeCache, head: str
) -> None:
    """Its head, its norms, its sizes; no warm-start of its own; the same whether it is cut or not."""
    cache = make_cache()
    short = ("--iterations", "6", "--eval-every", "3", "--threads", "1", "--lambda-teacher", "0.1")
    warm = ("--warmstart-iterations", "9", *short, "--source-only", *HEADS[head], "--seed", "3")
    made = comix("adapt", "--from-cache", cache, *warm, "--name", "first")
    assert made.code == 0, made.err
    begun = ("adapt", "--from-cache", cache, *short, "--from-run", "runs/first", "--dropout", "0.3", "--seeds", "2")
    whole = comix(*begun, "--name", "r", "--runs", "whole")
    assert whole.code == 0, whole.err
    assert "warm-start: 0/0" in whole.err
    first, ours = RunFolder(Path("runs/first")), RunFolder(Path("whole/r"))
    for name in ("head", "statistics", "hidden_dim", "feature_norm"):
        assert getattr(ours.recipe, name) == getattr(first.recipe, name)
    assert (ours.recipe.warmstart_iterations, ours.recipe.dropout) == (0, 0.3)
    for ours_too, theirs in (
        ("norm.safetensors", "norm.safetensors"),
        ("seed-0/source-only.safetensors", "seed-3/source-only.safetensors"),
        ("seed-1/source-only.safetensors", "seed-3/source-only.safetensors"),
    ):
        kept, made_there = load_tensors(ours.root / ours_too)[0], load_tensors(first.root / theirs)[0]
        assert kept.keys() == made_there.keys()
        assert all(value.equal(made_there[key]) for key, value in kept.items())
    # What it begins with is measured once, and is the same as there.
    line, *_ = ours.seed(0).metrics()
    assert (line["phase"], line["iteration"]) == ("warmstart", 0)
    assert line["scores"] == first.seed(3).metrics()[-1]["scores"]
    rows = json.loads((ours.root / "results.json").read_text())["rows"]
    assert [row["name"] for row in rows] == ["source-only", "+ teacher"]
    # Cut, and gone on with by its own run.json.
    assert comix(*begun, "--name", "r", "--max-minutes", "0").code == 75
    assert hurried(comix, "adapt", "--resume", "runs/r", "--max-minutes", "1").code == 75
    assert comix("adapt", "--resume", "runs/r", "--threads", "1").code == 0
    assert files_of(Path("runs/r")) == files_of(ours.root)
    # A name of its own, and another one without the head.
    names = [
        Path(json.loads(comix(*some, "--json").out)["run"]).name
        for some in (begun, begun, [word for word in begun if word not in ("--from-run", "runs/first")])
    ]
    assert names[0] == names[1] != names[2]


def test_precision_is_that_of_the_run_and_not_of_the_head(
    comix: Callable[..., Ended], hurried: Callable[..., Ended], make_cache: MakeCache
) -> None:
    """A head that was trained in bf16 goes on in fp32, from its first iteration and from a checkpoint alike."""
    cache = ("--from-cache", make_cache(), "--threads", "1", "--eval-every", "9")
    made = comix("adapt", *cache, "--warmstart-iterations", "4", *HEADS["graph"], "--precision", "bf16", "--name", "b")
    assert made.code == 0, made.err
    begun = (
        "adapt",
        *cache,
        "--warmstart-iterations",
        "4",
        "--from-run",
        "runs/b",
        "--precision",
        "fp32",
        "--name",
        "r",
    )
    assert comix(*begun, "--runs", "whole").code == 0
    assert hurried(comix, *begun, "--max-minutes", "1").code == 75
    assert comix("adapt", "--resume", "runs/r", "--threads", "1").code == 0
    assert files_of(Path("runs/r")) == files_of(Path("whole/r"))


def test_a_head_alone_is_measured_and_said_so(comix: Callable[..., Ended], make_cache: MakeCache) -> None:
    """The recommended recipe has no second phase: without a warm-start there is nothing to train."""
    cache = make_cache()
    assert comix("adapt", "--from-cache", cache, "--warmstart-iterations", "6", "--name", "first").code == 0
    done = comix("adapt", "--from-cache", cache, "--from-run", "runs/first", "--name", "r")
    assert done.code == 0, done.err
    assert "nothing is trained, only measured" in done.err
    accuracy = [RunFolder(Path("runs", name)).seed(0).metrics()[-1]["target_accuracy"] for name in ("first", "r")]
    assert accuracy[0] == accuracy[1]
    more = comix(
        "adapt", "--from-cache", cache, "--from-run", "runs/first", "--warmstart-iterations", "2", "--name", "s"
    )
    assert more.code == 0, more.err
    assert "nothing is trained" not in more.err
    assert RunFolder(Path("runs/s")).seed(0).metrics()[-1]["iteration"] == 2


def test_heads_that_do_not_fit(comix: Callable[..., Ended], make_cache: MakeCache) -> None:
    cache = make_cache()
    warm = ("--warmstart-iterations", "4", "--source-only", *HEADS["mlp"])
    assert comix("adapt", "--from-cache", cache, *warm, "--name", "first").code == 0
    for words, message in (
        (("--from-cache", cache, "--head", "graph"), "--head graph contradicts --from-run: its head has mlp"),
        (("--from-cache", cache, "--statistics", "mean"), "--statistics mean contradicts --from-run"),
        (("--from-cache", cache, "--hidden-dim", "9"), "--hidden-dim 9 contradicts --from-run: its head has 8"),
        (("--from-cache", cache, "--feature-norm", "none"), "--feature-norm none contradicts --from-run"),
        (("--from-cache", cache, "--ablation"), "--from-run and --ablation contradict each other"),
        (("--from-cache", cache, "--target-supervised"), "--from-run and --target-supervised contradict each other"),
        (("--from-cache", make_cache("four", n_classes=4)), "the head of runs/first is for other classes than"),
    ):
        refused = comix("adapt", *words, "--from-run", "runs/first", "--name", "x")
        assert refused.code == 2, words
        assert message in refused.err
    assert not Path("runs/x").exists()
    # The other way about, features are standardised as they were, and that is said.
    back = comix("adapt", "--from-cache", cache, "--reverse", "--from-run", "runs/first", "--name", "back")
    assert back.code == 0, back.err
    assert "runs/first was for source domain → target domain, this is target domain → source domain" in back.err
    # A run that is changed after another has begun with it is another head.
    begun = ("--from-cache", cache, "--from-run", "runs/first", "--lambda-teacher", "0.1", "--name", "y")
    assert comix("adapt", *begun, "--max-minutes", "0").code == 75
    assert comix("adapt", "--from-cache", cache, *warm, "--lr", "0.5", "--runs", "other", "--name", "first").code == 0
    shutil.rmtree("runs/first")
    assert "runs/first holds no run" in comix("adapt", "--resume", "runs/y").err
    shutil.copytree("other/first", "runs/first")
    refused = comix("adapt", "--resume", "runs/y")
    assert refused.code == 2
    assert "asked start: " in refused.err
