"""Named recipes of stage two: what is recommended for a cache, and the published forms."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from comix_fast.config import AdaptRecipe
from comix_fast.errors import ComixError

RECOMMENDED = AdaptRecipe(
    head="linear",
    statistics="mean+max+std+change+peak-change",
    warmstart_iterations=None,
    iterations=None,
    lambda_bgm=0.0,
    lambda_tpl=0.0,
    lambda_teacher=0.0,
    eval_every=None,
)
"""What the cached road needs, as measured in docs/evidence.md: a head on statistics over time, each domain standardised
by its own, and no further term: none of those tried helps on real clips."""
TEACHER_WEIGHT = 0.03
"""The weight of the teacher where one is wanted, chosen there too."""

# (λ_bgm, λ_tpl) of CoMix, section 4; the rest of the schedule is the same for all three.
_PUBLISHED_LAMBDAS = {
    "ucf-hmdb": (0.1, 0.01),
    "hmdb-ucf": (0.1, 0.01),
    "jester": (0.1, 0.1),
    "epic": (0.01, 0.01),
}

ADAPT_PRESETS: Mapping[str, AdaptRecipe] = {
    "recommended": RECOMMENDED,
    **dict.fromkeys(_PUBLISHED_LAMBDAS, RECOMMENDED),
    **{
        f"{name}-published": AdaptRecipe(lambda_bgm=bgm, lambda_tpl=tpl)
        for name, (bgm, tpl) in _PUBLISHED_LAMBDAS.items()
    },
}


END_TO_END = AdaptRecipe(feature_norm="none", warmstart_iterations=None, iterations=None, eval_every=None)
"""Training the backbone too, in the published form with the published number of epochs."""

TRAIN_PRESETS: Mapping[str, AdaptRecipe] = {
    name: AdaptRecipe(lambda_bgm=bgm, lambda_tpl=tpl, feature_norm="none", eval_every=500)
    for name, (bgm, tpl) in _PUBLISHED_LAMBDAS.items()
}


def train_preset(name: str | None) -> AdaptRecipe:
    """The recipe of a run from frames; None gives END_TO_END. Raises ComixError on an unknown name.

    name: as above, or a published layout's, such as epic-d1-d2.
    """
    if name is None:
        return END_TO_END
    known = "epic" if re.fullmatch(r"epic-d[1-3]-d[1-3]", name) else name
    if known not in TRAIN_PRESETS:
        raise ComixError(f"there is no preset {name!r}", hint=f"presets: {', '.join(TRAIN_PRESETS)}")
    return TRAIN_PRESETS[known]


def adapt_preset(name: str | None) -> AdaptRecipe:
    """The recipe of a preset; None gives the recommended one. Raises ComixError on an unknown name."""
    if name is None:
        return RECOMMENDED
    if name not in ADAPT_PRESETS:
        raise ComixError(f"there is no preset {name!r}", hint=f"presets: {', '.join(ADAPT_PRESETS)}")
    return ADAPT_PRESETS[name]


# Epochs of the published schedule on UCF-HMDB, batch 8 of 1,438 videos: its 4,000 and 10,000 iterations are 22 and 56.
_WARMSTART_EPOCHS, _EPOCHS = 22, 56
_FEWEST_WARMSTART, _FEWEST = 400, 500
_EVALUATIONS, _OFTEN = 40, 100


def settled_iterations(recipe: AdaptRecipe, n_source: int, n_target: int) -> AdaptRecipe:
    """The recipe with iterations as numbers where they are None: the published schedule's epochs; evaluations, forty.

    n_source, n_target: training videos. At least 400 and 500 iterations, at most the published 4,000 and 10,000: a step
    costs the same whatever the list's length, and with few videos epochs are over before anything is learnt.
    """
    changes: dict[str, Any] = {}
    if recipe.warmstart_iterations is None:
        epochs = _WARMSTART_EPOCHS * n_source // recipe.batch_size
        changes["warmstart_iterations"] = min(4000, max(_FEWEST_WARMSTART, epochs))
    if recipe.iterations is None:
        epochs = _EPOCHS * max(n_source, n_target) // recipe.batch_size
        changes["iterations"] = min(10000, max(_FEWEST, epochs))
    settled = dataclasses.replace(recipe, **changes)
    if settled.eval_every is None:
        longest = max(settled.warmstart_iterations or 0, settled.iterations or 0)
        settled = dataclasses.replace(settled, eval_every=max(_OFTEN, longest // _EVALUATIONS))
    return settled
