"""`comix finetune` and `comix train` as they are typed."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from test_faithful import cache_of
from test_resume import files_of, require_same_files
from tiny import CLIP_SIZE, NAME
from typed import SHORT, folders

from builders import Clock, Ended, MakeCache
from comix_fast.backbones import load_backbone
from comix_fast.backbones.state import state_sha256
from comix_fast.backbones.trainable import TrainableBackbone
from comix_fast.commands import train
from comix_fast.datasets import Dataset
from comix_fast.stages import stopping
from comix_fast.stages.runs import RunFolder, load_tensors
from comix_fast.training.road import VideoRoad

FEW = (*SHORT, "--warmstart-iterations", "3", "--iterations", "3", "--eval-every", "3")
FINETUNE = (*SHORT, "--warmstart-iterations", "4", "--eval-every", "2")

Typed = Callable[..., Ended]


@pytest.fixture
def typed(tiny: str, comix: Typed, monkeypatch: pytest.MonkeyPatch) -> Typed:
    """A command as typed, where there is a tiny backbone."""
    monkeypatch.setattr(train, "CLIP_SIZE", CLIP_SIZE)
    return comix


def without(words: tuple[str, ...], *options: str) -> tuple[str, ...]:
    """Words without some options and their values."""
    gone = {place + more for option in options for place in (words.index(option),) for more in (0, 1)}
    return tuple(word for place, word in enumerate(words) if place not in gone)


def toml_of(footage: Path) -> Path:
    """The dataset in a file of the working directory."""
    tables = [f'[{domain}]\nroot = "{footage}"\ntrain = "{footage / domain}"\n' for domain in ("source", "target")]
    Path("small.toml").write_text("".join(['classes = ["go", "stop"]\n', *tables]))
    return Path("small.toml")


def test_finetune_then_train_from_its_head(typed: Typed, footage_root: Path) -> None:
    tuned = typed("finetune", *folders(footage_root), *FINETUNE, "--name", "tuned", "--json")
    assert tuned.code == 0, tuned.err
    said = json.loads(tuned.out)
    assert said["run"] == "runs/tuned"
    assert [row["name"] for row in said["rows"]] == ["source-only"]
    run = RunFolder(Path("runs/tuned"))
    assert [line["iteration"] for line in run.seed(0).metrics()] == [2, 4]
    assert (run.recipe.method, run.recipe.feature_norm, run.recipe.head) == ("source-only", "none", "graph")
    # What is trained is written as a backbone that every other command takes.
    weights = run.seed(0).backbone_path("source-only")
    assert load_backbone(NAME, weights).weights_sha256 != load_backbone(NAME, "random").weights_sha256

    few = without(FEW, "--weights")
    begun = typed("train", *folders(footage_root), *few, "--from-run", "runs/tuned", "--name", "on")
    assert begun.code == 0, begun.err
    assert "source → target" in begun.out
    assert "+ BGM + TPL" in begun.out
    assert "next: comix predict runs/on VIDEOS" in begun.out
    assert "tiny, source-only.backbone.safetensors weights, trained, fp32 on cpu; pyav" in begun.err
    assert "warm-start: 3/3 iterations" in begun.err
    meta = RunFolder(Path("runs/on")).meta
    assert meta["start"] and meta["asked"]["from_run"] == str(Path("runs/tuned").resolve())
    assert meta["features"]["backbone"]["weights_sha256"] == load_backbone(NAME, weights).weights_sha256

    none = ("--warmstart-iterations", "0", "--iterations", "1")
    kept = typed("train", *folders(footage_root), *few, *none, "--from-run", "runs/tuned", "--name", "kept", "-q")
    assert kept.code == 0, kept.err
    assert kept.err == ""
    for name in ("source-only.safetensors", "source-only.backbone.safetensors"):
        first, _ = load_tensors(Path("runs/kept/seed-0") / name)
        theirs, _ = load_tensors(Path("runs/tuned/seed-0") / name)
        assert all(value.equal(theirs[key]) for key, value in first.items())
    line = RunFolder(Path("runs/kept")).seed(0).metrics()[0]
    assert (line["phase"], line["iteration"]) == ("warmstart", 0)
    assert line["target_accuracy"] == run.seed(0).metrics()[-1]["target_accuracy"]


@pytest.mark.parametrize(("command", "words"), [("finetune", FINETUNE), ("train", FEW)])
def test_time_that_is_over_and_the_command_that_is_named(
    typed: Typed, footage_root: Path, monkeypatch: pytest.MonkeyPatch, command: str, words: tuple[str, ...]
) -> None:
    dataset = toml_of(footage_root)
    assert typed(command, dataset, *words, "--runs", "whole", "--name", "r r").code == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stopping, "time", Clock())
        stopped = typed(command, dataset, *words, "--name", "r r", "--max-minutes", "1")
    assert stopped.code == 75
    assert stopped.out == ""
    assert "error" not in stopped.err
    said, hint = stopped.err.splitlines()[-2:]
    assert said == "the time given is over; what is done is saved"
    assert hint.strip() == f"go on with: comix {command} --resume 'runs/r r'"
    saved = sorted(path.name for path in Path("runs/r r/seed-0/checkpoints").iterdir())
    assert saved[-1].endswith("-warmstart-2.safetensors")
    # From another folder, and with nothing else typed: videos, weights and threads are found again.
    elsewhere = Path("some/where")
    elsewhere.mkdir(parents=True)
    monkeypatch.chdir(elsewhere)
    _, *resume = shlex.split(hint.split(": ", 1)[1])
    resume[-1] = "../../" + resume[-1]
    begun = typed(*resume, "--max-minutes", "0")
    assert begun.code == 75
    assert begun.err.splitlines()[-1].strip() == f"go on with: comix {command} --resume '../../runs/r r'"
    done = typed(*resume, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["run"] == "../../runs/r r"
    require_same_files(Path("../../runs/r r"), Path("../../whole/r r"))
    # What is finished is not done again, and says the same.
    before = files_of(Path("../../runs/r r"))
    again = typed(*resume, "--max-minutes", "0")
    assert again.code == 0
    assert "iterations/s" not in again.err
    assert files_of(Path("../../runs/r r")) == before


def test_a_finished_seed_is_not_looked_at_again(
    typed: Typed, footage_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second seed is added, and a table that is gone is made again: the first one's backbone is not loaded."""
    words = ("finetune", *folders(footage_root), *FINETUNE, "--name", "r")
    assert typed(*words).code == 0
    loaded: list[str] = []
    load = VideoRoad.load
    monkeypatch.setattr(
        VideoRoad, "load", lambda road, files, name: (loaded.append(files.root.name), load(road, files, name))
    )
    assert typed(*words, "--seeds", "2").code == 0
    assert set(loaded) == {"seed-1"}
    table = Path("runs/r/seed-1/predictions.csv")
    before = table.read_bytes()
    table.unlink()
    assert typed("finetune", "--resume", "runs/r").code == 0
    assert table.read_bytes() == before


def test_with_resume_nothing_that_decides_is_typed(typed: Typed, footage_root: Path) -> None:
    stopped = typed("train", *folders(footage_root), *FEW, "--name", "r", "--graphs", "keep", "--max-minutes", "0")
    assert stopped.code == 75
    before = files_of(Path("runs/r"))
    for words, named in (
        (("small.toml",), "DATASET"),
        (("--source", "a", "--target", "b"), "--source, --target"),
        (("--lr", "0.1"), "--lr"),
        (("--no-bgm", "--seeds", "1"), "--bgm/--no-bgm, --seeds"),
        # Even at what they are by default: with another run it might not be so.
        (("--backbone", "i3d", "--freeze-backbone"), "--backbone, --freeze-backbone"),
        (("--name", "r", "--runs", "runs"), "--name, --runs"),
        (("--from-run", "runs/r"), "--from-run"),
        (("--clips", "4", "--mixes", "2", "--micro-batch", "1"), "--clips, --mixes, --micro-batch"),
    ):
        refused = typed("train", "--resume", "runs/r", *words)
        assert refused.code == 2, words
        said = refused.err.split("it goes without ", 1)[1].strip()
        assert sorted(said.split(", ")) == sorted(named.split(", "))
    assert files_of(Path("runs/r")) == before
    kept = json.loads(Path("runs/r/run.json").read_text())["asked"]["machine"]
    assert (kept["graphs"], kept["threads"], kept["save_every"]) == ("keep", 1, 50)
    assert typed("train", "--resume", "runs/r", "--save-every", "1", "--keep", "1", "--threads", "1", "-q").code == 0


def test_runs_of_other_commands_are_not_resumed(typed: Typed, make_cache: MakeCache) -> None:
    assert typed("adapt", "--from-cache", make_cache(), "--warmstart-iterations", "2", "--name", "a").code == 0
    refused = typed("train", "--resume", "runs/a")
    assert refused.code == 2
    assert "runs/a was not made by comix finetune or comix train" in refused.err
    assert "comix adapt --resume" in refused.err
    nothing = typed("train", "--resume", "runs/b")
    assert nothing.code == 2
    assert "runs/b holds no run" in nothing.err


@pytest.mark.parametrize(
    "words",
    [
        ("--head", "graph", "--hidden-dim", "8", "--feature-norm", "domain"),
        ("--head", "linear", "--statistics", "mean+change"),
    ],
)
def test_from_the_head_of_an_adapt_run(
    typed: Typed, footage_root: Path, footage_dataset: Dataset, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """The backbone that the cache was made with, the head and the norms that were made on it."""
    cache = cache_of(footage_dataset, tmp_path / "cache", load_backbone(NAME, "random"))
    short = ("--warmstart-iterations", "6", "--eval-every", "6", "--source-only")
    adapted = typed("adapt", "--from-cache", cache.path, *short, *words, "--name", "a")
    assert adapted.code == 0, adapted.err
    bare = without(FEW, "--hidden-dim", "--weights")
    first = ("--warmstart-iterations", "0", "--iterations", "1", "--eval-every", "1", "--from-run", "runs/a")
    begun = typed("train", *folders(footage_root), *bare, *first, "--name", "t")
    assert begun.code == 0, begun.err
    ours, theirs = RunFolder(Path("runs/t")), RunFolder(Path("runs/a"))
    # Statistics are of other clips here than on a cache, so their norms are measured anew.
    norms = [] if "linear" in words else ["norm.safetensors"]
    for name in (*norms, "seed-0/source-only.safetensors"):
        kept, _ = load_tensors(ours.root / name)
        made, _ = load_tensors(theirs.root / name)
        assert kept.keys() == made.keys()
        assert all(value.equal(made[key]) for key, value in kept.items())
    backbone, _ = load_tensors(ours.seed(0).backbone_path("source-only"))
    assert state_sha256(backbone) == state_sha256(TrainableBackbone(NAME, "random").state())
    for name in ("head", "statistics", "hidden_dim", "feature_norm"):
        assert getattr(ours.recipe, name) == getattr(theirs.recipe, name)
    # Before anything is trained it is the same model on the same videos.
    if norms:
        assert ours.seed(0).metrics()[0]["infomax"] == theirs.seed(0).metrics()[-1]["infomax"]
    for options, message in (
        (("--head", "mlp"), "--head mlp contradicts --from-run: its head has"),
        (("--feature-norm", "source"), "--feature-norm source contradicts --from-run: its head has domain"),
        (("--hidden-dim", "99"), "--hidden-dim 99 contradicts --from-run"),
        (("--weights", "kinetics400"), "--weights kinetics400 contradicts --from-run, which brings random"),
    ):
        refused = typed("train", *folders(footage_root), *bare, "--from-run", "runs/a", *options, "--name", "x")
        assert refused.code == 2
        assert message in refused.err
        assert "leave it out" in refused.err
    assert not Path("runs/x").exists()


def test_finetune_then_extract_then_adapt_from_its_head(
    typed: Typed, footage_root: Path, footage_dataset: Dataset, tmp_path: Path
) -> None:
    """Features of the run's own backbone go with its head; those of another are refused, both named."""
    assert typed("finetune", *folders(footage_root), *FINETUNE, "--name", "tuned").code == 0
    run = RunFolder(Path("runs/tuned"))
    own = cache_of(footage_dataset, tmp_path / "own", load_backbone(NAME, run.seed(0).backbone_path("source-only")))
    other = cache_of(footage_dataset, tmp_path / "other", load_backbone(NAME, "random"))
    words = ("adapt", "--preset", "ucf-hmdb-published", "--iterations", "3", "--batch-size", "2", "--from-run")
    done = typed(*words, "runs/tuned", "--from-cache", own.path, "--name", "a")
    assert done.code == 0, done.err
    begun, last = RunFolder(Path("runs/a")).seed(0).metrics()[0], run.seed(0).metrics()[-1]
    # The same head on the same features, which a cache rounds and the run has rounded as well.
    assert begun["scores"]["entropy"] == pytest.approx(last["scores"]["entropy"], rel=1e-3)
    refused = typed(*words, "runs/tuned", "--from-cache", other.path, "--name", "b")
    assert refused.code == 2
    assert f"the head of runs/tuned takes features of another backbone than {other.path} holds" in refused.err
    for cache in (own, other):
        assert cache.recipe["backbone"]["weights_sha256"] in refused.err
    assert "extract again with --weights runs/tuned" in refused.err
    assert not Path("runs/b").exists()


def test_from_a_run_of_other_classes_or_of_none(typed: Typed, footage_root: Path, make_cache: MakeCache) -> None:
    cache = make_cache(n_classes=2)
    assert typed("adapt", "--from-cache", cache, "--warmstart-iterations", "2", "--name", "a").code == 0
    made_up = typed("train", *folders(footage_root), *FEW[:-8], "--from-run", "runs/a")
    assert made_up.code == 2
    meta = json.loads(Path("runs/a/run.json").read_text())
    meta["features"]["backbone"] |= {"name": NAME, "weights": "random"}
    Path("runs/a/run.json").write_text(json.dumps(meta))
    words = ("--backbone", NAME, "--clips", "4", "--device", "cpu", "--from-run", "runs/a")
    refused = typed("train", *folders(footage_root), *words, "--name", "x")
    assert refused.code == 2
    assert "the head of runs/a is for other classes than source-target lists" in refused.err
    assert "the run's: class 0, class 1" in refused.err
    Path("runs/a/seed-0/source-only.safetensors").unlink()
    unfinished = typed("train", *folders(footage_root), *words, "--name", "x")
    assert unfinished.code == 2
    assert "seed 0 of runs/a is not finished: it has no source-only head" in unfinished.err
    assert not Path("runs/x").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("train", "--train-from", "nowhere"), "tiny has no part named 'nowhere' to train from"),
        (("train", "--train-from", "nowhere"), "its parts are, in order: stem, middle, top"),
        (("train", "--train-from", "middle", "--freeze-backbone"), "--freeze-backbone and --train-from contradict"),
        (("train", "--no-tpl", "--lambda-tpl", "1"), "--no-tpl and --lambda-tpl contradict each other"),
        (("train", "--method", "target-supervised"), "the supervised bound trains heads on a cache"),
        (("train", "--select-by", "luck"), "there is no label-free score 'luck'"),
        (("train", "--select-by", "dev"), "--select-by dev needs held-out source videos"),
        (("train", "--clips", "17"), "--clips must be 16 or fewer, not 17"),
        (("train", "--mixes", "65"), "--mixes must be between 1 and 64, not 65"),
        (("train", "--micro-batch", "0"), "--micro-batch must be above 0, not 0"),
        (("train", "--backbone-lr", "0"), "--backbone-lr must be above 0"),
        (("train", "--backbone", "c3d"), "no backbone named 'c3d'"),
        (("train", "--weights", "absent.pth"), "no weights named absent.pth"),
        (("train", "--preset", "ucf"), "there is no preset 'ucf'"),
        (("train", "--name", "a/b"), "--name 'a/b' is not a plain name"),
        (("train", "--from-run", "absent"), "absent holds no run"),
        (("finetune", "--lr", "-1"), "--lr must be above 0"),
        (("finetune", "--train-from", "top", "--weights", "x.safetensors"), "no weights named x.safetensors"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    typed: Typed, footage_root: Path, words: tuple[str, ...], message: str
) -> None:
    refused = typed(words[0], *folders(footage_root), *SHORT, *words[1:])
    assert refused.code == 2
    assert message in refused.err
    assert "Traceback" not in refused.err
    assert [path for path in Path().rglob("*") if not path.name.endswith(".lock") and path.name != "runs"] == []


@pytest.mark.parametrize("command", ["finetune", "train"])
def test_datasets_that_are_none(typed: Typed, footage_root: Path, command: str) -> None:
    for words, message in (
        ((), "no videos named"),
        (("absent.toml",), "absent.toml"),
        (("absent.toml", "--source", "a"), "name the videos in one way"),
        (("--source", "absent", "--target", footage_root / "target"), "absent"),
        (("--preset", "ucf-hmdb", "--base-dir", "x"), "--preset needs --base-dir and --splits"),
        # Its source would be the videos without labels.
        (("--source", footage_root / "source", "--target", footage_root / "target/go", "--reverse"), "have no label"),
    ):
        refused = typed(command, *words, *SHORT)
        assert refused.code == 2, words
        assert message in refused.err
        assert "Traceback" not in refused.err
        assert not Path("runs").exists() or not [*Path("runs").glob("*/run.json")]


def test_a_target_without_labels(typed: Typed, footage_root: Path) -> None:
    """A folder of videos: nothing can be measured, and the run is whole all the same."""
    source, target = footage_root / "source", footage_root / "target/go"
    done = typed("train", "--source", source, "--target", target, *FEW, "--name", "r", "--json")
    assert done.code == 0, done.err
    assert [row["last"]["mean"] for row in json.loads(done.out)["rows"]] == [None, None]
    for name in ("source-only", "last", "selected"):
        assert RunFolder(Path("runs/r")).seed(0).backbone_path(name).exists()


def test_a_frozen_backbone_is_not_written(typed: Typed, footage_root: Path) -> None:
    done = typed("train", *folders(footage_root), *FEW, "--freeze-backbone", "--name", "r")
    assert done.code == 0, done.err
    assert "tiny, random weights, frozen" in done.err
    assert list(Path("runs/r").rglob("*.backbone.safetensors")) == []
    assert RunFolder(Path("runs/r")).features["backbone"]["weights"] == "random"


def test_the_same_words_find_the_same_run(typed: Typed, footage_root: Path) -> None:
    """Its name is of what decides the result: other machines, seeds and keeping do not make another of it."""
    names = []
    machine = ("--threads", "2", "--save-every", "7", "--graphs", "keep")
    for words in ((), machine, ("--seeds", "2"), ("--clips", "3"), ("--lr", "1")):
        stopped = typed("train", *folders(footage_root), *FEW, *words, "--max-minutes", "0", "-q")
        assert stopped.code == 75
        names.append(stopped.err.splitlines()[-1].split("/")[-1])
    assert names[0] == names[1] == names[2]
    assert len(set(names)) == 3
    assert names[0].startswith("source-target-train-")


@pytest.mark.parametrize("command", ["finetune", "train"])
def test_help_says_what_is_taken(typed: Typed, command: str) -> None:
    text = typed(command, "--help").out
    for option in ("--resume", "--max-minutes", "--devices", "--micro-batch", "--train-from", "--from-run"):
        assert option in text
    assert "Example: comix " + command in text
    assert ("--lambda-bgm" in text) == (command == "train")
