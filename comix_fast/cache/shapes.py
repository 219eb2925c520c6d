"""The shape of a cache's JSON: what can be relied on once a file is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

from comix_fast.errors import CacheError

MOST_DRAWS = 64
MOST_VIEWS = 16
"""Beside the draws of mixes: plain, eight speeds, and the mixes as one."""
_FOREIGN = "the file is foreign or damaged: bring back the file as it was"


def is_whole(value: Any, least: int, most: int) -> TypeGuard[int]:
    """Whether a value of JSON is a whole number in this range; true and false are none."""
    return type(value) is int and least <= value <= most


def is_words(value: Any) -> TypeGuard[list[str]]:
    """Whether it is a list of texts."""
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def is_failures(value: Any) -> TypeGuard[list[dict[str, str]]]:
    """Whether it is a list of objects of texts."""
    return isinstance(value, list) and all(
        isinstance(one, dict) and all(isinstance(text, str) for text in one.values()) for one in value
    )


def is_listed(value: Any, n_classes: int) -> TypeGuard[list[tuple[str, int | None]]]:
    """Whether it is a list of pairs of an id and a class index, or none."""
    return isinstance(value, list) and all(
        isinstance(one, list)
        and len(one) == 2
        and isinstance(one[0], str)
        and (one[1] is None or is_whole(one[1], 0, n_classes - 1))
        for one in value
    )


def check_manifest(manifest: Mapping[str, Any], where: str) -> None:
    """Raises CacheError unless a manifest has what readers of a cache ask of it, of the kinds that they expect."""
    recipe, warnings = manifest.get("recipe"), manifest.get("warnings", [])
    if not isinstance(manifest.get("key"), str) or not is_words(warnings) or not isinstance(recipe, dict):
        raise CacheError(f"{where} has no key, recipe and warnings of the kinds that they should be", hint=_FOREIGN)
    for name in ("backbone", "decoder", "clips", "views"):
        if not isinstance(recipe.get(name), dict):
            raise CacheError(f"{where}: the recipe's {name} is {recipe.get(name)!r:.80}", hint=_FOREIGN)
    words = {f"backbone.{name}": recipe["backbone"].get(name) for name in ("name", "weights_sha256", "precision")}
    words |= {f"decoder.{name}": value for name, value in recipe["decoder"].items()}
    odd = {name: value for name, value in words.items() if not isinstance(value, str)}
    numbers = {f"clips.{name}": recipe["clips"].get(name) for name in ("length", "stride", "bins", "min_frames")}
    odd |= {name: value for name, value in numbers.items() if not is_whole(value, 1, 1 << 20)}
    odd |= {f"views.{name}": value for name, value in recipe["views"].items() if not isinstance(value, dict)}
    if len(recipe["views"]) > MOST_VIEWS:
        odd["views"] = sorted(recipe["views"])
    mixes = recipe["views"].get("bgmix")
    if isinstance(mixes, dict) and not is_whole(mixes.get("draws"), 0, MOST_DRAWS):
        odd["views.bgmix.draws"] = mixes.get("draws")
    for name, value in odd.items():
        raise CacheError(f"{where}: the recipe's {name} is {value!r:.80}", hint=_FOREIGN)


def check_dataset(value: Mapping[str, Any], where: str) -> None:
    """Raises CacheError unless a dataset.json has classes, and for both domains a name and lists of ids and labels."""
    classes, notes = value.get("classes"), value.get("notes", [])
    if not is_words(classes) or not is_words(notes):
        raise CacheError(f"{where}: its classes or its notes are no list of texts", hint=_FOREIGN)
    for domain in ("source", "target"):
        lists = value.get(domain)
        if not isinstance(lists, dict) or not isinstance(lists.get("name"), str):
            raise CacheError(f"{where} lacks the {domain} domain, or its name", hint=_FOREIGN)
        for split in ("train", "test"):
            listed = lists.get(split)
            if not is_listed(listed, len(classes)) and (split == "train" or listed is not None):
                pairs = f"ids, each with one of {len(classes):,} classes or none"
                raise CacheError(f"{where}: the {domain}'s {split} list is no list of {pairs}", hint=_FOREIGN)
