"""Objectives: what each method of adaptation minimises, on batches from whichever source of features."""

from comix_fast.objectives.comix import Comix, SourceOnly
from comix_fast.objectives.objective import Batch, Objective, Terms
from comix_fast.objectives.registry import Setting, new_objective
from comix_fast.objectives.teacher import Teacher, wanted_shares

__all__ = [
    "Batch",
    "Comix",
    "Objective",
    "Setting",
    "SourceOnly",
    "Teacher",
    "Terms",
    "new_objective",
    "wanted_shares",
]
