"""A run as a model: it says of videos what the run's own results say of their cached features."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

import comix_fast
from comix_fast.backbones import Backbone, load_backbone
from comix_fast.backbones.registry import architecture_of
from comix_fast.backbones.state import random_state, write_state
from comix_fast.cache import FeatureCache
from comix_fast.config import AdaptRecipe, ExtractRecipe, ViewPlan
from comix_fast.console import Silent
from comix_fast.datasets import Dataset, check_files, load_folders
from comix_fast.errors import CacheError, ComixError, RunError, WeightsError
from comix_fast.serving.answers import FailedVideo, Prediction, VideoFeatures
from comix_fast.serving.model import load
from comix_fast.stages import adapt, extract
from comix_fast.stages.bank import load_banks
from comix_fast.stages.measuring import predict_logits
from comix_fast.stages.runs import RunFolder
from comix_fast.stages.seen import Seen
from comix_fast.video import choose_decoder, plan_clips

LENGTHS = {"a": (74, 20), "b": (20, 88, 5)}
KINDS = {
    "graph": AdaptRecipe(warmstart_iterations=6, iterations=4, hidden_dim=8, eval_every=2, batch_size=2, mixing=False),
    "linear": AdaptRecipe(
        head="linear", statistics="mean+std+change", warmstart_iterations=6, iterations=4, eval_every=2, batch_size=2,
        lambda_bgm=0.0, lambda_tpl=0.1, mixing=False,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Extracted:
    """A cache of small films, its videos, a run of each kind of head. other: I3D weights that are none of theirs."""

    cache: Path
    dataset: Dataset
    runs: dict[str, Path]
    other: Path

    def measured(self) -> dict[str, Path]:
        return {video.id: video.path for video in self.dataset.measured()[0]}


def draw(folder: Path, n_frames: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    ground = rng.integers(0, 120, (48, 64, 3), dtype=np.uint8)
    folder.mkdir(parents=True)
    for number in range(n_frames):
        picture = ground.copy()
        row, column = number * (seed + 1) % 36, number * 2 % 52
        picture[row : row + 12, column : column + 12] = 250
        Image.fromarray(picture).save(folder / f"frame_{number + 1}.png")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Extracted:
    root = tmp_path_factory.mktemp("serving")
    for domain, lengths in LENGTHS.items():
        for number, n_frames in enumerate(lengths):
            draw(root / domain / ("go", "stop")[number % 2] / f"film {number}", n_frames, 3 * len(domain) + number)
    dataset = check_files(load_folders(root / "a", root / "b"))
    backbone, decoder = load_backbone("i3d", "random", "auto"), choose_decoder("pyav")
    recipe = ExtractRecipe(backbone.recipe(), {"name": "pyav", "version": decoder.version}, ViewPlan((), 0))
    extract.run(recipe, dataset, backbone, decoder, root / "cache", reporter=Silent(), threads=2)
    runs = {
        kind: adapt.run(recipe, FeatureCache(root / "cache"), root / "runs" / kind, reporter=Silent()).root
        for kind, recipe in KINDS.items()
    }
    with torch.device("meta"):
        network = architecture_of("i3d").build()
    generator = torch.Generator().manual_seed(5)
    state = {
        name: value + 0.3 * value.std() * torch.randn(value.shape, generator=generator) if value.ndim > 1 else value
        for name, value in random_state(network).items()
    }
    write_state(state, root / "other.safetensors", {})
    return Extracted(root / "cache", dataset, runs, root / "other.safetensors")


@pytest.fixture
def copied(made: Extracted, tmp_path: Path) -> Callable[..., Path]:
    """A run's copy whose cache is gone, some of its run.json changed."""

    def copy(kind: str = "graph", *, cache: Path | None = None, drop: str = "", **backbone: object) -> Path:
        run = shutil.copytree(made.runs[kind], tmp_path / kind)
        meta = json.loads((run / "run.json").read_text())
        meta["cache"] = str(cache or tmp_path / "gone")
        meta["features"]["backbone"] |= backbone
        meta.pop(drop, None)
        (run / "run.json").write_text(json.dumps(meta))
        return run

    return copy


def logits_of(made: Extracted, run: RunFolder, head: str, domain: int = 1) -> dict[str, Tensor]:
    """What the run's head says of the cache's own features."""
    banks = Seen(load_banks(FeatureCache(made.cache), mixed=False)).banks(run.recipe)
    logits = predict_logits(run.load_head(0, head), banks.measured, tuple(run.load_norms().values())[domain])
    return dict(zip(banks.measured.ids, logits, strict=True))


@pytest.mark.parametrize("kind", list(KINDS))
def test_answers_are_those_of_the_run(made: Extracted, kind: str) -> None:
    model = comix_fast.load(made.runs[kind])
    assert (model.head, model.seed, model.domain, model.classes) == ("last", 0, "target", ("go", "stop"))
    videos = made.measured()
    predictions = model.predict(videos.values(), top_k=9)
    logits = logits_of(made, model.run, "last")
    with (made.runs[kind] / "seed-0/predictions.csv").open() as file:
        written = {row["id"]: row["last"] for row in csv.DictReader(file)}
    assert [video.path for video in predictions] == list(videos.values())
    for name, video in zip(videos, predictions, strict=True):
        assert isinstance(video, Prediction)
        assert video.top[0].name == written[name]
        assert video.n_frames == FeatureCache(made.cache).row(name).n_frames
        found = {one.name: one.probability for one in video.top}
        assert list(found.values()) == sorted(found.values(), reverse=True)
        assert sum(found.values()) == pytest.approx(1, abs=1e-6)
        expected = dict(zip(model.classes, logits[name].double().softmax(dim=0).tolist(), strict=True))
        assert found == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("kind", list(KINDS))
def test_features_are_the_caches_to_the_bit(made: Extracted, kind: str) -> None:
    videos, cache = made.measured(), FeatureCache(made.cache)
    for name, video in zip(videos, load(made.runs[kind], threads=1).features(videos.values()), strict=True):
        assert isinstance(video, VideoFeatures)
        kept, plan = cache.clips(name, "plain"), plan_clips(video.n_frames)
        rows = range(plan.n_clips) if kind == "linear" else [kept.starts.tolist().index(s) for s in plan.test_starts]
        assert video.features.tobytes() == kept.features[list(rows)].tobytes()


def test_the_sources_norm_and_other_heads_can_be_asked_for(made: Extracted) -> None:
    (name, path), *_ = made.measured().items()
    answers = {}
    for domain, head in (("source", "last"), ("target", "source-only")):
        model = load(made.runs["linear"], domain=domain, head=head)  # type: ignore[arg-type]
        (video,) = model.predict(str(path))
        assert isinstance(video, Prediction)
        expected = logits_of(made, model.run, head, ("source", "target").index(domain))[name].softmax(dim=0)
        answers[domain, head] = {one.name: one.probability for one in video.top}
        assert answers[domain, head] == pytest.approx(
            dict(zip(model.classes, expected.tolist(), strict=True)), abs=2e-6
        )
    assert answers["source", "last"] != pytest.approx(answers["target", "source-only"], abs=1e-4)


def test_the_cache_may_be_gone(made: Extracted, copied: Callable[..., Path]) -> None:
    path = next(iter(made.measured().values()))
    assert load(copied()).predict([path]) == load(made.runs["graph"]).predict([path])


def test_runs_of_before_have_the_recipe_from_their_cache(made: Extracted, copied: Callable[..., Path]) -> None:
    model = load(copied("graph", cache=made.cache, drop="features"))
    assert model.backbone.weights_name == "random"
    with pytest.raises(CacheError, match="gone holds no feature cache"):
        load(copied("linear", drop="features"))


def test_a_backbone_of_the_runs_own_is_what_is_used(made: Extracted, copied: Callable[..., Path]) -> None:
    run, path = copied(weights="file", weights_sha256="0" * 64), next(iter(made.measured().values()))
    shutil.copy(made.other, run / "seed-0/source-only.backbone.safetensors")
    model = load(run, head="source-only")
    assert model.backbone.weights_name == "source-only.backbone.safetensors"
    (own,), (recorded,) = model.features([path]), load(made.runs["graph"]).features([path])
    assert isinstance(own, VideoFeatures)
    assert isinstance(recorded, VideoFeatures)
    assert not np.allclose(own.features, recorded.features, atol=0.1)
    backbone: Backbone = load_backbone("i3d", made.other)
    assert model.backbone.weights_sha256 == backbone.weights_sha256
    with pytest.raises(WeightsError, match="has a backbone of its own"):
        load(run, head="source-only", weights=made.other)
    # Its other head was trained on the features of weights that are not there.
    with pytest.raises(WeightsError, match="was adapted on features of a weights file"):
        load(run)


def test_weights_of_a_file_are_asked_for_and_must_be_the_very_ones(
    made: Extracted, copied: Callable[..., Path]
) -> None:
    sha = load_backbone("i3d", made.other).weights_sha256
    run = copied(weights="file", weights_sha256=sha)
    with pytest.raises(WeightsError, match=f"(?s)weights file, and does not hold it.*i3d, sha256 .*{sha}.*--weights"):
        load(run)
    with pytest.raises(WeightsError, match=f"(?s)random are not the weights.*expected {sha}"):
        load(run, weights="random")
    assert load(run, weights=made.other).backbone.weights_sha256 == sha


def test_weights_of_a_name_must_be_those_of_then(copied: Callable[..., Path]) -> None:
    with pytest.raises(WeightsError, match=rf"(?s)random are not the weights.*expected {'1' * 64}"):
        load(copied(weights_sha256="1" * 64))


def test_a_run_can_name_no_file_of_this_machine(made: Extracted, copied: Callable[..., Path]) -> None:
    with pytest.raises(WeightsError, match="does not hold it"):
        load(copied(weights=str(made.other)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 3}, r"(?s)has no head 'last' of seed 3.*it has seed 0: source-only, last, selected"),
        ({"head": "../last"}, "there is no head '../last'"),
        ({"domain": "elsewhere"}, "there is no domain 'elsewhere'"),
        ({"device": "tpu"}, "no device tpu here"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_refused(made: Extracted, options: dict[str, object], message: str) -> None:
    with pytest.raises(ComixError, match=message):
        load(made.runs["graph"], **options)  # type: ignore[arg-type]


def test_unknown_unfinished_and_headless_runs_are_refused(
    made: Extracted, copied: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(RunError, match=r"absent holds no run: run\.json is missing"):
        load(tmp_path / "absent")
    run = copied()
    for path in (run / "seed-0").glob("*.safetensors"):
        path.unlink()
    with pytest.raises(RunError, match=r"(?s)has no head 'last' of seed 0.*unfinished"):
        load(run)
    meta = json.loads((run / "run.json").read_text())
    meta["recipe"]["method"] = "target-supervised"
    (run / "run.json").write_text(json.dumps(meta))
    with pytest.raises(RunError, match="target-supervised bound, which keeps no heads"):
        load(run)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clips": {"length": 8}}, "does not say how its features are made"),
        ({"schema": "9"}, "features of form '9', this comix-fast makes 1"),
        ({"backbone": {"name": "i3d"}}, "does not say how its features are made"),
    ],
)
def test_recipes_that_can_not_be_followed(
    copied: Callable[..., Path], changes: dict[str, object], message: str
) -> None:
    run = copied()
    meta = json.loads((run / "run.json").read_text())
    meta["features"] |= changes
    (run / "run.json").write_text(json.dumps(meta))
    with pytest.raises(RunError, match=message):
        load(run)


def test_a_head_of_another_width_is_refused(copied: Callable[..., Path]) -> None:
    run = copied("linear")
    meta = json.loads((run / "run.json").read_text())
    meta["in_dim"] = 1024
    (run / "run.json").write_text(json.dumps(meta))
    with pytest.raises(RunError, match="heads on 1,024 features, and i3d gives 3,072"):
        load(run)


def test_bad_videos_keep_their_place(made: Extracted, tmp_path: Path, film: Callable[..., Path]) -> None:
    good, bad = film(tmp_path / "good.mp4", 20), tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    model = load(made.runs["graph"], threads=2)
    answers = model.predict([bad, good, tmp_path / "absent.mp4", good], top_k=1)
    assert [type(answer) for answer in answers] == [FailedVideo, Prediction, FailedVideo, Prediction]
    assert (len(answers), answers.failed, answers.predicted) == (4, (answers[0], answers[2]), (answers[1], answers[3]))
    assert answers[1] == answers[3]
    assert len(answers.predicted[0].top) == 1
    with pytest.raises(ComixError, match="top_k is 0"):
        model.predict([good], top_k=0)


def test_equal_logits_stand_in_the_order_of_the_classes(made: Extracted, copied: Callable[..., Path]) -> None:
    run = copied("linear")
    head = RunFolder(run).load_head(0, "last").state_dict()
    save_file({name: torch.zeros_like(value) for name, value in head.items()}, run / "seed-0/last.safetensors")
    (answer,) = load(run).predict(next(iter(made.measured().values())))
    assert isinstance(answer, Prediction)
    assert answer.top == (("go", 0.5), ("stop", 0.5))


def test_importing_the_package_does_not_import_torch() -> None:
    script = "import comix_fast, sys; assert 'torch' not in sys.modules; comix_fast.load; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        _ = comix_fast.absent
