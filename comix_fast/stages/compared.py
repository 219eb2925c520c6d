"""What `comix compare` compares: one entry for each method, in the order of tables, and what a cache allows of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType

from comix_fast.cache.reader import FeatureCache
from comix_fast.config import AdaptRecipe, FeatureNorm
from comix_fast.config import Method as MethodName
from comix_fast.errors import ComixError
from comix_fast.presets import RECOMMENDED, TEACHER_WEIGHT

PUBLISHED = AdaptRecipe(warmstart_iterations=None, iterations=None, eval_every=RECOMMENDED.eval_every)
"""The published form on standardised features, with as many epochs as the published schedule has on UCF-HMDB."""

OURS = RECOMMENDED

REFERENCE = "source-only"
"""The method that gains are counted from: the head of ours, trained in the same way on the source alone."""


@dataclass(frozen=True)
class LogisticFit:
    """Logistic regression of the source's labels, fitted in one go. statistics: as parse_statistics takes them."""

    statistics: str
    norm: FeatureNorm


@dataclass(frozen=True)
class Method:
    """One row of the table.

    name: in --methods and of its folder; title: in tables; family: one of comparison.FAMILIES; note: a line below the
    table. how: the recipe it trains by, or what is fitted, which no seed changes. needs_mixes: without background-mixed
    views it is another method, and left out.
    """

    name: str
    title: str
    family: str
    how: AdaptRecipe | LogisticFit
    note: str = ""
    needs_mixes: bool = False


@dataclass(frozen=True)
class Schedule:
    """What all trained methods share; None leaves each what its own recipe says."""

    seeds: int = 5
    seed: int = 0
    reverse: bool = False
    warmstart_iterations: int | None = None
    iterations: int | None = None
    eval_every: int | None = None

    def applied(self, recipe: AdaptRecipe) -> AdaptRecipe:
        """The recipe under this schedule. Raises ComixError for values no run can have."""
        return recipe.with_changes(asdict(self))


def _baseline(name: str, title: str, how: AdaptRecipe | LogisticFit) -> Method:
    return Method(name, title, "baseline", how)


_ADAPTING: Mapping[MethodName, tuple[str, float]] = MappingProxyType(
    {
        "coral": ("CORAL", 30.0),
        "mmd": ("MMD (DAN)", 0.1),
        "dann": ("DANN", 0.1),
        "mcd": ("MCD", 0.3),
        "self-training": ("pseudo-label self-training", 0.1),
        "adamatch": ("AdaMatch", 0.3),
    }
)
"""Titles, and the weight of the own term: of three tried for each, the best on both heads together on UT-Interaction
set1 → set2, the task that the numbers of ours were chosen on too (docs/evidence.md)."""
_ON_STATISTICS = replace(PUBLISHED, head="mlp", statistics=OURS.statistics)
"""What the classical methods do with the features of ours; they need a hidden layer, so not with its very head."""

_ALL = (
    _baseline(
        "source-only-graph",
        "source-only, graph head",
        replace(PUBLISHED, method="source-only", feature_norm="source"),
    ),
    _baseline("adabn", "+ per-domain standardisation (AdaBN)", replace(PUBLISHED, method="source-only")),
    _baseline("logistic-mean", "logistic regression, mean", LogisticFit("mean", "source")),
    _baseline("logistic-mean-domain", "logistic regression, mean, per domain", LogisticFit("mean", "domain")),
    _baseline(
        "logistic-mean-max-domain", "logistic regression, mean-max, per domain", LogisticFit("mean+max", "domain")
    ),
    _baseline("logistic-mean-max-std", "logistic regression, mean-max-std", LogisticFit("mean+max+std", "source")),
    _baseline(
        "logistic-mean-max-std-domain",
        "logistic regression, mean-max-std, per domain",
        LogisticFit("mean+max+std", "domain"),
    ),
    *(
        _baseline(name, title, replace(PUBLISHED, method=name, lambda_align=weight))
        for name, (title, weight) in _ADAPTING.items()
    ),
    *(
        _baseline(
            f"{name}-statistics",
            f"{title}, on our statistics",
            replace(_ON_STATISTICS, method=name, lambda_align=weight),
        )
        for name, (title, weight) in _ADAPTING.items()
    ),
    Method(
        "comix",
        "CoMix as published",
        "published",
        PUBLISHED,
        note="its losses and weights on cached features, standardised per domain, with as many epochs as published "
        "(at least 400 + 500 iterations); the paper trains the backbone too",
        needs_mixes=True,
    ),
    Method("comix-tcl", "CoMix, TCL alone", "published", replace(PUBLISHED, mixing=False, lambda_tpl=0.0)),
    Method("comix-bgm", "CoMix, BGM alone", "published", replace(PUBLISHED, lambda_tpl=0.0), needs_mixes=True),
    Method("comix-tpl", "CoMix, TPL alone", "published", replace(PUBLISHED, lambda_bgm=0.0)),
    Method(
        REFERENCE,
        "source-only, trained the same way",
        "ours",
        replace(OURS, method="source-only", feature_norm="source"),
        note="the head and schedule of ours; it never sees the target",
    ),
    Method(
        "ours-logistic",
        "the same statistics, logistic regression, per domain",
        "ours",
        LogisticFit(OURS.statistics, "domain"),
    ),
    Method("ours", "ours: each domain standardised by its own", "ours", OURS),
    Method("ours-teacher", "ours + teacher", "ours", replace(OURS, lambda_teacher=TEACHER_WEIGHT)),
    Method(
        "target-supervised",
        "target-supervised",
        "bound",
        replace(OURS, method="target-supervised"),
        note="trained on the target's labels; no video is predicted by a head that learnt it",
    ),
)

METHODS: Mapping[str, Method] = MappingProxyType({method.name: method for method in _ALL})
"""Every method by name, in the order of tables."""


def parse_methods(text: str | None) -> list[Method]:
    """From names as typed, "comix,ours", in the order of METHODS; None: all. Raises ComixError for an unknown name."""
    if text is None:
        return list(METHODS.values())
    names = [name.strip() for name in text.split(",")]
    if unknown := [name for name in names if name not in METHODS]:
        raise ComixError(
            f"--methods: there is no method {', '.join(map(repr, unknown))}",
            [f"{method.name}: {method.title}" for method in METHODS.values()],
            hint="name some of these, separated by commas",
        )
    return [method for method in METHODS.values() if method.name in names]


def allowed(methods: Sequence[Method], schedule: Schedule, cache: FeatureCache) -> tuple[list[Method], dict[str, str]]:
    """The methods under the schedule as this cache can run them, and why the others, by name, are left out.

    Without background-mixed views, methods that would draw some do without, which their note says, but for those that
    are about mixes. The bound needs every target video labelled. Raises ComixError if nothing is left.
    """
    possible: list[Method] = []
    left_out: dict[str, str] = {}
    for method in methods:
        if isinstance(method.how, LogisticFit):
            possible.append(method)
            continue
        recipe = schedule.applied(method.how)
        if recipe.method == "target-supervised" and not _all_labelled(cache, schedule.reverse):
            left_out[method.name] = "it needs at least two target training videos, and every target video labelled"
        elif cache.mixed_views() or not (recipe.uses_mixes or method.needs_mixes):
            possible.append(replace(method, how=recipe))
        elif method.needs_mixes:
            left_out[method.name] = "the cache has no background-mixed views"
        else:
            without = "without mixing: the cache has no background-mixed views"
            note = f"{method.note}; {without}" if method.note else without
            possible.append(replace(method, how=replace(recipe, mixing=False), note=note))
    if not possible:
        raise ComixError(
            f"{cache.path} allows none of the methods asked for",
            [f"{name}: {reason}" for name, reason in left_out.items()],
            hint="ask for others with --methods, or extract again with --mixes 4",
        )
    return possible, left_out


def _all_labelled(cache: FeatureCache, reverse: bool) -> bool:
    domain = "source" if reverse else "target"
    train = cache.videos(domain, "train")
    tested = cache.videos(domain, "test") if cache.has_test(domain) else []
    return len(train) > 1 and all(video.label is not None for video in train + tested)
