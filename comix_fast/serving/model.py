"""A run as a model: its backbone, its norm and one of its heads, ready for videos that it has never seen."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from comix_fast.backbones import Backbone, load_backbone
from comix_fast.backbones.weights import KINETICS, RANDOM
from comix_fast.config import CACHE_SCHEMA, ExtractRecipe, ViewPlan
from comix_fast.console import Reporter, Silent
from comix_fast.errors import ComixError, RunError, WeightsError
from comix_fast.serving.answers import (
    ClassProbability,
    FailedVideo,
    Prediction,
    Predictions,
    VideoFeatures,
)
from comix_fast.serving.classifier import VideoClassifier
from comix_fast.serving.streaming import stream_features
from comix_fast.stages.belonging import HEADS
from comix_fast.stages.pipeline import Machine
from comix_fast.stages.pooling import parse_statistics
from comix_fast.stages.runs import RunFolder
from comix_fast.video import ClipPlan, Decoder, choose_decoder

DOMAINS = ("source", "target")
TOP_K = 5

Paths = str | Path | Iterable[str | Path]


class AdaptedModel:
    """Classifies videos as a run's head does; made by `load`.

    run: the run's folder; seed, head: whose head of it; domain: whose norm. classes: names, in the order of the logits.
    classifier: clips to logits, on the model's device; backbone: its first part.
    """

    def __init__(
        self,
        run: RunFolder,
        seed: int,
        head: str,
        domain: str,
        recipe: ExtractRecipe,
        machine: Machine,
        classifier: VideoClassifier,
    ) -> None:
        self.run, self.seed, self.head, self.domain = run, seed, head, domain
        self.classifier = classifier
        self._recipe, self._machine = recipe, machine

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the logits."""
        return tuple(str(name) for name in self.run.meta["classes"])

    @property
    def backbone(self) -> Backbone:
        """What turns clips into features."""
        return self._machine.backbone

    def features(self, paths: Paths) -> Iterator[VideoFeatures | FailedVideo]:
        """The features of each video that the head takes, in the order given: of 16 clips, or of all candidates.

        paths: video files and folders of frames. A few videos are in memory at a time; threads work ahead until the
        generator is exhausted or closed. On the device, decoder and batch size of the run's cache they are the
        cache's, to the bit. Raises ComixError if the device has too little memory.
        """
        return stream_features(_listed(paths), self._recipe, self._machine, self._starts)

    def predict(self, paths: Paths, *, top_k: int = TOP_K, reporter: Reporter | None = None) -> Predictions:
        """The likeliest classes of each video, or why it could not be read; in the order given.

        paths: video files and folders of frames, see comix_fast.serving.finding for folders of videos. top_k: how
        many classes, all of them if there are fewer. Raises ComixError if top_k is below 1 or the device has too
        little memory.
        """
        if top_k < 1:
            raise ComixError(f"top_k is {top_k}; it must be 1 or more")
        listed = _listed(paths)
        answers: list[Prediction | FailedVideo] = []
        with (
            (reporter or Silent()).progress("classifying videos", len(listed), "videos") as advance,
            contextlib.closing(stream_features(listed, self._recipe, self._machine, self._starts)) as videos,
        ):
            for video in videos:
                answers.append(self._answer(video, top_k) if isinstance(video, VideoFeatures) else video)
                advance(1)
        return Predictions(tuple(answers))

    @torch.inference_mode()
    def _answer(self, video: VideoFeatures, top_k: int) -> Prediction:
        """One video at a time: what is said of it must not depend on who is beside it."""
        features = torch.from_numpy(video.features).unsqueeze(0).to(self._machine.device)
        logits = self.classifier.classify(features)[0].cpu()
        # Equal logits stand in the order of the classes, on every machine.
        order = logits.argsort(descending=True, stable=True)[:top_k].tolist()
        shares, classes = logits.softmax(dim=0), self.classes
        top = tuple(ClassProbability(classes[one], float(shares[one])) for one in order)
        return Prediction(video.path, video.n_frames, top)

    def _starts(self, plan: ClipPlan) -> list[int]:
        return plan.starts if self.run.takes_every_clip else plan.test_starts


def load(
    run: str | Path,
    *,
    seed: int | None = None,
    head: str | None = None,
    domain: Literal["source", "target"] = "target",
    device: str = "auto",
    weights: str | Path | None = None,
    decoder: str | Decoder = "auto",
    threads: int | None = None,
) -> AdaptedModel:
    """The model that a run made, as its own results have it.

    run: a run's folder; its cache is not needed. seed: the run's first if None. head: "source-only", "last" or
    "selected"; None: the last, or source-only where there was no adaptation. domain: the norm of which domain
    standardises the features: "source" suits videos like the source's.
    device: "auto" (CUDA where there is one), "cpu", "cuda" or "cuda:N". The backbone computes in the run's precision,
    uncompiled, so on another device than the run's cache, or if that was compiled, features differ by rounding.
    weights: the backbone's file, where the run has it neither beside its head nor by name; it must be the very one.
    decoder: "auto", "pyav" or "torchcodec", or what choose_decoder gave, with limits of its own. threads: on the CPU;
    torch's number if None.

    Raises RunError for a run, seed or head that is not there, WeightsError for absent or other weights, ComixError
    for a device that is not here.
    """
    folder = RunFolder(Path(run))
    if domain not in DOMAINS:
        raise ComixError(f"there is no domain {domain!r}", hint="features are standardised as the source's or target's")
    seed = folder.recipe.seed if seed is None else seed
    head = folder.result if head is None else head
    _require_head(folder, seed, head)
    recipe = _recipe(folder)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    backbone = _load_backbone(folder, seed, head, recipe.backbone, weights, device)
    statistics = parse_statistics(folder.recipe.statistics) if folder.recipe.pooled else ()
    width = max(1, len(statistics)) * backbone.feature_dim
    if width != folder.meta["in_dim"]:
        raise RunError(
            f"{folder.root} has heads on {folder.meta['in_dim']:,} features, and {backbone.name} gives {width:,}",
            hint="run.json was edited, or is damaged",
        )
    place = torch.device(device)
    chosen = choose_decoder(decoder) if isinstance(decoder, str) else decoder
    machine = Machine(backbone, chosen, place, threads or torch.get_num_threads())
    norm = folder.load_norms()[domain]
    classifier = VideoClassifier(backbone, norm, statistics, folder.load_head(seed, head)).to(place)
    return AdaptedModel(folder, seed, head, domain, recipe, machine, classifier)


def _listed(paths: Paths) -> list[Path]:
    return [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]


def _require_head(run: RunFolder, seed: int, head: str) -> None:
    """Raises RunError, which says what heads there are, if this one is not among them."""
    if run.recipe.method == "target-supervised":
        raise RunError(f"{run.root} is a target-supervised bound, which keeps no heads", hint="give another run")
    if head not in HEADS:
        raise RunError(f"there is no head {head!r}", hint=f"heads are {', '.join(HEADS)}")
    if run.seed(seed).head_path(head).is_file():
        return
    have = {
        number: [name for name in HEADS if run.seed(number).head_path(name).is_file()]
        for number in run.recipe.seed_list
    }
    found = [f"seed {number}: {', '.join(names)}" for number, names in have.items() if names]
    raise RunError(
        f"{run.root} has no head {head!r} of seed {seed}",
        [f"it has {line}" for line in found],
        hint="choose one of these" if found else "it is unfinished: give the command that began it once more",
    )


def _recipe(run: RunFolder) -> ExtractRecipe:
    """How the run's features are made, of the plain view alone. Raises RunError if run.json does not say."""
    features = run.features
    if features.get("schema") != CACHE_SCHEMA:
        raise RunError(
            f"{run.root} has features of form {features.get('schema')!r}, this comix-fast makes {CACHE_SCHEMA}",
            hint="update comix-fast",
        )
    try:
        clips, backbone = features["clips"], features["backbone"]
        return ExtractRecipe(
            backbone={name: backbone[name] for name in ("name", "weights", "weights_sha256", "precision")},
            decoder=dict(features["decoder"]),
            views=ViewPlan((), 0),
            size=int(features["preprocessing"]["size"]),
            clip_length=int(clips["length"]),
            stride=int(clips["stride"]),
            bins=int(clips["bins"]),
            min_frames=int(clips["min_frames"]),
            batch_size=int(features["batch_size"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{run.root} does not say how its features are made ({error!r})") from error


def _load_backbone(
    run: RunFolder, seed: int, head: str, recorded: Mapping[str, Any], weights: str | Path | None, device: str
) -> Backbone:
    """The backbone that was trained beside the head, or the very one that the features were made with."""
    own, wanted = run.seed(seed).backbone_path(head), recorded["weights_sha256"]
    if own.exists():
        if weights is not None:
            raise WeightsError(
                f"{run.root} has a backbone of its own, trained with its head", hint="leave out --weights"
            )
        return load_backbone(recorded["name"], own, recorded["precision"], device)
    if weights is None and recorded["weights"] not in (KINETICS, RANDOM):
        raise WeightsError(
            f"{run.root} was adapted on features of a weights file, and does not hold it",
            [f"{recorded['name']}, sha256 of its tensors {wanted}"],
            hint="give that file as --weights",
        )
    given = recorded["weights"] if weights is None else weights
    backbone = load_backbone(recorded["name"], given, recorded["precision"], device)
    if backbone.weights_sha256 != wanted:
        raise WeightsError(
            f"{given} are not the weights that the features of {run.root} were made with",
            [f"sha256 of their tensors {backbone.weights_sha256}", f"expected {wanted}"],
            hint="give the file of the very weights as --weights: a head understands no other's features",
        )
    return backbone
