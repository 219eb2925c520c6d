"""A recipe goes into a manifest and comes back; what is no recipe is refused by the name of its field."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from builders import small_recipe
from comix_fast.cache.stated import stated_recipe
from comix_fast.config import ViewPlan
from comix_fast.errors import CacheError


@pytest.mark.parametrize("views", [ViewPlan((), 0), ViewPlan((2, 5), 3, 0.25, seed=-4), ViewPlan((9,), 64)])
def test_a_recipe_comes_back(views: ViewPlan) -> None:
    recipe = small_recipe(views=views, size=112, clip_length=16, stride=2, bins=4, min_frames=40, device="cuda")
    assert stated_recipe(recipe.to_json()) == recipe


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        (("clips",), None, "clips is None"),
        (("clips", "stride"), 0, "clips.stride is 0"),
        (("clips", "bins"), 16.0, "clips.bins is 16.0"),
        (("clips", "length"), True, "clips.length is True"),
        (("clips", "min_frames"), 8, "clips can't be planned"),
        (("batch_size",), 1 << 40, "batch_size is"),
        (("device",), "moon", "device is 'moon'"),
        (("preprocessing", "size"), -1, "preprocessing.size is -1"),
        (("backbone",), [], "backbone is"),
        (("decoder", "version"), 3, "decoder.version is 3"),
        (("views", "plain"), {"speed": 2}, "views.plain is"),
        (("views", "speed-2"), {"speed": 3}, "views.speed-2 is"),
        (("views", "slow"), {}, "has a view 'slow'"),
        (("views", "bgmix", "draws"), 65, "views.bgmix.draws is 65"),
        (("views", "bgmix", "gamma"), [0.0, 1.5], "views.bgmix.gamma is"),
        (("views", "bgmix", "gamma"), [0.1, 0.5], "views.bgmix.gamma is"),
        (("views", "bgmix", "gamma"), [0.0, float("nan")], "views.bgmix.gamma is"),
        (("views", "bgmix", "seed"), "0", "views.bgmix.seed is '0'"),
    ],
)
def test_what_is_no_recipe_is_refused(where: tuple[str, ...], value: object, said: str) -> None:
    stated = copy.deepcopy(small_recipe(views=ViewPlan((2,), 1)).to_json())
    inside: Any = stated
    for name in where[:-1]:
        inside = inside[name]
    inside[where[-1]] = value
    with pytest.raises(CacheError) as refused:
        stated_recipe(stated)
    assert said in refused.value.message


def test_no_object_is_no_recipe() -> None:
    for value in (None, [], "recipe", 3):
        with pytest.raises(CacheError):
            stated_recipe(value)
