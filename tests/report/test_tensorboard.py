"""`--tensorboard`: what TensorBoard's own reader finds in the folder is what the run holds."""

from __future__ import annotations

import builtins
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from builders import Ended, MakeCache
from comix_fast.cache import FeatureCache
from comix_fast.console import Silent
from comix_fast.errors import ComixError, RunError
from comix_fast.presets import RECOMMENDED
from comix_fast.report import tensorboard
from comix_fast.report.confusion_picture import confusion_picture
from comix_fast.report.tensorboard import COLUMNS, scalars, write_tensorboard
from comix_fast.stages import adapt
from comix_fast.stages.confusions import Confusion, read_predictions
from comix_fast.stages.retrieve import hidden_means
from comix_fast.stages.runs import RunFolder
from comix_fast.stages.seen import Seen

pytest.importorskip("tensorboard", reason="needs the extra tensorboard")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

SHORT = {"warmstart_iterations": 4, "iterations": 4, "eval_every": 2, "lambda_teacher": 0.1, "seeds": 2}
WORDS = ("--warmstart-iterations", "4", "--iterations", "4", "--eval-every", "2", "--threads", "1", "--name", "r")
HOSTILE = "<img src=x>\t[b]\x1b[31m\n押す $x^$"


def adapted(cache: Path, root: Path, **changes: Any) -> RunFolder:
    recipe = type(RECOMMENDED)(**{**RECOMMENDED.to_json(), "statistics": "mean", **SHORT, **changes})
    return adapt.run(recipe, FeatureCache(cache), root, reporter=Silent())


def read(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    found.Reload()
    return found


def test_scalars_are_those_of_the_metrics(make_cache: MakeCache, tmp_path: Path) -> None:
    run = adapted(make_cache(), tmp_path / "run")
    assert write_tensorboard(run, None) == run.root / "tensorboard"
    for seed in (0, 1):
        found, lines = read(run.root / f"tensorboard/seed-{seed}"), run.seed(seed).metrics()
        assert len(lines) == 4
        expected = {
            (f"{line['phase']}/{tag}", line["iteration"]): value for line in lines for tag, value in scalars(line)
        }
        events = {(tag, event.step): event.value for tag in found.Tags()["scalars"] for event in found.Scalars(tag)}
        assert events == pytest.approx(expected, rel=1e-6)
        last = lines[-1]
        for tag, value in {
            "loss/cls": last["cls"],
            "loss/teacher": last["teacher"],
            "loss/total": last["total"],
            "score/entropy": last["scores"]["entropy"],
            "pseudo/coverage": last["pseudo"]["coverage"],
            "pseudo/precision (not used)": last["pseudo"]["precision"],
            "target accuracy (not used)": last["target_accuracy"],
        }.items():
            assert events[f"adapt/{tag}", 4] == pytest.approx(value, rel=1e-6), tag
        assert ("warmstart/loss/teacher", 4) not in events
        # Not to be had without held-out source videos.
        assert not any("dev" in tag for tag, _ in events)


def test_what_is_not_known_is_not_written() -> None:
    line = {"phase": "adapt", "iteration": 1, "cls": float("nan"), "confident": 0.5, "target_accuracy": None}
    assert dict(scalars(line)) == {"pseudo/confident in training": 0.5}
    line |= {"scores": {"dev": None, "knn": 0.0}, "pseudo": {"coverage": 0.0, "precision": None}}
    assert dict(scalars(line)) == {"pseudo/confident in training": 0.5, "score/knn": 0.0, "pseudo/coverage": 0.0}


def embedding(folder: Path, name: str) -> tuple[np.ndarray, list[dict[str, str]]]:
    """Vectors, and for each what is said of it."""
    header, *rows = (folder / f"00000/{name}/metadata.tsv").read_text(encoding="utf-8").splitlines()
    assert tuple(header.split("\t")) == COLUMNS
    vectors = np.loadtxt(folder / f"00000/{name}/tensors.tsv", delimiter="\t", ndmin=2)
    return vectors, [dict(zip(COLUMNS, row.split("\t"), strict=True)) for row in rows]


@pytest.mark.parametrize("head", ["linear", "graph"])
def test_embeddings_are_of_the_heads_before_and_after(make_cache: MakeCache, tmp_path: Path, head: str) -> None:
    labels: list[int | None] = [0, None, *[c for c in range(3) for _ in range(6)][2:]]
    cache = FeatureCache(make_cache(target_labels=labels))
    run = adapted(cache.path, tmp_path / "run", head=head, hidden_dim=8)
    folder = write_tensorboard(run, cache) / "seed-0"
    predicted = read_predictions(run.root / "seed-0/predictions.csv", cache.classes)
    banks = Seen(adapt.load_banks(cache, mixed=False)).banks(run.recipe)
    for name in ("source-only", "last"):
        vectors, rows = embedding(folder, name)
        assert len(vectors) == len(rows) == 36
        of_target = hidden_means(run.load_head(0, name), banks.target, run.load_norms()["target"])
        np.testing.assert_allclose(vectors[18:], of_target.numpy(), rtol=1e-5, atol=1e-6)
        target = [row for row in rows if row["domain"] == "target"]
        assert rows[18:] == target
        assert tuple(row["id"] for row in target) == predicted.ids
        assert [row["predicted"] for row in target] == [cache.classes[c] for c in predicted.predicted[name]]
        assert [row["label"] for row in target][:3] == ["class 0", "–", "class 0"]
    assert not (folder.parent / "seed-1/00000").exists()
    config = (folder / "projector_config.pbtxt").read_text()
    assert config.count("tensor_path") == 2
    assert str(tmp_path) not in config


def test_wide_embeddings_of_many_videos_are_cut_down(
    make_cache: MakeCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = FeatureCache(make_cache())
    run = adapted(cache.path, tmp_path / "run", head="mlp", hidden_dim=16)
    whole, rows = embedding(write_tensorboard(run, cache) / "seed-0", "last")
    assert whole.shape == (36, 16)
    monkeypatch.setattr(tensorboard, "MOST_DIMENSIONS", 5)
    monkeypatch.setattr(tensorboard, "MOST_VIDEOS", 8)
    few, some = embedding(write_tensorboard(run, cache) / "seed-0", "last")
    assert few.shape == (8, 5)
    assert some == [rows[place] for place in (0, 5, 10, 15, 20, 25, 30, 35)]
    # Principal components keep what there is of distances.
    kept = np.linalg.norm(few[0] - few[-1]) / np.linalg.norm(whole[0] - whole[-1])
    assert 0.8 < kept <= 1.001


def test_pictures_are_of_both_heads(make_cache: MakeCache, tmp_path: Path) -> None:
    run = adapted(make_cache(), tmp_path / "run")
    found = read(write_tensorboard(run, None) / "seed-1")
    assert found.Tags()["images"] == ["confusion (not used)/source-only", "confusion (not used)/last"]
    (event,) = found.Images("confusion (not used)/last")
    with Image.open(io.BytesIO(event.encoded_image_string)) as picture:
        assert picture.size == (event.width, event.height)
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 10
    bare = adapted(make_cache("bare", target_labels=[None] * 18), tmp_path / "bare-run")
    found = read(write_tensorboard(bare, None) / "seed-0")
    assert found.Tags()["images"] == []
    assert not any("not used" in tag for tag in found.Tags()["scalars"])


@pytest.mark.parametrize("n_classes", [1, 2, 40, 70])
def test_any_names_and_many_classes_make_a_picture(n_classes: int) -> None:
    counts = tuple(tuple(9 * (true == taken) for taken in range(n_classes)) for true in range(n_classes))
    picture = confusion_picture(Confusion("last", (HOSTILE,) * n_classes, counts, 1))
    assert picture.dtype == np.uint8
    assert picture.shape[2] == 3
    assert max(picture.shape) <= 1500
    # The diagonal is dark: as many dark pixels above its middle as below.
    dark = (picture[..., 2] > 60) & (picture[..., 0] < 40)
    assert dark.sum() > 100


def test_names_can_not_end_a_cell(make_cache: MakeCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = FeatureCache(make_cache())
    run = adapted(cache.path, tmp_path / "run")
    banks = adapt.load_banks(cache, mixed=False)
    predicted = banks.target.labels
    rows = tensorboard._metadata(banks.target, "target", predicted, (HOSTILE, "a\tb", "c\nd"))
    assert {row[2] for row in rows} == {r"<img src=x>\t[b]\x1b[31m\n押す $x^$", r"a\tb", r"c\nd"}
    assert run.root.exists()


def test_it_is_written_anew_and_whole(make_cache: MakeCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = FeatureCache(make_cache())
    run = adapted(cache.path, tmp_path / "run")
    before = {path: path.read_bytes() for path in run.root.rglob("*") if path.is_file()}
    folder = write_tensorboard(run, cache)
    (folder / "stale").write_text("of before")

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tensorboard, "_write_embeddings", killed)
        with pytest.raises(KeyboardInterrupt):
            write_tensorboard(run, cache)
    # What was there is there; the beginning of the new one is none of it.
    assert (folder / "stale").exists()
    adapted(cache.path, tmp_path / "run", seeds=3)
    write_tensorboard(RunFolder(run.root), cache)
    assert sorted(path.name for path in folder.iterdir()) == ["seed-0", "seed-1", "seed-2"]
    assert not [path for path in run.root.iterdir() if path.name.startswith(".")]
    heads = {path: content for path, content in before.items() if path.suffix == ".safetensors"}
    assert heads == {path: path.read_bytes() for path in heads}


def test_another_cache_is_refused(make_cache: MakeCache, tmp_path: Path) -> None:
    run = adapted(make_cache(), tmp_path / "run")
    other = FeatureCache(make_cache("other", per_class=4))
    with pytest.raises(RunError, match="are not those of"):
        write_tensorboard(run, other)
    assert not (run.root / "tensorboard").exists()


def test_a_bound_has_its_accuracy_alone(make_cache: MakeCache, tmp_path: Path) -> None:
    cache = FeatureCache(make_cache())
    run = adapted(cache.path, tmp_path / "run", method="target-supervised", head="graph", hidden_dim=8)
    found = read(write_tensorboard(run, cache) / "seed-0")
    assert found.Tags()["scalars"] == ["supervised/target accuracy (not used)"]
    assert found.Tags()["images"] == ["confusion (not used)/last"]


def test_adapt_writes_it_when_the_run_is_done(comix: Callable[..., Ended], make_cache: MakeCache) -> None:
    words = ("adapt", "--from-cache", make_cache(), *WORDS)
    plain = comix(*words)
    assert plain.code == 0, plain.err
    assert not Path("runs/r/tensorboard").exists()
    ended = comix(*words, "--tensorboard")
    assert ended.code == 0, ended.err
    assert "tensorboard --logdir runs/r/tensorboard" in ended.err
    assert ended.out == plain.out
    first = sorted(Path("runs/r/tensorboard").rglob("events*"))
    resumed = comix("adapt", "--resume", "runs/r", "--tensorboard")
    assert resumed.code == 0, resumed.err
    again = sorted(Path("runs/r/tensorboard").rglob("events*"))
    assert len(first) == len(again)
    assert first != again
    several = comix(*words[:-1], "a", "--hidden-dim", "8", "--ablation", "--tensorboard")
    assert several.code == 0, several.err
    assert "tensorboard --logdir runs/a" in several.err
    assert len(list(Path("runs/a").glob("*/tensorboard"))) == 4


def test_without_the_extra_nothing_is_trained(
    comix: Callable[..., Ended], make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.split(".")[0] == "tensorboard" or name == "torch.utils.tensorboard":
            raise ModuleNotFoundError("No module named 'tensorboard'")
        return real(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    ended = comix("adapt", "--from-cache", make_cache(), *WORDS, "--tensorboard")
    assert ended.code == 2
    assert 'pip install "comix-fast[tensorboard]"' in ended.err
    assert "Traceback" not in ended.err
    assert not Path("runs").exists()
    with pytest.raises(ComixError, match="--tensorboard needs the package tensorboard"):
        tensorboard.require_tensorboard()
