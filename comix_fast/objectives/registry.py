"""Which objective a recipe asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from comix_fast.config import AdaptRecipe
from comix_fast.heads import Head
from comix_fast.objectives.adamatch import AdaMatch
from comix_fast.objectives.alignment import Coral, Mmd
from comix_fast.objectives.both_domains import learns_features
from comix_fast.objectives.comix import Comix
from comix_fast.objectives.dann import Dann
from comix_fast.objectives.mcd import Mcd
from comix_fast.objectives.objective import Objective
from comix_fast.objectives.self_training import SelfTraining
from comix_fast.objectives.teacher import Teacher, wanted_shares


@dataclass(frozen=True, eq=False)
class Setting:
    """What an objective may know when adaptation begins; no target label is among it.

    head: warm-started. prior: [C], class shares of the source. logits: gives [V, C], what the head says of the target's
    training videos. seed: decides the weights of what an objective learns beside the head.
    """

    head: Head
    prior: Tensor
    logits: Callable[[], Tensor]
    seed: int


def new_objective(recipe: AdaptRecipe, setting: Setting) -> Objective:
    """The objective of the adaptation phase, for a single head, on the head's device.

    Raises ComixError where the method cannot be used with the head, KeyError for a method that has no such phase.
    """
    if recipe.method == "comix":
        return Comix(recipe.lambda_bgm > 0, recipe.lambda_tpl > 0, recipe.mixing, _teacher(recipe, setting))
    return _CLASSICAL[recipe.method](setting)


def _adamatch(setting: Setting) -> AdaMatch:
    means = (setting.prior, setting.logits().softmax(dim=1).mean(dim=0))
    return AdaMatch(*means).to(setting.head.device)


_CLASSICAL: Mapping[str, Callable[[Setting], Objective]] = {
    "coral": lambda setting: Coral(learns_features(setting.head)),
    "mmd": lambda setting: Mmd(learns_features(setting.head)),
    "dann": lambda setting: Dann.drawn(setting.head, setting.seed),
    "mcd": lambda setting: Mcd.drawn(setting.head, setting.seed),
    "self-training": lambda setting: SelfTraining(),
    "adamatch": _adamatch,
}


def _teacher(recipe: AdaptRecipe, setting: Setting) -> Teacher | None:
    if not recipe.lambda_teacher:
        return None
    running = (setting.logits() / recipe.teacher_temperature).softmax(dim=1).mean(dim=0)
    wanted = wanted_shares(setting.prior, running, recipe.prior_weight)
    return Teacher(setting.head, wanted, running)
