"""Recipes: frozen descriptions of everything that decides a cache or a run, and the published presets."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from comix_fast.errors import ComixError

CACHE_SCHEMA = "1"
PLAIN = "plain"

FeatureNorm = Literal["source", "domain", "none"]
Method = Literal[
    "comix", "source-only", "target-supervised", "coral", "mmd", "dann", "mcd", "self-training", "adamatch"
]
HeadName = Literal["linear", "mlp", "graph"]
HeadPrecision = Literal["auto", "fp32", "bf16"]


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text, whatever order they were built in."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(value: Any) -> str:
    """sha256 of the canonical JSON, as hexadecimal."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def mixed_views(draws: int) -> tuple[str, ...]:
    """The names of the background-mixing draws: bgmix-0 … bgmix-(draws − 1)."""
    return tuple(f"bgmix-{draw}" for draw in range(draws))


@dataclass(frozen=True)
class ViewPlan:
    """Which views of a video stage one extracts.

    speeds: frame steps beyond 1 (2 gives the view speed-2); mixes: draws of background mixing (CoMix mixes one
    afresh each iteration; a cache holds a fixed number); gamma_max: γ ~ U(0, gamma_max) (CoMix, section 4).
    """

    speeds: tuple[int, ...] = (2,)
    mixes: int = 4
    gamma_max: float = 0.5
    seed: int = 0

    @classmethod
    def parse(cls, names: Sequence[str], mixes: int, seed: int, gamma_max: float = 0.5) -> ViewPlan:
        """From names as typed: plain (always there), speed-K, bgmix. Raises ComixError on any other."""
        speeds: list[int] = []
        for name in names:
            if match := re.fullmatch(r"speed-([2-9])", name):
                speeds.append(int(match[1]))
            elif name not in (PLAIN, "bgmix"):
                raise ComixError(
                    f"there is no view {name!r}",
                    hint="views are plain, speed-2 … speed-9 and bgmix, separated by commas",
                )
        if not 0 <= mixes <= 64:
            raise ComixError(f"--mixes must be between 0 and 64, not {mixes}")
        return cls(tuple(sorted(set(speeds))), mixes if "bgmix" in names else 0, gamma_max, seed)

    @property
    def unmixed(self) -> dict[str, int]:
        """Views of every candidate clip, and the step between their frames."""
        return {PLAIN: 1} | {f"speed-{speed}": speed for speed in self.speeds}

    @property
    def mixed(self) -> tuple[str, ...]:
        """The names of the background-mixing draws."""
        return mixed_views(self.mixes)


@dataclass(frozen=True)
class ExtractRecipe:
    """What decides the bytes of a feature cache; its digest is the cache's key.

    backbone: name, weights, sha256, precision … as the backbone describes itself; decoder: name and version.
    device: "cpu" or "cuda": they round differently, and one cache holds one rounding.
    """

    backbone: Mapping[str, Any]
    decoder: Mapping[str, str]
    views: ViewPlan = field(default_factory=ViewPlan)
    size: int = 224
    clip_length: int = 8
    stride: int = 4
    bins: int = 16
    min_frames: int = 72
    batch_size: int = 16
    device: str = "cpu"

    def to_json(self) -> dict[str, Any]:
        """The recipe as the manifest holds it: plain JSON values."""
        views: dict[str, Any] = {name: {"speed": speed} for name, speed in self.views.unmixed.items()}
        if self.views.mixes:
            views["bgmix"] = {
                "draws": self.views.mixes,
                "gamma": [0.0, self.views.gamma_max],
                "seed": self.views.seed,
                "donor": "train videos of the other domain",
            }
        return {
            "schema": CACHE_SCHEMA,
            "backbone": dict(self.backbone),
            "preprocessing": {"size": self.size, "resize": "lanczos", "range": [-1.0, 1.0]},
            "clips": {
                "length": self.clip_length,
                "stride": self.stride,
                "bins": self.bins,
                "min_frames": self.min_frames,
            },
            "views": views,
            "dtype": "float16",
            "decoder": dict(self.decoder),
            "batch_size": self.batch_size,
            "device": self.device,
        }


@dataclass(frozen=True)
class AdaptRecipe:
    """Everything that decides a run of stage two, beside the cache.

    The fields' own defaults are the published form for UCF-HMDB (CoMix, section 4 and published code) on standardised
    features; presets.RECOMMENDED is what `comix adapt` does by default.

    method: the objective of adaptation. head: "graph", on clips, or "linear" and "mlp" on statistics over time of each
    video's clips. mixing: background mixing; without it the background term is plain temporal contrast, and teachers
    teach on plain clips. warmstart_iterations, iterations: None settles on a number of epochs when the run begins,
    eval_every: None on a share of these.
    reverse: adapt from the cache's target to its source. precision: of the graph head's matrix products while training
    and measuring; auto: bf16 where the hardware has it, settled when the run begins. lambda_teacher, teacher_*,
    prior_weight: see objectives/teacher.py. lambda_align: weight of what methods other than comix add to the source's
    loss. select_by: the label-free score that selects a step. seeds: how many, starting at `seed`.
    """

    method: Method = "comix"
    head: HeadName = "graph"
    statistics: str = "mean"
    warmstart_iterations: int | None = 4000
    iterations: int | None = 10000
    batch_size: int = 8
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 1e-7
    lambda_bgm: float = 0.1
    lambda_tpl: float = 0.01
    lambda_teacher: float = 0.0
    lambda_align: float = 1.0
    mixing: bool = True
    reverse: bool = False
    pseudo_threshold: float = 0.7
    temperature: float = 0.5
    teacher_temperature: float = 0.2
    teacher_momentum: float = 0.99
    prior_weight: float = 0.0
    label_smoothing: float = 0.1
    hidden_dim: int = 256
    dropout: float = 0.1
    feature_norm: FeatureNorm = "domain"
    precision: HeadPrecision = "auto"
    select_by: str = "infomax"
    eval_every: int | None = 250
    seed: int = 0
    seeds: int = 1

    def __post_init__(self) -> None:
        """Refuses values no run can have, naming the option."""
        positive = ("batch_size", "hidden_dim", "seeds", "lr", "temperature", "teacher_temperature")
        not_negative = (
            "lambda_bgm",
            "lambda_tpl",
            "lambda_teacher",
            "lambda_align",
            "weight_decay",
            "seed",
        )
        for name in positive:
            _require(getattr(self, name) > 0, name, getattr(self, name), "must be above 0")
        for name in not_negative:
            _require(getattr(self, name) >= 0, name, getattr(self, name), "must not be below 0")
        if self.eval_every is not None:
            _require(self.eval_every > 0, "eval_every", self.eval_every, "must be above 0")
        for name in ("warmstart_iterations", "iterations"):
            if (count := getattr(self, name)) is not None:
                _require(count >= 0, name, count, "must not be below 0")
        for name in ("dropout", "momentum", "label_smoothing", "teacher_momentum"):
            _require(0 <= getattr(self, name) < 1, name, getattr(self, name), "must be in [0, 1)")
        for name in ("pseudo_threshold", "prior_weight"):
            _require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "must be in [0, 1]")
        if self.method == "mcd" and self.head == "linear":
            raise ComixError("--method mcd needs features to move, and a linear head has none", hint="add --head mlp")
        if self.pooled and self.method == "comix" and self.lambda_bgm > 0 and not self.mixing and self.adapts:
            raise ComixError(
                f"--head {self.head} has one row a video, so there are no two speeds to contrast",
                hint="add --head graph, or contrast with background mixing: leave out --no-bgm",
            )

    def with_changes(self, changes: Mapping[str, Any]) -> AdaptRecipe:
        """This recipe with some fields set; None leaves a field as it is."""
        return dataclasses.replace(self, **{name: value for name, value in changes.items() if value is not None})

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, one per field."""
        return dataclasses.asdict(self)

    def warmstart_json(self) -> dict[str, Any]:
        """The fields that decide the warm-started head: runs that agree on these may share it."""
        adapts = {
            "method",
            "iterations",
            "lambda_bgm",
            "lambda_tpl",
            "lambda_teacher",
            "lambda_align",
            "mixing",
            "pseudo_threshold",
            "temperature",
            "teacher_temperature",
            "teacher_momentum",
            "prior_weight",
        }
        counts = {"seed", "seeds", "eval_every", "select_by"}
        return {name: value for name, value in self.to_json().items() if name not in adapts | counts}

    @property
    def adapts(self) -> bool:
        """Whether there is a second phase, on both domains: there is something to minimise, and time for it."""
        if self.method == "comix" and not (self.lambda_bgm or self.lambda_tpl or self.lambda_teacher):
            return False
        return self.method not in ("source-only", "target-supervised") and self.iterations != 0

    @property
    def uses_mixes(self) -> bool:
        """Whether adaptation draws background-mixed clips."""
        if not (self.adapts and self.mixing):
            return False
        return self.lambda_bgm > 0 or self.lambda_teacher > 0 if self.method == "comix" else self.method in STRONG_VIEWS

    @property
    def pooled(self) -> bool:
        """Whether the head takes statistics of each video's clips instead of the clips."""
        return self.head != "graph"

    @property
    def seed_list(self) -> tuple[int, ...]:
        """The seeds of this run."""
        return tuple(range(self.seed, self.seed + self.seeds))


def _require(holds: bool, name: str, value: object, rule: str) -> None:
    if not holds:
        raise ComixError(f"--{name.replace('_', '-')} {rule}, not {value}")


STRONG_VIEWS = ("self-training", "adamatch")
"""Methods that teach on a second, harder view of a video: background-mixed clips, unless mixing is off."""


def differences(ours: Any, theirs: Any, where: str = "") -> list[str]:
    """One line per field in which two JSON values differ: "backbone.precision: bf16, there fp32"."""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        lines: list[str] = []
        for name in sorted({*ours, *theirs}):
            below = f"{where}.{name}" if where else str(name)
            lines += differences(ours.get(name, "(absent)"), theirs.get(name, "(absent)"), below)
        return lines
    return [] if ours == theirs else [f"{where}: {ours}, there {theirs}"]
