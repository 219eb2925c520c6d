"""Losses: functions of logits and clip features; they never know where the features came from."""

from comix_fast.losses.contrastive import supervised_contrastive
from comix_fast.losses.objective import LossTerms, classification_loss, comix_loss
from comix_fast.losses.pseudo_label import PseudoLabels, pseudo_labels

__all__ = [
    "LossTerms",
    "PseudoLabels",
    "classification_loss",
    "comix_loss",
    "pseudo_labels",
    "supervised_contrastive",
]
