"""The recipe that a manifest states, back as what stage one takes: the inverse of ExtractRecipe.to_json."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from comix_fast.config import PLAIN, ExtractRecipe, ViewPlan
from comix_fast.errors import CacheError, ComixError
from comix_fast.video import plan_clips

MOST_MIXES = 64
MOST_CLIP_NUMBERS = 1 << 20
_SPEED = re.compile(r"speed-([2-9])")


def stated_recipe(stated: Any) -> ExtractRecipe:
    """The recipe that a manifest states. Fields that this version does not know are left out.

    Raises CacheError if a field is absent, of another kind, or out of its range; the message names it.
    """
    recipe = _mapping(stated, "recipe")
    clips, views = _mapping(recipe.get("clips"), "clips"), _mapping(recipe.get("views"), "views")
    made = ExtractRecipe(
        backbone=_mapping(recipe.get("backbone"), "backbone"),
        decoder=_decoder(recipe.get("decoder")),
        views=_views(views),
        size=_whole(_mapping(recipe.get("preprocessing"), "preprocessing").get("size"), "preprocessing.size"),
        clip_length=_whole(clips.get("length"), "clips.length"),
        stride=_whole(clips.get("stride"), "clips.stride"),
        bins=_whole(clips.get("bins"), "clips.bins"),
        min_frames=_whole(clips.get("min_frames"), "clips.min_frames"),
        batch_size=_whole(recipe.get("batch_size"), "batch_size"),
        device=_text(recipe.get("device"), "device"),
    )
    if made.device not in ("cpu", "cuda"):
        raise _odd("device", made.device)
    try:
        # If one frame can be planned for, a video of any length can.
        plan_clips(1, made.clip_length, made.stride, made.bins, made.min_frames)
    except ComixError as error:
        raise CacheError(f"the recipe's clips can't be planned: {error.message}") from error
    return made


def _views(views: Mapping[str, Any]) -> ViewPlan:
    if views.get(PLAIN) != {"speed": 1}:
        raise _odd(f"views.{PLAIN}", views.get(PLAIN))
    speeds = []
    for name, view in views.items():
        if match := _SPEED.fullmatch(name):
            if view != {"speed": int(match[1])}:
                raise _odd(f"views.{name}", view)
            speeds.append(int(match[1]))
        elif name not in (PLAIN, "bgmix"):
            raise CacheError(f"the recipe has a view {name!r:.80} that this comix-fast does not know")
    if "bgmix" not in views:
        return ViewPlan(tuple(sorted(speeds)), 0)
    mixed = _mapping(views["bgmix"], "views.bgmix")
    gamma = mixed.get("gamma")
    if not (isinstance(gamma, list) and len(gamma) == 2 and gamma[0] == 0 and isinstance(gamma[1], int | float)):
        raise _odd("views.bgmix.gamma", gamma)
    if not 0 <= gamma[1] <= 1:
        raise _odd("views.bgmix.gamma", gamma)
    draws = _whole(mixed.get("draws"), "views.bgmix.draws")
    seed = mixed.get("seed")
    if draws > MOST_MIXES:
        raise _odd("views.bgmix.draws", draws)
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise _odd("views.bgmix.seed", seed)
    return ViewPlan(tuple(sorted(speeds)), draws, float(gamma[1]), seed)


def _decoder(value: Any) -> dict[str, str]:
    decoder = _mapping(value, "decoder")
    return {name: _text(decoder.get(name), f"decoder.{name}") for name in ("name", "version")}


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _odd(where, value)
    return value


def _whole(value: Any, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MOST_CLIP_NUMBERS:
        raise _odd(where, value)
    return value


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise _odd(where, value)
    return value


def _odd(where: str, value: object) -> CacheError:
    return CacheError(f"the recipe's {where} is {value!r:.80}")
