"""Checkpoints in the form of the published code: what is read, what is refused, what run comes of it."""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from comix_fast.backbones import load_backbone
from comix_fast.backbones.registry import Architecture, architecture_of
from comix_fast.backbones.state import State, random_state, state_sha256
from comix_fast.config import AdaptRecipe, digest
from comix_fast.errors import RunError, WeightsError
from comix_fast.heads import TemporalGraph
from comix_fast.presets import adapt_preset
from comix_fast.stages import imported
from comix_fast.stages.imported import Engine, Terms, import_run
from comix_fast.stages.published_checkpoints import read_published
from comix_fast.stages.results import summarise_run
from comix_fast.stages.runs import RunFolder
from comix_fast.video import choose_decoder

SEVEN = Terms(tuple(f"gesture {number}" for number in range(7)), "classes.txt", "S", "T")
FILES = ("Graph-CoMix-Model-Best-50.pth", "I3D-CoMix-Model-Best-50.pth")


class Graph(nn.Module):
    """The published names: the head is a child called graph."""

    def __init__(self, head: TemporalGraph) -> None:
        super().__init__()
        self.graph = head


def wrapped(network: nn.Module) -> OrderedDict[str, Tensor]:
    return OrderedDict(nn.DataParallel(network).state_dict())


@pytest.fixture
def golden_head(golden: Path) -> tuple[TemporalGraph, Tensor, Tensor]:
    """The head of the golden numbers, its input and the published code's logits."""
    with np.load(golden / "graph_head.npz", allow_pickle=False) as file:
        arrays = {key: torch.as_tensor(file[key]) for key in file.files}
    head = TemporalGraph(48, 24, 7).load_published({k: v for k, v in arrays.items() if k.startswith("weights.")})
    return head, arrays["x"], arrays["logits"]


@pytest.fixture(scope="session")
def i3d_state() -> State:
    """Every tensor that a published I3D checkpoint has, batch norm's step counts and the 400 logits among them."""
    network = architecture_of("i3d").build()
    counts = {name: torch.tensor(9) for name in network.state_dict() if name.endswith("num_batches_tracked")}
    assert len(counts) == 57
    return random_state(network) | counts


@pytest.fixture(scope="session")
def head_1024() -> TemporalGraph:
    torch.manual_seed(5)
    return TemporalGraph(1024, 16, 7)


@pytest.fixture
def pair(tmp_path: Path, head_1024: TemporalGraph, i3d_state: State) -> tuple[Path, Path]:
    graph, i3d = (tmp_path / name for name in FILES)
    # torch 1.4, which the published code names, saves in the old form.
    torch.save(wrapped(Graph(head_1024)), graph, _use_new_zipfile_serialization=False)
    torch.save(OrderedDict({f"module.{k}": v for k, v in i3d_state.items()}), i3d, _use_new_zipfile_serialization=False)
    return graph, i3d


@pytest.fixture(scope="session")
def engine() -> Engine:
    return Engine(choose_decoder("pyav"), precision="fp32")


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("nest", [(), ("graph",), ("state_dict",), ("model", "state_dict")])
@pytest.mark.parametrize("lead", ["", "module.", "module.graph.", "module.module.graph."])
def test_the_head_in_every_wrapping_gives_the_published_logits(
    tmp_path: Path, golden_head: tuple[TemporalGraph, Tensor, Tensor], lead: str, nest: tuple[str, ...], legacy: bool
) -> None:
    head, x, logits = golden_head
    content: dict[str, Any] = {lead + name: value for name, value in head.state_dict().items()}
    for name in nest:
        content = {name: content, "iter": 50}
    torch.save(content, tmp_path / "Graph.pth", _use_new_zipfile_serialization=not legacy)
    published = read_published(tmp_path / "Graph.pth")
    assert published.sizes == (48, 24, 7)
    assert published.backbone is None
    again = TemporalGraph(*published.sizes).eval().load_published(published.head)
    torch.testing.assert_close(again(x), logits, atol=1e-5, rtol=0)


def test_a_run_answers_as_the_published_head(
    tmp_path: Path,
    golden_head: tuple[TemporalGraph, Tensor, Tensor],
    monkeypatch: pytest.MonkeyPatch,
    engine: Engine,
    i3d_state: State,
) -> None:
    # The golden head is of 48 features; nothing else here depends on how many there are.
    narrow: Callable[[str], Architecture] = lambda name: replace(architecture_of(name), feature_dim=48)  # noqa: E731
    monkeypatch.setattr(imported, "architecture_of", narrow)
    head, x, logits = golden_head
    graph, i3d = tmp_path / "Graph-SourceOnly-Model-Best.pth", tmp_path / "I3D-SourceOnly-Online-Model-Best.pth"
    torch.save(wrapped(Graph(head)), graph)
    torch.save({f"module.{k}": v for k, v in i3d_state.items()}, i3d)
    published = read_published(graph, i3d)
    assert published.doubt == ""
    done = import_run(published, SEVEN, engine, tmp_path / "runs" / "r")
    assert done.head == "source-only"
    run = RunFolder(tmp_path / "runs" / "r")
    assert run.final(0) == "source-only"
    norm = run.load_norms()["target"]
    loaded = run.load_head(0, "source-only")
    with torch.inference_mode():
        torch.testing.assert_close(loaded(norm(x)), logits, atol=1e-5, rtol=0)
    assert not run.recipe.adapts


def test_a_run_of_head_and_backbone(
    tmp_path: Path, pair: tuple[Path, Path], head_1024: TemporalGraph, i3d_state: State, engine: Engine
) -> None:
    terms = replace(SEVEN, recipe=adapt_preset("jester-published"))
    done = import_run(read_published(*pair), terms, engine, tmp_path / "runs" / "r")
    run = RunFolder(tmp_path / "runs" / "r")
    assert (done.head, done.warnings, done.folder.root) == ("last", (), run.root)
    assert sorted(str(p.relative_to(run.root)) for p in run.root.rglob("*")) == [
        "norm.safetensors",
        "run.json",
        "seed-0",
        "seed-0/last.backbone.safetensors",
        "seed-0/last.safetensors",
    ]
    assert list((tmp_path / "runs").iterdir()) == [run.root]
    assert run.recipe == AdaptRecipe(
        lambda_tpl=0.1,
        hidden_dim=16,
        feature_norm="none",
        precision="fp32",
        warmstart_iterations=None,
        iterations=None,
        eval_every=None,
    )
    assert (run.meta["source"], run.meta["target"], run.meta["classes"]) == ("S", "T", list(SEVEN.classes))
    for name, value in run.load_head(0, "last").state_dict().items():
        assert torch.equal(value, head_1024.state_dict()[name]), name
    features = torch.randn(5, 1024)
    for norm in run.load_norms().values():
        assert torch.equal(norm(features), features)

    kept = load_backbone("i3d", run.seed(0).backbone_path("last"))
    assert kept.weights_sha256 == state_sha256(i3d_state)
    assert kept.has_classifier
    recipe = run.features
    assert recipe["backbone"] == kept.recipe()
    assert recipe["backbone"]["weights"] == "file"
    assert recipe["clips"] == {"length": 8, "stride": 4, "bins": 16, "min_frames": 72}
    assert recipe["decoder"]["name"] == "pyav"
    assert recipe["views"] == {"plain": {"speed": 1}}
    assert run.meta["imported"]["graph"]["file"] == FILES[0]
    assert len(run.meta["imported"]["i3d"]["sha256"]) == 64
    # Best on the target is how it was picked: whoever measures it there must know.
    assert any("oracle" in note for note in run.meta["notes"])
    assert summarise_run(run)["rows"] == []
    assert run.meta["dataset"]["classes"]["names"] == digest(list(SEVEN.classes))


def test_the_checkpoint_that_holds_both(
    tmp_path: Path, head_1024: TemporalGraph, i3d_state: State, engine: Engine
) -> None:
    path = tmp_path / "Current-Checkpoint.pt"
    optimiser = torch.optim.SGD(head_1024.parameters(), lr=0.01, momentum=0.9).state_dict()
    both = {"graph": wrapped(Graph(head_1024)), "i3d": {f"module.{k}": v for k, v in i3d_state.items()}}
    torch.save({"iter": 50, "epoch_number": 1, **both, "optimizer": optimiser, "best_accuracy_yet": 0.5}, path)
    for given in (read_published(path), read_published(path, path)):
        assert given.backbone is not None
        assert state_sha256(given.backbone) == state_sha256(i3d_state)
        assert not given.kept_best
        assert not given.doubt
    done = import_run(read_published(path), SEVEN, engine, tmp_path / "r")
    assert done.folder.seed(0).backbone_path("last").exists()


def test_a_head_without_its_backbone_warns(
    tmp_path: Path, pair: tuple[Path, Path], engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imported, "KINETICS", "random")
    done = import_run(read_published(pair[0]), SEVEN, engine, tmp_path / "r", "source-only")
    assert done.head == "source-only"
    assert "no backbone was given" in done.warnings[0]
    assert done.folder.meta["warnings"] == list(done.warnings)
    assert not done.folder.seed(0).backbone_path("source-only").exists()
    assert done.folder.features["backbone"]["weights"] == "random"


@pytest.mark.parametrize(
    ("graph", "i3d", "doubted"),
    [
        ("Graph-SourceOnly-Model-Best-400.pth", "I3D-SourceOnly-Model-Best-400.pth", False),
        ("Graph-SourceOnly-Model-Best.pth", "I3D-SourceOnly-Online-Model-Best.pth", False),
        ("Graph-CoMix-Model-Best-400.pth", "I3D-CoMix-Model-Best-450.pth", True),
        ("Graph-SourceOnly-Model-Best.pth", "I3D-CoMix-Model-Best.pth", True),
        ("mine.pth", "I3D-CoMix-Model-Best.pth", False),
    ],
)
def test_names_of_different_steps_are_doubted(
    tmp_path: Path, head_1024: TemporalGraph, graph: str, i3d: str, doubted: bool
) -> None:
    torch.save(wrapped(Graph(head_1024)), tmp_path / graph)
    torch.save({"module.b": torch.ones(1)}, tmp_path / i3d)
    doubt = read_published(tmp_path / graph, tmp_path / i3d).doubt
    assert bool(doubt) == doubted
    assert not doubted or (graph in doubt and i3d in doubt)


@pytest.mark.parametrize("legacy", [False, True])
def test_nothing_in_a_file_is_run(tmp_path: Path, head_1024: TemporalGraph, legacy: bool) -> None:
    path = tmp_path / "Graph.pth"
    state = {**wrapped(Graph(head_1024)), "extra": Bomb(tmp_path / "ran")}
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(WeightsError, match="holds more than weights, so it was not read"):
        read_published(path)
    with pytest.raises(WeightsError, match="holds more than weights"):
        read_published(path, path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickled_network_is_refused_by_name(tmp_path: Path, head_1024: TemporalGraph, legacy: bool) -> None:
    path = tmp_path / "Graph.pth"
    torch.save(Graph(head_1024), path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(WeightsError, match=r"Graph.pth holds more than weights") as caught:
        read_published(path)
    assert caught.value.details[0].endswith(".Graph")
    assert "state_dict()" in caught.value.hint


def without(name: str) -> Callable[[State], None]:
    return lambda state: state.__delitem__(name)


def put(name: str, value: Tensor) -> Callable[[State], None]:
    return lambda state: state.__setitem__(name, value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without("gc1.weight"), "holds no head of CoMix"),
        (without("gc2.w_one"), "missing: gc2.w_one"),
        (put("gc4.weight", torch.ones(2)), "unknown: gc4.weight"),
        (put("gc2.weight", torch.ones(9, 9)), "gc2.weight: [9, 9], expected [24, 24]"),
        (put("gc3.bias", torch.tensor([1.0, float("nan")])), "no finite numbers: gc3.bias"),
        (put("gc3.bias", torch.ones(7, dtype=torch.int64)), "no finite numbers: gc3.bias"),
    ],
)
def test_heads_that_are_none(
    tmp_path: Path, golden_head: tuple[TemporalGraph, Tensor, Tensor], change: Callable[[State], None], said: str
) -> None:
    state = dict(golden_head[0].state_dict())
    change(state)
    torch.save({f"module.graph.{k}": v for k, v in state.items()}, tmp_path / "g.pth")
    with pytest.raises(WeightsError) as caught:
        read_published(tmp_path / "g.pth")
    assert said in str(caught.value)
    assert "g.pth" in caught.value.message


@pytest.mark.parametrize("content", [[torch.ones(2)], {}, {"iter": 3}, {"graph": {"iter": 3}}, {"graph": {}}])
def test_files_without_a_state_dict(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "g.pth")
    with pytest.raises(WeightsError, match=r"g\.pth holds no state dict") as caught:
        read_published(tmp_path / "g.pth")
    assert "Graph-….pth" in caught.value.hint


@pytest.mark.parametrize("keep", [0, 1, 200, -1])
def test_cut_and_absent_files(tmp_path: Path, pair: tuple[Path, Path], keep: int) -> None:
    whole = pair[0].read_bytes()
    pair[0].write_bytes(whole[:keep])
    with pytest.raises(WeightsError, match="Graph-CoMix"):
        read_published(*pair)
    with pytest.raises(WeightsError, match="no checkpoint at"):
        read_published(tmp_path / "none.pth")


def test_head_and_backbone_changed_about(pair: tuple[Path, Path]) -> None:
    graph, i3d = pair
    with pytest.raises(WeightsError, match=r"I3D-.* holds no head of CoMix") as caught:
        read_published(i3d, graph)
    assert "--graph takes the head" in caught.value.hint
    with pytest.raises(WeightsError, match=r"Graph-.* holds a head, not a backbone"):
        read_published(graph, graph)


def lacking(state: State) -> State:
    return {name: value for name, value in state.items() if not name.startswith("Mixed_5c.b0")}


def test_what_does_not_fit_leaves_nothing(
    tmp_path: Path, pair: tuple[Path, Path], i3d_state: State, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, published = tmp_path / "runs", read_published(*pair)
    six = replace(SEVEN, classes=SEVEN.classes[:6])
    with pytest.raises(WeightsError, match=r"tells 7 classes apart, classes\.txt names 6"):
        import_run(published, six, engine, runs / "r")
    with pytest.raises(WeightsError, match="takes 1024 features a clip, r3d_18 gives 512"):
        import_run(published, SEVEN, replace(engine, backbone="r3d_18"), runs / "r")
    with pytest.raises(WeightsError, match=r"I3D-.* does not fit the network") as caught:
        import_run(replace(published, backbone=lacking(i3d_state)), SEVEN, engine, runs / "r")
    assert "missing: Mixed_5c.b0.conv3d.weight" in caught.value.details[0]

    def full(*_: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr(imported.runs, "save_tensors", full)
    with pytest.raises(OSError, match="no room"):
        import_run(published, SEVEN, engine, runs / "r")
    assert not runs.exists() or list(runs.iterdir()) == []


def test_a_folder_in_use_is_left_alone(tmp_path: Path, pair: tuple[Path, Path], engine: Engine) -> None:
    published = read_published(*pair)
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "mine.txt").write_text("kept")
    (tmp_path / "file").write_text("kept")
    for name in ("used", "file"):
        with pytest.raises(RunError, match=f"{name} is there already; nothing was changed"):
            import_run(published, SEVEN, engine, tmp_path / name)
    assert (tmp_path / "used" / "mine.txt").read_text() == (tmp_path / "file").read_text() == "kept"
    (tmp_path / "empty").mkdir()
    import_run(published, SEVEN, engine, tmp_path / "empty")
    assert json.loads((tmp_path / "empty" / "run.json").read_text())["form"] == "1"
    with pytest.raises(RunError, match="is there already"):
        import_run(published, SEVEN, engine, tmp_path / "empty")
