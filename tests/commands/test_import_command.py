"""`comix import` as it is typed, and what other commands make of its run."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from builders import Ended, MakeCache, WriteVideo
from comix_fast.backbones.registry import architecture_of
from comix_fast.backbones.state import random_state
from comix_fast.commands import import_run as command
from comix_fast.commands.extract import Engine, load
from comix_fast.config import ViewPlan
from comix_fast.datasets import Dataset, Domain
from comix_fast.errors import DatasetError
from comix_fast.heads import TemporalGraph
from comix_fast.stages import imported as stage
from comix_fast.stages.runs import RunFolder
from comix_fast.video import choose_decoder

Comix = Callable[..., Ended]
EXACT = ("--precision", "fp32", "--device", "cpu")
FILES = ("--graph", "Graph-CoMix-Model-Best.pth", "--i3d", "I3D-CoMix-Model-Best.pth")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Checkpoints of two classes in tmp_path, and their list."""
    torch.manual_seed(2)
    head = {f"module.graph.{name}": value for name, value in TemporalGraph(1024, 8, 2).state_dict().items()}
    torch.save(head, tmp_path / FILES[1])
    # Other numbers than those of --weights random, or a test could not tell them apart.
    i3d = {f"module.{name}": 0.5 * value for name, value in random_state(architecture_of("i3d").build()).items()}
    torch.save(i3d, tmp_path / FILES[3])
    (tmp_path / "classes.txt").write_text("go\nstop\n")
    return tmp_path


def test_a_run_that_other_commands_take(comix: Comix, saved: Path, make_cache: MakeCache) -> None:
    words = ["import", *FILES, "--classes", "classes.txt", "--out", "runs/a b", *EXACT]
    done = comix(*words, "--source", "UCF", "--target", "HMDB")
    assert done.code == 0, done.err
    assert "runs/a b: the last head, 1024 → 8 → 2 classes, and i3d, trained with it, fp32" in done.out
    assert "next: comix predict 'runs/a b' VIDEO" in done.out
    assert "an oracle's" in done.out
    again = comix(*words)
    assert again.code == 2
    assert "runs/a b is there already; nothing was changed" in again.err

    typed = shlex.split(next(line for line in done.out.splitlines() if "comix extract" in line))
    weights = typed[typed.index("--weights") + 1]
    nothing = Dataset("none", ("go", "stop"), Domain("a", ()), Domain("b", ()))
    engine = Engine(weights=weights, precision="fp32", compiled=False)
    backbone = load(engine, nothing, ViewPlan((), 0), saved / "cache", "cpu", choose_decoder("pyav"))
    assert backbone.recipe() == RunFolder(Path("runs/a b")).features["backbone"]

    refused = comix("retrieve", "--from-cache", make_cache(), "--run", "runs/a b")
    assert refused.code == 2
    assert "runs/a b was adapted" not in refused.err and "extract with --weights" in refused.err


def test_a_head_alone_is_warned_of(comix: Comix, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "KINETICS", "random")
    done = comix("import", *FILES[:2], "--classes", "classes.txt", "--out", "r", *EXACT)
    assert done.code == 0, done.err
    assert "warning: no backbone was given" in done.err
    assert "--weights" not in done.out


def test_as_json_and_as_source_only(comix: Comix, saved: Path) -> None:
    (saved / "lists").mkdir()
    for name in ("one", "two"):
        (saved / "lists" / f"{name}.csv").write_text(f"{name}/1.mp4,go\n{name}/2.mp4,stop\n")
    (saved / "two.toml").write_text(
        'classes = ["go", "stop"]\n[source]\nname = "red"\ntrain = "lists/one.csv"\n'
        '[target]\nname = "blue"\ntrain = "lists/two.csv"\n'
    )
    words = [*EXACT, "--as", "source-only", "--target", "green", "--json"]
    done = comix("import", *FILES, "--classes", "two.toml", "--out", "r", *words)
    assert done.code == 0, done.err
    value = json.loads(done.out)
    assert (value["run"], value["head"], value["source"], value["target"]) == ("r", "source-only", "red", "green")
    assert value["classes"] == ["go", "stop"]
    assert value["imported"]["i3d"]["file"] == FILES[3]
    assert RunFolder(Path("r")).final(0) == "source-only"


def test_refusals_are_errors_without_a_traceback(comix: Comix, saved: Path) -> None:
    for words, said in (
        (("--classes", "ucf-hmdb"), "tells 2 classes apart, the preset ucf-hmdb names 12"),
        (("--classes", "none.txt"), "none.txt can't be read"),
        (("--classes", "classes.txt", "--backbone", "r3d_18"), "takes 1024 features a clip, r3d_18 gives 512"),
        (("--classes", "classes.txt", "--source", "x", "--target", "x"), "both called 'x'"),
        (("--classes", "classes.txt", "--device", "tpu"), "'tpu'"),
    ):
        ended = comix("import", *FILES, "--out", "r", *words)
        assert ended.code == 2
        assert ended.err.startswith("error: ")
        assert said in ended.err
        assert "Traceback" not in ended.err
    assert not Path("r").exists()
    assert not list(saved.glob(".r.*"))


@pytest.mark.parametrize(
    ("preset", "n_classes", "names", "lambdas"),
    [
        ("ucf-hmdb", 12, ("UCF", "HMDB"), (0.1, 0.01)),
        ("hmdb-ucf", 12, ("HMDB", "UCF"), (0.1, 0.01)),
        ("jester", 7, ("Jester-S", "Jester-T"), (0.1, 0.1)),
        ("epic-d3-d1", 8, ("D3", "D1"), (0.01, 0.01)),
    ],
)
def test_what_a_published_preset_tells(
    preset: str, n_classes: int, names: tuple[str, str], lambdas: tuple[float, float]
) -> None:
    terms = command.read_terms(preset, None, None)
    assert (len(terms.classes), (terms.source, terms.target)) == (n_classes, names)
    assert (terms.recipe.lambda_bgm, terms.recipe.lambda_tpl) == lambdas
    assert command.read_terms(preset, "one", None).source == "one"


def test_class_lists_that_can_not_be(tmp_path: Path) -> None:
    for text, said in (("go\ngo\n", "more than once"), ("go\n", "two or more"), ("", "0 class")):
        (tmp_path / "classes.txt").write_text(text)
        with pytest.raises(DatasetError, match=said):
            command.read_terms(str(tmp_path / "classes.txt"), None, None)


def test_a_frozen_run_has_no_backbone_to_give(comix: Comix, make_cache: MakeCache, film: WriteVideo) -> None:
    for number, name in enumerate(("a/go/1.mp4", "a/stop/1.mp4", "b/go/1.mp4", "b/stop/1.mp4")):
        film(Path(name), 12, seed=number)
    short = ["--preset", "ucf-hmdb-published", "--warmstart-iterations", "2", "--iterations", "0", "--quiet"]
    assert comix("adapt", "--from-cache", make_cache(), "--name", "frozen", "--hidden-dim", "4", *short).code == 0
    ended = comix("extract", "--source", "a", "--target", "b", "--weights", "runs/frozen", "--out", "c")
    assert ended.code == 2
    assert "runs/frozen trained no backbone: it took the features of made-up, frozen" in ended.err
    assert not Path("c").exists()
