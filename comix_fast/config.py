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
Method = Literal["comix", "source-only", "target-supervised"]
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

    The defaults are the published schedule for UCF-HMDB (CoMix, section 4 and published code), on standardised
    features. mixing: background mixing; without it the background term is plain temporal contrast. reverse: adapt from
    the cache's target to its source. precision: of the head's matrix products while training and measuring; auto: bf16
    where the hardware has units for it, settled when the run begins. seeds: how many, starting at `seed`.
    """

    method: Method = "comix"
    warmstart_iterations: int = 4000
    iterations: int = 10000
    batch_size: int = 8
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 1e-7
    lambda_bgm: float = 0.1
    lambda_tpl: float = 0.01
    mixing: bool = True
    reverse: bool = False
    pseudo_threshold: float = 0.7
    temperature: float = 0.5
    label_smoothing: float = 0.1
    hidden_dim: int = 256
    dropout: float = 0.1
    feature_norm: FeatureNorm = "domain"
    precision: HeadPrecision = "auto"
    eval_every: int = 250
    seed: int = 0
    seeds: int = 1

    def __post_init__(self) -> None:
        """Refuses values no run can have, naming the option."""
        positive = ("batch_size", "hidden_dim", "eval_every", "seeds", "lr", "temperature")
        not_negative = (
            "warmstart_iterations",
            "iterations",
            "lambda_bgm",
            "lambda_tpl",
            "weight_decay",
            "seed",
        )
        for name in positive:
            _require(getattr(self, name) > 0, name, getattr(self, name), "must be above 0")
        for name in not_negative:
            _require(getattr(self, name) >= 0, name, getattr(self, name), "must not be below 0")
        for name in ("dropout", "momentum", "label_smoothing"):
            _require(0 <= getattr(self, name) < 1, name, getattr(self, name), "must be in [0, 1)")
        _require(0 <= self.pseudo_threshold <= 1, "pseudo_threshold", self.pseudo_threshold, "must be in [0, 1]")

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
            "mixing",
            "pseudo_threshold",
            "temperature",
        }
        counts = {"seed", "seeds", "eval_every"}
        return {name: value for name, value in self.to_json().items() if name not in adapts | counts}

    @property
    def uses_mixes(self) -> bool:
        """Whether adaptation draws background-mixed clips."""
        return self.method == "comix" and self.mixing and self.lambda_bgm > 0 and self.iterations > 0

    @property
    def seed_list(self) -> tuple[int, ...]:
        """The seeds of this run."""
        return tuple(range(self.seed, self.seed + self.seeds))


def _require(holds: bool, name: str, value: object, rule: str) -> None:
    if not holds:
        raise ComixError(f"--{name.replace('_', '-')} {rule}, not {value}")


# (λ_bgm, λ_tpl) of CoMix, section 4; the rest of the schedule is the same for all three.
_PUBLISHED_LAMBDAS = {
    "ucf-hmdb": (0.1, 0.01),
    "hmdb-ucf": (0.1, 0.01),
    "jester": (0.1, 0.1),
    "epic": (0.01, 0.01),
}

ADAPT_PRESETS: Mapping[str, AdaptRecipe] = {
    name: AdaptRecipe(lambda_bgm=bgm, lambda_tpl=tpl) for name, (bgm, tpl) in _PUBLISHED_LAMBDAS.items()
}


def adapt_preset(name: str | None) -> AdaptRecipe:
    """The recipe of a preset; None gives the defaults. Raises ComixError on an unknown name."""
    if name is None:
        return AdaptRecipe()
    if name not in ADAPT_PRESETS:
        raise ComixError(f"there is no preset {name!r}", hint=f"presets: {', '.join(ADAPT_PRESETS)}")
    return ADAPT_PRESETS[name]


def differences(ours: Any, theirs: Any, where: str = "") -> list[str]:
    """One line per field in which two JSON values differ: "backbone.precision: bf16, there fp32"."""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        lines: list[str] = []
        for name in sorted({*ours, *theirs}):
            below = f"{where}.{name}" if where else str(name)
            lines += differences(ours.get(name, "(absent)"), theirs.get(name, "(absent)"), below)
        return lines
    return [] if ours == theirs else [f"{where}: {ours}, there {theirs}"]
